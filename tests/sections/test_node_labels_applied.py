"""Labels and taints are applied by the real script, and by one host of a run."""

import json
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.sections.node_labels import (
    Change,
    change_command,
    failures,
)
from tests.support.fake_answers import ENVIRONMENT, FRAMED
from tests.support.pyinfra_command import pyinfra
from tests.support.remote_scripts import with_programs

ROOT = Path(__file__).parents[2]


# As kubectl 1.36 prints them: a control plane, a new worker, a worker with our annotation and another one,
# the record.
KUBECTL_OUTPUT = r"""
node|cp|{"kubernetes.io/hostname":"cp","node-role.kubernetes.io/control-plane":""}|[{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}]|{"node.alpha.kubernetes.io/ttl":"0"}
node|new|{"kubernetes.io/hostname":"new"}||
node|gpu|{"disk":"ssd"}|[{"effect":"NoSchedule","key":"dedicated","value":"gpu"},{"effect":"NoExecute","key":"node.kubernetes.io/not-ready","timeAdded":"2026-01-01T00:00:00Z"}]|{"kubeadm-deploys/placement":"[\"disk\"]","odd":"a|b\n\u003c"}
record|{"nodes":"{\"gpu\": [\"dedicated:NoSchedule\", \"disk\"]}","releases":"{\"runc\": \"1.4.3\"}"}
""".strip()


CHANGES = (
    Change(verb="label", nodes=("a", "b c"), arguments=("disk=ssd", "odd='$(touch x)'")),
    Change(verb="taint", nodes=("c",), arguments=("spot:NoExecute-",)),
)


def run_script(tmp_path: Path, changes: tuple[Change, ...], kubectl: str) -> subprocess.CompletedProcess[str]:
    """Run the script with this shell script as kubectl."""
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{kubectl}\n")
    (tmp_path / "kubectl").chmod(0o755)
    command = change_command(changes)
    return subprocess.run(
        ["sh", "-c", with_programs(command, tmp_path)],
        input=str(command.connector_arguments["_stdin"]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )


def test_the_script_passes_every_change_to_kubectl(tmp_path: Path) -> None:
    # This kubectl reads its standard input, which must not be the script's: otherwise changes would get lost.
    done = run_script(
        tmp_path, CHANGES, 'cat; for word in "$@"; do printf "<%s>" "$word"; done > "seen-$$"; echo'
    )
    assert (done.returncode, done.stdout) == (0, "")
    seen = sorted(path.read_text() for path in tmp_path.glob("seen-*"))
    assert [text.partition("<--request-timeout=30s>")[2] for text in seen] == [
        "<label><--overwrite><node><a><b c><disk=ssd><odd='$(touch x)'>",
        "<taint><--overwrite><node><c><spot:NoExecute->",
    ]
    assert not (tmp_path / "x").exists()


def test_the_number_of_parallel_commands_is_limited(tmp_path: Path) -> None:
    changes = tuple(Change(verb="label", nodes=(f"n-{i}",), arguments=("a=b",)) for i in range(20))
    busy = "touch busy-$$; ls busy-* | wc -l > count-$$; sleep 0.3; rm busy-$$"
    assert run_script(tmp_path, changes, busy).returncode == 0
    counts = [int(path.read_text()) for path in tmp_path.glob("count-*")]
    assert len(counts) == 20 and 1 < max(counts) <= 8


def test_every_unchanged_node_is_named_with_the_reason(tmp_path: Path) -> None:
    refuse = (
        'case "$*" in *label*) echo "node/a labeled"; echo "nodes \\"b c\\" not found" >&2; exit 1 ;; esac'
    )
    done = run_script(tmp_path, CHANGES, refuse)
    assert done.returncode == 1
    output = done.stdout.splitlines()
    assert failures(CHANGES, output=output, error="") == {"b c": 'nodes "b c" not found'}


def test_without_output_of_the_script_no_node_counts_as_changed() -> None:
    assert failures(CHANGES, output=[], error="killed") == dict.fromkeys(("a", "b c", "c"), "killed")


# Hosts with pyinfra's fake connector, which gives these answers: a control plane whose cluster has cp and one
# worker.
INVENTORY = """
_cluster = {
    "<<< KubeadmNode": ["machine-id m", "have:kubelet.conf", "have:manifests/kube-apiserver.yaml", "rotating", "ca b3Vycw==", "api ok"],
    "<<< NodeMarks": NODES,
}
def _host(name, ip, **data):
    return f"@fake/{name}", {"fake_delay": 0, "fake_delay_jitter": 0, "node_name": name, "node_ip": ip, **data}
control_plane = [_host("cp", "10.0.0.1", fake_responses=_cluster)]
workers = [
    _host("joined", "10.0.0.2", node_labels={"disk": "ssd"}, node_taints=["spot:NoExecute"], node_roles=["gpu"]),
    _host("absent", "10.0.0.3", node_labels={"disk": "ssd"}),
]
"""


DEPLOY = """
from pyinfra import inventory
from kubeadm_deploys import ClusterOptions, label_nodes
from kubeadm_deploys.inventory.data import topology_from_inventory
label_nodes(topology=topology_from_inventory(inventory, options=ClusterOptions()))
"""


UNMARKED = [KUBECTL_OUTPUT.splitlines()[0], "node|joined|{}||"]


MARKED = [
    UNMARKED[0],
    'node|joined|{"disk":"ssd","node-role.kubernetes.io/gpu":""}|[{"effect":"NoExecute","key":"spot"}]|{}',
    r'record|{"nodes":"{\"joined\": [\"disk\",\"node-role.kubernetes.io/gpu\",\"spot:NoExecute\"]}"}',
]


@pytest.mark.parametrize(
    ("nodes", "arguments", "totals"),
    [
        (UNMARKED, [], {"success": 1, "no_change": 2, "error": 0}),
        (MARKED, [], {"success": 0, "no_change": 3, "error": 0}),
        # Through the leader, although it is not part of the run; and only for hosts that are.
        (UNMARKED, ["--limit", "@fake/joined"], {"success": 1, "no_change": 0, "error": 0}),
        (UNMARKED, ["--limit", "@fake/cp"], {"success": 0, "no_change": 1, "error": 0}),
    ],
)
def test_one_host_makes_all_changes(
    tmp_path: Path, nodes: list[str], arguments: list[str], totals: dict[str, int]
) -> None:
    done = run_deploy(tmp_path, nodes, *arguments)
    found = json.loads(done.stdout)["results"]["totals"]
    assert {key: found[key] for key in totals} == totals


def test_unreadable_nodes_are_not_taken_for_nodes_without_marks(tmp_path: Path) -> None:
    done = run_deploy(tmp_path, {"success": False, "stderr": ["the connection was refused"]})
    assert done.returncode == 1
    assert "the connection was refused" in done.stderr


def run_deploy(tmp_path: Path, nodes: object, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Label the nodes of the inventory, with ``nodes`` as the API server's answer."""
    (tmp_path / "inventory.py").write_text(FRAMED + INVENTORY.replace("NODES", repr(nodes)))
    (tmp_path / "deploy.py").write_text(DEPLOY)
    return pyinfra(
        *("-y", "--json", *arguments, "inventory.py", "deploy.py"), folder=tmp_path, environment=ENVIRONMENT
    )
