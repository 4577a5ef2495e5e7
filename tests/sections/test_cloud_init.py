"""Which findings on a machine keep it from becoming a node."""

import base64
import dataclasses
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.cloud_init import (
    CloudInit,
    CloudInitState,
    Interface,
    cloud_init_problems,
    cloud_init_warnings,
    differing_flags,
)
from tests.support.remote_scripts import with_programs

MAC = "86:00:00:12:34:56"
NODE = Node(
    host="shop-worker-1", name="shop-worker-1", ip="10.0.0.3", address="203.0.113.11", interface_mac=MAC
)
HETZNER = ClusterOptions(cluster_name="shop", cloud_provider="hetzner")
READY = CloudInitState(hostname="shop-worker-1", interface="enp7s0")

PUBLIC = Interface(name="eth0", mac="96:00:00:00:00:01", up=True, addresses=("203.0.113.11",))
PRIVATE = Interface(name="enp7s0", mac=MAC, up=True, addresses=())


def problems(*, options: ClusterOptions = HETZNER, node: Node = NODE, **found: Any) -> list[str]:
    return list(cloud_init_problems(found=dataclasses.replace(READY, **found), options=options, node=node))


@pytest.mark.parametrize("exit_code", [0, 2])
def test_a_machine_that_is_ready_has_no_problem(exit_code: int) -> None:
    assert problems(cloud_init=exit_code) == []
    assert list(cloud_init_warnings(dataclasses.replace(READY, cloud_init=exit_code))) == []


def test_an_error_of_cloud_init_is_a_warning_with_its_output() -> None:
    failed: dict[str, Any] = {"cloud_init": 1, "cloud_init_said": "status: error\nerrors:\n  - apt failed"}
    (warning,) = cloud_init_warnings(dataclasses.replace(READY, **failed))
    assert warning.endswith("status: error errors: - apt failed")
    assert problems(**failed) == []


def test_the_problem_of_an_unfinished_cloud_init_names_the_option() -> None:
    (problem,) = problems(cloud_init=124)
    assert "after 300 s" in problem and "cloud_init_timeout" in problem


def test_the_host_name_only_matters_if_the_cloud_uses_it() -> None:
    (problem,) = problems(hostname="localhost")
    assert "localhost" in problem and "hostnamectl set-hostname shop-worker-1" in problem
    assert problems(hostname="localhost", options=ClusterOptions()) == []


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ((PUBLIC,), f"no interface has the MAC {MAC} of 10.0.0.3"),
        ((PUBLIC, dataclasses.replace(PRIVATE, up=False)), "interface enp7s0 of 10.0.0.3 is down"),
        ((PUBLIC, PRIVATE), f"interface enp7s0 ({MAC}) has no address instead of 10.0.0.3"),
        (
            (dataclasses.replace(PRIVATE, addresses=("10.0.0.9",)),),
            f"interface enp7s0 ({MAC}) has 10.0.0.9 instead of 10.0.0.3",
        ),
    ],
)
def test_a_missing_private_interface_has_a_fix(seen: tuple[Interface, ...], expected: str) -> None:
    (problem,) = problems(interface="", seen=seen)
    assert problem.startswith(f"{expected}; waited 300 s ")
    assert "'hcloud server reboot shop-worker-1'" in problem
    assert "'hcloud server attach-to-network shop-worker-1 --network shop --ip 10.0.0.3'" in problem
    (elsewhere,) = problems(interface="", seen=seen, options=ClusterOptions())
    assert "hcloud" not in elsewhere and "reboot the machine" in elsewhere


def test_without_a_mac_a_wrong_address_is_reported_with_the_machines_own() -> None:
    node = dataclasses.replace(NODE, interface_mac="")
    (problem,) = problems(node=node, interface="", seen=(PUBLIC, PRIVATE))
    assert problem.startswith("no interface has the address 10.0.0.3 ") and "eth0 203.0.113.11" in problem
    assert "node_ip" in problem


def test_all_problems_are_reported_at_once() -> None:
    assert len(problems(cloud_init=124, hostname="x", interface="")) == 3


