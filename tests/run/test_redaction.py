"""What a failure report redacts: secrets by their form and by their value, and nothing else."""

import json
import shlex
import time

import pytest

from kubeadm_deploys.cluster.join_credentials import new_token
from kubeadm_deploys.run.redaction import MASK, redacted, secret_values

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
        # As in a journal, and incomplete.
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
def test_text_that_looks_like_a_secret_is_redacted(text: str, secret: str) -> None:
    clean = redacted(text)
    assert secret not in clean
    assert MASK in clean
    assert redacted(clean) == clean


def test_a_generated_join_token_is_redacted() -> None:
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
def test_text_that_is_not_secret_is_kept(text: str) -> None:
    assert redacted(text) == text


def test_the_part_of_a_container_id_that_crictl_shows_is_kept() -> None:
    assert redacted(f"container {CERTIFICATE_KEY} exited") == f"container {CERTIFICATE_KEY[:13]}{MASK} exited"


def test_known_secrets_are_redacted_in_any_form() -> None:
    assert redacted("open sesame, he said", known=["", "a", "sesame"]) == f"open {MASK}, he said"
    assert redacted("secret-long", known=["cret", "secret-long"]) == MASK


def test_a_known_secret_is_redacted_in_every_encoding() -> None:
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


def test_a_short_known_secret_is_redacted_only_as_a_whole_word() -> None:
    assert redacted("pin 4711, port 14711", known=["4711"]) == f"pin {MASK}, port 14711"


def test_redacted_text_is_not_redacted_again() -> None:
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
        # Not secret.
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


def test_the_value_of_a_flag_named_like_a_secret_is_kept() -> None:
    known = secret_values({"TOKENIZERS_PARALLELISM": "true", "x_token": ""})
    assert redacted("it is true", known=known) == "it is true"


def test_long_lines_are_redacted_fast() -> None:
    begin = time.process_time()
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
    assert time.process_time() - begin < 5
