"""What a failed run leaves to the operator, by pyinfra's real command line, and what must not be in it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from kubeadm_deploys.cluster.join_credentials import new_token
from kubeadm_deploys.diagnosis import DIAGNOSE
from kubeadm_deploys.failure_report import Failure, file_name, report
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.redaction import MASK, redacted, secret_values

TOKEN = "abcdef.0123456789abcdef"
CERTIFICATE_KEY = "9a08f1e2d3c4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddee"
JWT = "eyJhbGciOiJSUzI1NiIs.eyJpc3MiOiJrdWJlcm5ldGVz.c2lnbmF0dXJl-X_x"
HETZNER_TOKEN = "jEheVytlAoFl7F8MqUQ7jAo2hOXASztX4jEheVytlAoFl7F8MqUQ7jAo2hOXASzt"
KEY_LINE = "MIIEpAIBAAKCAQEA4Zk2U5rj1xyf2pWm9Zq3v8T7o6n5m4l3k2j1h0g9f8e7d6c5"
PEM = f"-----BEGIN RSA PRIVATE KEY-----\n{KEY_LINE}\nc2hvcnQ=\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"kubeadm join --token {TOKEN} 10.0.0.1:6443", TOKEN),
        (f"token={TOKEN}", TOKEN),
        (f"--certificate-key {CERTIFICATE_KEY}", CERTIFICATE_KEY),
        (f"before\n{PEM}\nafter", "c2hvcnQ="),
        (json.dumps({"key": PEM}), KEY_LINE),
        # As a journal shows it, and cut.
        (f"Nov 25 cp-1 kubelet[7]: {KEY_LINE}\nNov 25 cp-1 kubelet[7]: c2hvcnQ=", KEY_LINE),
        (f"    client-key-data: {KEY_LINE[:20]}", KEY_LINE[:20]),
        ('{"client-key-data":"c2hvcnRlcg=="}', "c2hvcnRlcg=="),
        (f"Authorization: Bearer {JWT}", JWT),
        ('"authorization": "Basic cm9vdDpyb290"', "cm9vdDpyb290"),
        (f"bearer {JWT[:30]}", JWT[:30]),
        (f"mounted {JWT} there", JWT),
        ("HCLOUD_TOKEN=short-token", "short-token"),
        (f"the API said {HETZNER_TOKEN}", HETZNER_TOKEN),
        ("ssh_password: 'hunter2x'", "hunter2x"),
        ("mirror = 'http://me:pa55word@10.0.0.9:8080'", "pa55word"),
        ("http://:pa55word@10.0.0.9", "pa55word"),
        ("http://me:pa55@word@10.0.0.9", "word"),
        ("http_proxy=http://bob:pa/ssw0rd@proxy:3128", "pa/ssw0rd"),
        ("https://ghp_16C7e42F292c6912E7710c838347Ae178B4a@github.com/x", "ghp_16C7e42F"),
        ("fatal: ghp_16C7e42F292c6912E7710c838347Ae178B4a was refused", "ghp_16C7e42F"),
        ("password: correct horse battery staple", "horse"),
        ("  - password: it's correct horse", "horse"),
        ("Nov 25 cp-1 vpn[7]: password: correct horse", "horse"),
        ("export DB_PASS=correct horse", "horse"),
        ("ssh_password=abc12", "abc12"),
        ("password=a", "=a"),
        ("password='a;Sup3rS3cret'", "Sup3rS3cret"),
        ("password='a'\\''Sup3rS3cret'", "Sup3rS3cret"),
        ('{"password": "a\\"Sup3rS3cret"}', "Sup3rS3cret"),
        (r'msg="{\"password\":\"Sup3r S3cret\"}"', "S3cret"),
        ('{"password":12345,"user":"bob"}', "12345"),
        ('password="Sup3rS3cret and cut off', "S3cret"),
        ("//nas/x /mnt cifs username=svc,password=abc12,vers=3.0 0 0", "abc12"),
        ("passphrase: hunter2hunter2", "hunter2hunter2"),
        ("curl --user x --password hunter22222", "hunter22222"),
        ("curl --proxy-password 'hunter 22222'", "22222"),
        ("k3s agent --token K10abcdefabcdefabcdef::server:0123456789", "0123456789"),
        ("found K10abcdefabcdefabcdef::server:0123456789 there", "0123456789"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
        ("secretKey: zuf+tfteSlswRu7BJ86wekitnifILbZam1KYY3TG", "zuf+tfte"),
        ('{"auths":{"quay.io":{"auth":"Ym90OnN1cGVyc2VjcmV0cHc="}}}', "Ym90OnN1cGVyc2VjcmV0cHc="),
        ("machine 10.0.0.9 login me password abc12", "abc12"),
    ],
)
def test_what_has_the_form_of_a_secret_is_taken_out(text: str, secret: str) -> None:
    clean = redacted(text)
    assert secret not in clean
    assert MASK in clean
    assert redacted(clean) == clean


def test_a_token_as_this_project_makes_them_is_taken_out() -> None:
    token = new_token()
    assert token not in redacted(f'"{token}"')


@pytest.mark.parametrize(
    "text",
    [
        "node/worker-1   Ready   <none>   5m   v1.36.3   10.0.0.2   Debian GNU/Linux 12 (bookworm)",
        f"registry.k8s.io/pause@sha256:{CERTIFICATE_KEY}",
        "pod/calico-kube-controllers-6d4b75cb6d-x7k2p   0/1   CrashLoopBackOff",
        "/run/containerd/io.containerd.runtime.v2.task/k8s.io/rootfs/var/lib/kubelet/pods/volumes/projected",
        'MountVolume.SetUp failed for volume "v" : secrets "hcloud" not found',
        "could not find a JWS signature in the cluster-info ConfigMap for the token ID",
        "the bearer of this, see http://10.0.0.9:8080/a:b/c@d",
        "kubernetes_apt_key_fingerprint = 'DE15B14486CD377B9E876E1A234654DA9A296436'",
        "2026-11-25T14:03:05+0000 cp-1 kubelet[123]: E1125 14:03:05.123456     123 kubelet.go:2352] node not found",
        "ssh://root@10.0.0.1:22 and docker://localhost:5000/team/app:v1@sha256:" + CERTIFICATE_KEY,
        "http://10.0.0.9:8080 has no user",
        "automountServiceAccountToken: false",
        '{"password": null, "token": ""}',
        "Accepted password for root from 10.0.0.7 port 50122 ssh2",
        "sudo: a password is required",
        "--token-ttl 24h0m0s --tls-private-key-file=/etc/kubernetes/pki/apiserver.key",
        "secret/hcloud created, 3 tokens: all expired",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_containers_id_is_still_found_by_what_crictl_shows_of_it() -> None:
    assert redacted(f"container {CERTIFICATE_KEY} exited") == f"container {CERTIFICATE_KEY[:13]}{MASK} exited"


def test_known_secrets_are_taken_out_whatever_their_form() -> None:
    assert redacted("open sesame, he said", known=["", "a", "sesame"]) == f"open {MASK}, he said"
    assert redacted("secret-long", known=["cret", "secret-long"]) == MASK


def test_a_known_secret_is_taken_out_as_other_programs_write_it() -> None:
    secret = "pass w'o\"rd/ü"
    text = "; ".join(
        (
            json.dumps(secret),
            repr(secret),
            shlex.quote(secret),
            "pass%20w%27o%22rd%2F%C3%BC",
            "cGFzcyB3J28icmQvw7w=",
        )
    )
    clean = redacted(text, known=[secret])
    assert [part for part in ("pass", "w'o", "rd/", "cGFz") if part in clean] == []
    assert redacted("    one two\n    three", known=["one two\nthree\n"]) == f"    {MASK}\n    {MASK}"


def test_a_short_known_secret_is_taken_out_where_it_is_a_word_of_its_own() -> None:
    assert redacted("pin 4711, port 14711", known=["4711"]) == f"pin {MASK}, port 14711"


def test_what_is_taken_out_by_value_is_not_looked_at_again() -> None:
    assert redacted("password: red horse", known=["red"]) == f"password: {MASK}"
    assert redacted("a b red", known=["red", "redacted"]) == f"a b {MASK}"


def test_secrets_are_found_in_data_by_their_names() -> None:
    data = {
        "ssh_password": "p one",
        "_sudo_password": 12345678,
        "x_registry": {"user": "bob", "passphrase": "p two", "tokens": ["p three", {"deep": 4.5}]},
        "mirror": "http://me:p%20four@10.0.0.9:8080",
        "AWS_SECRET_ACCESS_KEY": "p five",
        "PGPASS": "not by this name",
        "db_pass": "p six",
        # No secrets.
        "node_ip": "10.0.0.1",
        "ssh_key": "~/.ssh/id_ed25519",
        "kubernetes_apt_key_fingerprint": "DE15B14486CD377B9E876E1A234654DA9A296436",
        "_use_sudo_password": True,
        "PASSWORD_STORE_DIR": "/home/bob",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "secretName": "hcloud",
    }
    assert secret_values(data) == {
        *("p one", "12345678", "p two", "p three", "4.5", "p%20four", "p five", "p six"),
    }
    assert redacted("logged in with 12345678 or p four", known=secret_values(data)) == (
        f"logged in with {MASK} or {MASK}"
    )


def test_a_flag_that_is_named_after_a_secret_takes_no_word_out() -> None:
    known = secret_values({"TOKENIZERS_PARALLELISM": "true", "x_token": ""})
    assert redacted("it is true", known=known) == "it is true"


def test_a_long_line_takes_no_long_time() -> None:
    begin = time.monotonic()
    parts = (
        "a",
        "aB3",
        "token",
        "-----BEGIN RSA PRIVATE KEY-----",
        "://",
        "a:",
        "http://a:",
        "a.",
        "\\",
        "'",
    )
    for part in (*parts, "password: ", "password='", '"auth":"', "login x password "):
        redacted(part * (60_000 // len(part)))
    assert time.monotonic() - begin < 5


def test_the_file_is_called_after_cluster_and_time_in_utc() -> None:
    now = datetime(2026, 11, 25, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert file_name(cluster_name="demo", now=now) == "demo-failure-20261124T230203Z.log"


def test_the_report_has_everything_and_no_secret() -> None:
    nodes = [
        Node(host=f"host-{name}", name=name, ip=f"10.0.0.{n}", address="") for n, name in enumerate("ab")
    ]
    text = report(
        now=datetime(2026, 11, 25, 14, 3, 5, tzinfo=UTC),
        deploy="deploys/cluster.py",
        versions={"pyinfra": "3.10.0"},
        options=ClusterOptions(
            cluster_name="demo",
            kubelet_configuration={"staticPodURL": "http://me:pa55word@10.0.0.9", "x-password": 4711},
        ),
        topology=Topology(control_planes=(nodes[0],), workers=(nodes[1],)),
        failures=[Failure(host="host-b", operation="Join the cluster", error=f"one\ntoken {TOKEN}")],
        output=["Starting", "sesame", "pin 4711"],
        machines={"host-b": "$ date\nnow", "host-a": "does not answer any more: gone"},
        secrets=["sesame"],
    )
    for words in (
        "deploys/cluster.py failed at 2026-11-25 14:03:05 UTC",
        "pyinfra 3.10.0",
        "host-b: Join the cluster\n    one\n",
        "control plane a: host host-a, node_ip 10.0.0.0",
        "worker b: host host-b, node_ip 10.0.0.1",
        "cluster_name = 'demo'",
        "Starting",
        "Machine host-b ====\n$ date\nnow",
        "Machine host-a ====\ndoes not answer any more: gone",
    ):
        assert words in text
    assert [secret for secret in ("pa55word", TOKEN, "sesame", "4711") if secret in text] == []
    assert (
        "best-effort" in text.splitlines()[0]
        and "Review this file before you share it" in text.splitlines()[1]
    )


def test_a_machine_without_kubernetes_is_described_quickly_and_in_ascii() -> None:
    begin = time.monotonic()
    done = subprocess.run(["sh", "-c", str(DIAGNOSE)], capture_output=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode("ascii")
    for command in (
        "uname --all",
        "kubelet --version",
        "journalctl --unit containerd",
        "crictl --timeout 5s ps",
    ):
        assert f"$ {command}" in said
    assert time.monotonic() - begin < 60


DEPLOY = """
from pyinfra import host, inventory
from pyinfra.api import operation
from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server
from kubeadm_deploys import ClusterOptions, reporting, run_lock
from kubeadm_deploys.locking import one_run_at_a_time
from kubeadm_deploys.nodes import Node, Topology