def test_the_fact_reads_what_its_script_prints() -> None:
    output = base64.b64encode(b"\n....\nstatus: error\n").decode()
    interfaces = [
        {
            "ifname": "lo",
            "flags": ["LOOPBACK", "UP"],
            "operstate": "UNKNOWN",
            "addr_info": [{"family": "inet6", "local": "::1"}],
        },
        {"ifname": "enp7s0", "address": MAC, "flags": ["UP"], "operstate": "DOWN", "addr_info": []},
    ]
    state = CloudInit().process(
        [
            "cloud_init 1",
            f"cloud_init_said {output}",
            "hostname shop-worker-1",
            f"seen {json.dumps(interfaces)}",
        ]
    )
    assert state == CloudInitState(
        cloud_init=1,
        cloud_init_said="status: error\n",
        hostname="shop-worker-1",
        seen=(
            Interface(name="lo", mac="", up=True, addresses=()),
            Interface(name="enp7s0", mac=MAC, up=False, addresses=()),
        ),
    )


def test_the_flags_of_the_kubelet_are_read() -> None:
    line = 'kubelet_flags KUBELET_KUBEADM_ARGS="--cloud-provider=external --node-ip=10.0.0.2 --provider-id=hcloud://42" '
    assert CloudInit().process([line]).kubelet_flags == {
        "cloud-provider": "external",
        "node-ip": "10.0.0.2",
        "provider-id": "hcloud://42",
    }
    assert CloudInit().process(['kubelet_flags KUBELET_KUBEADM_ARGS="" ']).kubelet_flags == {}
    assert CloudInit().process(["hostname x"]).kubelet_flags is None


PLAIN = {"node-ip": "10.0.0.2"}
CLOUD = {**PLAIN, "cloud-provider": "external", "provider-id": "hcloud://42"}


@pytest.mark.parametrize(
    ("found", "wanted", "differences"),
    [
        (PLAIN, PLAIN, []),
        (CLOUD, CLOUD, []),
        (PLAIN, CLOUD, ["cloud-provider unset instead of external"]),
        (CLOUD, PLAIN, ["cloud-provider external instead of unset"]),
        ({}, PLAIN, []),
        (PLAIN, {"node-ip": "10.0.0.3"}, ["node-ip 10.0.0.2 instead of 10.0.0.3"]),
        (CLOUD, {**CLOUD, "provider-id": "hcloud://43"}, ["provider-id hcloud://42 instead of hcloud://43"]),
        ({**PLAIN, "cloud-provider": "external"}, CLOUD, []),
        ({**PLAIN, "register-with-taints": "x=y:NoSchedule"}, PLAIN, []),
    ],
)
def test_flags_that_a_running_kubelet_cannot_change_are_reported(
    found: dict[str, str], wanted: dict[str, str], differences: list[str]
) -> None:
    assert list(differing_flags(found=found, wanted=wanted)) == differences


def test_a_node_that_joined_with_other_flags_is_refused() -> None:
    assert problems(kubelet_flags={"node-ip": "10.0.0.3", "cloud-provider": "external"}) == []
    (problem,) = problems(kubelet_flags={"node-ip": "10.0.0.3"})
    assert "cloud-provider unset instead of external" in problem
    assert "deploys/remove_node.py" in problem and "kubeadm reset" not in problem


# The loopback interface is on every machine, up and with a MAC of zeros.
LOOPBACK_MAC = "00:00:00:00:00:00"


def asked(tmp_path: Path, *, mac: str = "", timeout: int = 5, **commands: str) -> CloudInitState:
    """Run the fact's script with these ``ip`` and ``cloud-init`` commands first in its path."""
    for name, script in {"ip": "exit 0", **commands}.items():
        program = tmp_path / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        program.chmod(0o755)
    script = with_programs(CloudInit().command(timeout=timeout, node_ip="10.0.0.3", mac=mac), tmp_path)
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return CloudInit().process(done.stdout.splitlines())


