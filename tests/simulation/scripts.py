"""Effects of the product's commands, except readings, on simulated machines and clusters."""

import base64
import hashlib
import json
from collections.abc import Callable
from copy import deepcopy

from tests.simulation import kubeadm
from tests.simulation.cluster_scripts import ClusterScripts
from tests.simulation.commands import Part
from tests.simulation.effects import Steps
from tests.simulation.kubeadm_scripts import KubeadmScripts
from tests.simulation.machine import (
    Machine,
    manifest,
)
from tests.simulation.machine_scripts import MachineScripts
from tests.simulation.restore_scripts import RestoreScripts
from tests.simulation.world import Failed

CHANGES_NOTHING = frozenset(
    {
        *("take-run-lock", "release-run-lock", "wait-for-api", "send-snapshot", "true", "fail", "diagnose"),
        *("render-static-pods", "try-arguments", "read-kubelet-configuration"),
    }
)
"""Commands that change nothing."""

SECONDS = {
    "kubeadm": 45.0,
    "clean-machine": 20.0,
    "install-packages": 30.0,
    "install-tarball": 5.0,
    "drain": 15.0,
    "swap-static-pod": 8.0,
    "swap-kubelet-configuration": 4.0,
    "settle-kubelet-configuration": 4.0,
    "roll-kube-proxy": 15.0,
}
"""Durations of slow commands."""


class Scripts(MachineScripts, KubeadmScripts, ClusterScripts, RestoreScripts):
    """Commands: for each a method ``do_NAME`` that generates its steps, and puts its output lines into ``printed``."""

    def steps(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """Return the steps of a command.

        Raises:
            Failed: by the steps, when the command fails.
        """
        name = part.name.replace("-", "_").replace(" ", "_")
        method: Callable[[Machine, Part, str], Steps] | None = getattr(self, f"do_{name}", None)
        if method is None:
            raise AssertionError(f"unknown command {part.name}: {part.words}")
        self.printed = []
        return method(machine, part, stdin)

    # Commands that change nothing.

    def do_send_snapshot(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/backup.py; the snapshot is removed from the machine when the command ends, however it does."""
        self.world.etcdctl(machine)
        assert machine.etcd
        mark, _ = part.words
        revision = machine.etcd.revision
        content = f"everything up to revision {revision}"
        self.world.snapshots[content] = deepcopy(self.world.clusters[machine.etcd.cluster])
        status = {"hash": 1, "revision": revision, "totalKey": revision, "totalSize": 1}
        checksum = hashlib.sha256(content.encode()).hexdigest()
        self.printed = ["", f"{mark} {len(content)} {checksum} {json.dumps(status)}", content]
        yield "sent"

    def do_render_static_pods(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/reconfiguration.py"""
        _, *names = part.words
        pods = {f"current:{name}": machine.files.get(manifest(name), "") for name in names}
        for number, line in enumerate(stdin.splitlines()):
            configuration = kubeadm.documents(base64.b64decode(line).decode())["ClusterConfiguration"]
            pods |= {f"{number}:{name}": kubeadm.static_pod(name, configuration) for name in names}
        self.printed = [
            f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in pods.items() if text
        ]
        yield "rendered"

    def do_try_arguments(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/reconfiguration.py"""
        if unknown := [word for word in part.words if word.startswith("--unknown")]:
            raise Failed(f"Error: unknown flag: {unknown[0]}")
        yield "accepted"

    def do_true(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """run/reporting.py"""
        yield "true"

    def do_diagnose(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """run/diagnosis.py"""
        yield "printed"

    def do_fail(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/failure.py"""
        raise Failed(part.words[0])
