"""Every command of docs/disaster.md can be typed as it is: names, arguments and options exist."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.command_line import FILES
from kubeadm_deploys.model.options import ClusterOptions
from tests.support import disaster_page

ROOT = Path(__file__).parents[1]

FAKE_CRICTL = r"""#!/bin/sh
echo "crictl $*" >> "$CALLS"
case "$*" in
  ps*) echo 0123456789abcdef ;;
  *'endpoint status'*)
    printf '[{"Endpoint":"https://127.0.0.1:2379","Status":{"header":{"cluster_id":1,"member_id":2,"revision":4711,'
    echo '"raft_term":3},"version":"3.7.0","dbSize":2,"leader":2,"raftIndex":4,"raftAppliedIndex":4}}]' ;;
esac
"""
ETCDCTL = (
    "crictl exec 0123456789abcdef etcdctl --endpoints https://127.0.0.1:2379 --cacert /etc/kubernetes/pki/etcd/ca.crt "
    "--cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key --command-timeout 300s"
)


def accepted(deploy: str) -> set[str]:
    """Return the names of the data that a deploy takes besides the options, and the variables that it reads."""
    tree = ast.parse((ROOT / "deploys" / deploy).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    also = [ast.literal_eval(word.value) for call in calls for word in call.keywords if word.arg == "also"]
    read = [call.args[0] for call in calls if ast.unparse(call.func) == "os.environ.get"]
    return {name for names in also for name in names} | {ast.literal_eval(name) for name in read}


def test_every_section_with_commands_is_a_scenario_and_the_other_way_round() -> None:
    sections = re.findall(r"^## (.*)$", disaster_page.PAGE.read_text(), flags=re.MULTILINE)
    with_commands = [name for name in sections if any(disaster_page.commands(name, prompt=p) for p in "$#")]
    assert with_commands == list(disaster_page.SCENARIOS)


@pytest.mark.parametrize("section", disaster_page.SCENARIOS)
def test_deploys_and_their_data_exist(section: str) -> None:
    for deploy, (first, _, script, *rest) in disaster_page.deploys(section):
        assert first == "-y" and FILES[script] == script
        assert set(rest[::2]) <= {"--data"}, rest
        for pair in rest[1::2]:
            name, equals, value = pair.partition("=")
            assert equals and value
            assert name in accepted(deploy) | set(ClusterOptions.model_fields), f"{deploy} takes no {name}"


@pytest.mark.parametrize("section", disaster_page.SCENARIOS)
def test_who_restores_has_set_the_passphrase(section: str) -> None:
    exported = [c for c in disaster_page.commands(section, prompt="$") if c.startswith("export ")]
    opens_backup = any("backup=FILE" in words for _, words in disaster_page.deploys(section))
    assert bool(exported) is opens_backup
    for command in exported:
        assert command.removeprefix("export ").partition("=")[0] in accepted("restore.py")


def test_the_commands_on_a_control_plane_ask_its_own_member(tmp_path: Path) -> None:
    """They run in a real shell, with a crictl and a kubectl that only write down how they were called."""
    calls = tmp_path / "calls"
    for name, text in {
        "crictl": FAKE_CRICTL,
        "kubectl": '#!/bin/sh\necho "kubectl $*" >> "$CALLS"\n',
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    script = "\n".join(["set -eu", *disaster_page.commands(disaster_page.NO_SPACE, prompt="#")])
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CALLS": str(calls)}
    subprocess.run(["sh", "-c", script], env=environment, check=True)
    found = [line for line in calls.read_text().splitlines() if not line.startswith("crictl ps")]
    assert found == [
        "kubectl --kubeconfig /etc/kubernetes/admin.conf delete events --all-namespaces --all",
        f"{ETCDCTL} endpoint status --write-out json",
        f"{ETCDCTL} compaction --physical 4711",
        f"{ETCDCTL} defrag",
        f"{ETCDCTL} alarm disarm",
    ]