run_lock.ANSWER = reporting._ANSWER_SECONDS = 2
nodes = tuple(Node(host=each.name, name="cp", ip="10.0.0.1", address="10.0.0.1") for each in inventory)
topology = Topology(control_planes=nodes, workers=())
reporting.report_failure(options=ClusterOptions(cluster_name="demo"), topology=topology)
one_run_at_a_time(topology=topology, folder={folder!r})

@operation()
def raising():
    if host.state.is_executing:
        raise DeployError("raised inside an operation")
    yield "true"

{work}
"""

SHELL = 'server.shell(name="Work hard", commands=[{!r}])'


def start(tmp_path: Path, work: str, *arguments: str, inventory: str = "@local") -> subprocess.Popen[str]:
    (tmp_path / "work.py").write_text(DEPLOY.format(folder=str(tmp_path / "lock"), work=work))
    pyinfra = str(Path(sys.executable).with_name("pyinfra"))
    return subprocess.Popen(
        [pyinfra, *(arguments or ("-y",)), inventory, "work.py"],
        cwd=tmp_path,
        env={**os.environ, "HCLOUD_TOKEN": "open-sesame"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(tmp_path: Path, work: str, *arguments: str, inventory: str = "@local") -> tuple[int, str, str]:
    process = start(tmp_path, work, *arguments, inventory=inventory)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def reports(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("demo-failure-*.log"))


def the_report(tmp_path: Path, stderr: str) -> str:
    """The text of the only report, after checking its mode, and that its path is in the run's last line."""
    (path,) = reports(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert stderr.splitlines()[-1].endswith(f" {path}")
    return path.read_text()


def test_a_failed_run_ends_with_the_path_of_its_report(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, SHELL.format("echo open-sesame; echo it hurts >&2; exit 3"))
    assert code == 1
    assert "No hosts remaining!" in stderr
    text = the_report(tmp_path, stderr)
    assert "@local: Work hard\n    it hurts" in text
    assert "==== Machine @local ====\n\n$ uname --all" in text
    assert "cluster_name = 'demo'" in text
    assert "open-sesame" not in text
    assert list((tmp_path / "lock").iterdir()) == []


def test_no_value_that_the_run_was_given_as_a_secret_is_in_the_report(tmp_path: Path) -> None:
    data = {"x_registry": {"password": "two words"}, "x_token": 4711, "x_user": "bob"}
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f'hosts = [("@local", {data!r})]\n')
    said = "bob logs in with two words or 4711, or open-sesame"
    code, _, stderr = run(tmp_path, SHELL.format(f"echo {said} >&2; exit 3"), inventory=str(inventory))
    assert code == 1
    assert f"    bob logs in with {MASK} or {MASK}, or {MASK}\n" in the_report(tmp_path, stderr)