LOOPBACK_HAS_IT = 'case "$*" in *"up to 10.0.0.3") echo "1: lo    inet 10.0.0.3/32 scope host lo" ;; esac'


def test_without_cloud_init_there_is_no_wait(tmp_path: Path) -> None:
    state = asked(tmp_path, ip=LOOPBACK_HAS_IT)
    assert (state.cloud_init, state.interface, state.seen) == (0, "lo", ())


@pytest.mark.parametrize("exit_code", [0, 1, 2])
def test_cloud_init_is_waited_for(tmp_path: Path, exit_code: int) -> None:
    script = f'echo "$*" > asked; echo; echo ...; echo status: it; exit {exit_code}'
    state = asked(tmp_path, ip=LOOPBACK_HAS_IT, cloud_init=script)
    assert (state.cloud_init, state.cloud_init_said) == (exit_code, "status: it")
    assert (tmp_path / "asked").read_text() == "status --wait --long\n"


@pytest.mark.parametrize(
    ("status", "exit_code", "found"),
    [
        ("status: done", 0, 0),
        ("status: disabled", 0, 0),
        ("status: error\nextended_status: error - done", 1, 1),
        ("status: done\nextended_status: degraded done", 2, 2),
        # A module has failed, and others are still running.
        ("status: error\nextended_status: error - running", 1, 124),
        ("status: running\nextended_status: degraded running", 2, 124),
        ("status: running", 0, 124),
        ("status: not started", 0, 124),
        ("status: not run", 0, 124),
        # Output without a status is reported, and not waited for.
        ("Traceback (most recent call last):", 1, 1),
        ("Unable to connect to the bus: status: running away", 1, 1),
    ],
)
def test_cloud_init_is_read_without_waiting(tmp_path: Path, status: str, exit_code: int, found: int) -> None:
    script = f'echo "$*" > asked; printf "%s\\n" "{status}"; exit {exit_code}'
    state = asked(tmp_path, timeout=0, ip=LOOPBACK_HAS_IT, cloud_init=script)
    assert state.cloud_init == found
    assert (tmp_path / "asked").read_text() == "status --long\n"


@pytest.mark.parametrize(
    ("system", "found"), [("running", 0), ("degraded", 0), ("starting", 124), ("initializing", 124)]
)
def test_a_cloud_init_that_never_runs_is_not_waited_for(tmp_path: Path, system: str, found: int) -> None:
    state = asked(
        tmp_path,
        timeout=0,
        ip=LOOPBACK_HAS_IT,
        cloud_init="echo status: not run",
        systemctl=f'[ "$*" = is-system-running ] && echo {system}',
    )
    assert state.cloud_init == found


def test_the_wait_for_cloud_init_times_out(tmp_path: Path) -> None:
    state = asked(tmp_path, timeout=1, ip=LOOPBACK_HAS_IT, cloud_init="exec sleep 60")
    assert state.cloud_init == 124


def test_a_late_interface_is_waited_for(tmp_path: Path) -> None:
    late = f"echo >> calls; [ $(wc -l < calls) -gt 2 ] || exit 0; {LOOPBACK_HAS_IT}"
    assert asked(tmp_path, mac=LOOPBACK_MAC, ip=late).interface == "lo"


@pytest.mark.parametrize("mac", ["", MAC])
def test_a_wrong_interface_causes_a_wait_only_if_the_right_mac_is_known(tmp_path: Path, mac: str) -> None:
    interfaces = json.dumps([{"ifname": "lo", "flags": ["UP"], "operstate": "UNKNOWN", "addr_info": []}])
    has_it = LOOPBACK_HAS_IT if mac else ""
    ip = f"echo \"$*\" >> asked\n{has_it}\n[ $1 != -json ] || echo '{interfaces}'"
    state = asked(tmp_path, mac=mac, timeout=2, ip=ip)
    assert state.interface == ""
    assert [interface.name for interface in state.seen] == ["lo"]
    asked_again = Counter((tmp_path / "asked").read_text().splitlines()).most_common(1)[0][1] > 1
    assert asked_again == bool(mac)