def test_json_stays_json(tmp_path: Path) -> None:
    # The first of two hosts goes on.
    work = f"if host.name == '@local':\n    {SHELL.format('exit 3')}\n{SHELL.format('true')}"
    inventory = tmp_path / "inventory.py"
    data = {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": {"take-run-lock": "taken"}}
    inventory.write_text(f'hosts = [("@fake/well", {data!r}), "@local"]\n')
    code, stdout, stderr = run(tmp_path, work, "-y", "--json", inventory=str(inventory))
    assert code == 1
    assert json.loads(stdout)["results"]["totals"]["error"] >= 1
    text = the_report(tmp_path, stderr)
    # One control plane that is well is asked too.
    assert "==== Machine @fake/well ====" in text
    assert "==== Machine @local ====" in text


def test_an_exception_in_an_operation_is_a_failure(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, 'raising(name="Raise")')
    assert code == 1
    text = the_report(tmp_path, stderr)
    assert "@local: Raise\n    Traceback" in text
    assert "DeployError: raised inside an operation" in text


def test_a_machine_that_does_not_answer_any_more_is_written_down_as_such(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text(
        f'#!/bin/sh\nif [ -e {shlex.quote(str(tmp_path))}/dead ]; then sleep 10; fi\nexec sh "$@"\n'
    )
    shell.chmod(0o755)
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f'hosts = [("@local", {{"_shell_executable": {str(shell)!r}}})]\n')
    code, _, stderr = run(tmp_path, SHELL.format("touch dead; exit 1"), inventory=str(inventory))
    assert code == 1
    assert "==== Machine @local ====\ndoes not answer any more: no answer in 2 s" in the_report(
        tmp_path, stderr
    )


@pytest.mark.parametrize(
    ("work", "arguments", "code"),
    [
        (SHELL.format("true"), ("-y",), 0),
        (SHELL.format("exit 3"), ("--dry",), 0),
        (SHELL.replace(")", ", _ignore_errors=True)").format("exit 3"), ("-y",), 0),
        # Nothing has run yet.
        ('raise DeployError("refused")', ("-y",), 1),
    ],
)
def test_without_a_failure_there_is_no_report(
    tmp_path: Path, work: str, arguments: tuple[str, ...], code: int
) -> None:
    assert run(tmp_path, work, *arguments)[0] == code
    assert reports(tmp_path) == []


def test_a_run_that_finds_the_lock_taken_has_not_failed(tmp_path: Path) -> None:
    first = start(tmp_path, SHELL.format("touch begun; until [ -e go ]; do sleep 0.1; done"))
    while not (tmp_path / "begun").exists():
        assert first.poll() is None
        time.sleep(0.05)
    code, _, stderr = run(tmp_path, SHELL.format("true"))
    assert (code, "has been running work.py on this cluster since" in stderr) == (1, True)
    (tmp_path / "go").touch()
    first.communicate(timeout=60)
    assert reports(tmp_path) == []


def test_ctrl_c_is_no_failure(tmp_path: Path) -> None:
    process = start(tmp_path, SHELL.format("touch begun; sleep 2; exit 3"))
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "Error" in stderr
    assert reports(tmp_path) == []


def test_a_report_that_cannot_be_written_hides_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code, _, stderr = run(folder, SHELL.format(f"rm -r {folder}; echo it hurts >&2; exit 3"))
    assert code == 1
    assert "it hurts" in stderr
    assert "No hosts remaining!" in stderr
    assert "Warning: no report could be written" in stderr
