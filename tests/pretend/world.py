"""Pretend machines for pyinfra's real command line.

Everything that pyinfra would run on a host is asked of a ``World``: a fact is answered by its name, as a machine of that
kind would answer, and whatever else a command is, it is a change, which is recorded.
"""

import base64
import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import gevent
from paramiko import SSHException
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubeadm_deploys import container_runtime, diagnosis, kube_packages, run_lock
from kubeadm_deploys.cluster import leader
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from kubeadm_deploys.operations import cluster_record, shared_pki
from kubeadm_deploys.text import sha256
from tests.fake_answers import facts_asked, framed
from tests.pretend.changes import in_words
from tests.pretend.machine import OPTIONS, Cluster, Machine
from tests.remote_scripts import script_called

KEYS = [f"{file} c2VjcmV0" for file in shared_pki.FILES]
"""What control planes share, as it goes from one to the next."""

Answer = tuple[bool, list[str], list[str]]
"""Success, stdout and stderr."""


def failure(stderr: str) -> Answer:
    """A command that fails."""
    return False, [], [stderr]


class World:
    """Machines in groups as the inventory has them. ``before`` is called with each command before a machine gets it, and
    may answer in the machine's place. ``locked`` is whether a machine has granted a run the lock, and
    ``changed`` whether anything was changed since.
    """

    def __init__(
        self,
        *,
        control_planes: Iterable[Machine],
        workers: Iterable[Machine] = (),
        data: dict[str, Any] | None = None,
        before: Callable[["World", Machine, str], Answer | None] = lambda *_: None,
    ) -> None:
        self.control_planes = tuple(control_planes)
        self.workers = tuple(workers)
        self.machines = {machine.name: machine for machine in (*self.control_planes, *self.workers)}
        self.data = data or {}
        self.before = before
        self.locked = self.changed = False
        self.record = Path("changes")

    def note(self, change: str) -> None:
        """Record a change."""
        self.changed = True
        with self.record.open("a") as file:
            file.write(f"{change}\n")

    def answer(self, name: str, command: str, *, stdin: str = "") -> Answer:
        """What a machine does when it is given a command.

        Raises:
            SSHException: its connection is broken.
        """
        machine = self.machines[name]
        instead = self.before(self, machine, command)
        if machine.connection:
            raise SSHException(machine.connection)
        run, command = _without_fence(command)
        if run and machine.lock_run not in ("", run):
            return failure(f"{run_lock.REFUSED} ({machine.lock_owner})")
        facts = facts_asked(command)
        if instead:
            succeeded, stdout, stderr = instead
        elif facts:
            succeeded, stdout, stderr = True, self._answers(machine, facts, command), []
        else:
            succeeded, stdout, stderr = self._run(machine, command, stdin)
        return succeeded, [*machine.greeting, *stdout], stderr

    def _answers(self, machine: Machine, facts: list[str], command: str) -> list[str]:
        stdout: list[str] = []
        for fact in facts:
            if fact == "RunLock":
                taking = re.search(r"take-run-lock (.*?)\n\} 2>&1 < /dev/null\)", command, re.DOTALL)
                assert taking, command
                vote = self._take(machine, *shlex.split(taking[1]))
                stdout += framed(fact, vote)
                if vote[-1] != "taken":
                    break
            else:
                answer: Callable[[Machine], list[str]] = getattr(self, f"_{_snake(fact.split('_')[0])}")
                stdout += framed(fact, answer(machine))
        return stdout

    # Facts, by their names.

    def _kubeadm_node(self, machine: Machine) -> list[str]:
        cluster = machine.cluster
        lines = [f"machine-id {machine.machine_id}"]
        lines += ["have:etcd"] if machine.serves or "member" in machine.etcd_entries else []
        if not cluster:
            return lines
        lines += ["have:kubelet.conf", f"server https://api.{cluster.name}.internal:6443"]
        lines += [f"ca {_base64(cluster.authority.certificate)}"]
        lines += [] if machine.made_anew else ["rotating"]
        lines += [f"client {_base64(cluster.authority.issue(f'system:node:{machine.name}'))}"]
        if machine.control_plane:
            there = [name for name in MANIFESTS if name not in machine.missing]
            files = (
                "admin.conf",
                "pki/ca.key",
                "pki/etcd/ca.crt",
                *(f"manifests/{name}.yaml" for name in there),
            )
            lines += [*(f"have:{file}" for file in files), f"cluster-name {cluster.name}"]
            lines += [f"backup:{name} {backup}" for name, backup in machine.missing.items() if backup]
        if machine.control_plane and "kube-apiserver" not in machine.missing:
            lines += [f"api {'not ready: etcd' if machine.missing else 'ok'}"]
        return lines

    def _cluster_members(self, machine: Machine) -> list[str]:
        cluster = self._served(machine)
        return [f"etcd {cluster.members}", *(f"node:{name} {said}" for name, said in cluster.nodes.items())]

    def _etcd_members(self, machine: Machine) -> list[str]:
        return [self._served(machine).members]

    def _etcd_health(self, machine: Machine) -> list[str]:
        addresses = self._served(machine).etcd.values()
        return [json.dumps([{"endpoint": f"https://{ip}:2379", "health": True} for ip in addresses])]

    def _init_remainder(self, machine: Machine) -> list[str]:
        self._served(machine)
        return []

    def _cluster_health(self, machine: Machine) -> list[str]:
        return [f"Node|{name}|True|||||1||||" for name in self._served(machine).nodes]

    def _nodes_ready(self, machine: Machine) -> list[str]:
        self._served(machine)
        return []

    _workloads_available = _nodes_ready

    def _node_marks(self, machine: Machine) -> list[str]:
        return self._served(machine).node_marks

    def _cluster_settings(self, machine: Machine) -> list[str]:
        cluster = self._served(machine)
        if not machine.missing:
            return cluster.settings
        files = {
            "kubernetesVersion": cluster.kubernetes_version,
            "serviceSubnet": OPTIONS.service_subnet,
            "podSubnet": OPTIONS.pod_subnet,
            "clusterName": cluster.name,
            "controlPlaneEndpoint": f"api.{cluster.name}.internal:6443",
            "dnsDomain": OPTIONS.dns_domain,
        }
        return ["silent connection refused", *(f"file:{name} {value}" for name, value in files.items())]

    def _kustomization_differs(self, machine: Machine) -> list[str]:
        self._served(machine)
        return ["same"]

    def _load_balancer_addresses(self, machine: Machine) -> list[str]:
        self._served(machine)
        return []

    def _machine(self, machine: Machine) -> list[str]:
        entries = ("member",) if machine.serves else machine.etcd_entries
        release = OPTIONS.kubernetes_version
        return [
            f"started {time.time():.9f}",
            f"machine-id {machine.machine_id}",
            f"address:{machine.ip} eth0",
            *(f"etcd-entry:{entry}" for entry in entries),
            *([f"kubelet {release}-1.1"] if machine.cluster else []),
            *([f"api-server {release}"] if machine.serves else []),
        ]

    def _downloads(self, machine: Machine) -> list[str]:
        return []

    def _provisioning(self, machine: Machine) -> list[str]:
        return [f"hostname {machine.name}", "interface eth0"]

    def _bridged_traffic(self, machine: Machine) -> list[str]:
        return ["container docker", "module:overlay", "module:br_netfilter"]

    def _swap(self, machine: Machine) -> list[str]:
        return ["container none"]

    def _container_runtime(self, machine: Machine) -> list[str]:
        return [
            *("architecture amd64", "container docker", "curl present", "active active", "enabled enabled"),
            *("running /usr/local/bin/containerd", "systemd_cgroup true"),
            *(
                f"version:{each} {OPTIONS.containerd_version}"
                for each in ("containerd", "containerd-shim-runc-v2", "ctr")
            ),
            f"version:runc {OPTIONS.runc_version}",
            *(f"plugin:{each} {OPTIONS.cni_plugins_version}" for each in container_runtime.CNI_PLUGINS),
            *_files(container_runtime.configuration_files(OPTIONS)),
        ]

    def _images(self, machine: Machine) -> list[str]:
        return []

    def _kube_packages(self, machine: Machine) -> list[str]:
        packages = (*kube_packages.HELD_PACKAGES, *kube_packages.TOOLS)
        return [
            *(f"package:{each} {OPTIONS.kubernetes_version}-1.1" for each in packages),
            *(f"held:{each}" for each in kube_packages.HELD_PACKAGES),
            "kubelet:enabled",
            *(["kubelet:active", "kubelet:has-node"] if machine.cluster else []),
            *_files(kube_packages.apt_files(OPTIONS)),
        ]

    def _resolver(self, machine: Machine) -> list[str]:
        return [f"source:/etc/resolv.conf {_base64('nameserver 9.9.9.9')}"]

    def _local_proxy(self, machine: Machine) -> list[str]:
        return []

    def _cni_files(self, machine: Machine) -> list[str]:
        return ["mtu 1500"]

    def _api_endpoint(self, machine: Machine) -> list[str]:
        hosts = f"hosts:/etc/hosts {_base64('127.0.0.1 localhost')}"
        return [hosts, *(["joined"] if machine.cluster else []), *(["serves"] if machine.serves else [])]

    def _cluster_traces(self, machine: Machine) -> list[str]:
        return ["file /etc/kubernetes/pki"] if machine.cluster or machine.etcd_entries else []

    # What goes to others, in the form of facts.

    def _admin_conf(self, machine: Machine) -> list[str]:
        cluster = self._served(machine)
        own = {
            "server": "https://x:6443",
            "certificate-authority-data": _base64(cluster.authority.certificate),
        }
        document = {
            "clusters": [{"name": cluster.name, "cluster": own}],
            "users": [{"name": "kubernetes-admin", "user": {}}],
            "contexts": [],
        }
        return [json.dumps(document)]

    def _shared_pki(self, machine: Machine) -> list[str]:
        self._served(machine)
        return KEYS

    @staticmethod
    def _served(machine: Machine) -> Cluster:
        assert machine.serves, f"{machine.name} was asked about a cluster and has none"
        return machine.serves

    # Commands.

    def _run(self, machine: Machine, command: str, stdin: str) -> Answer:
        if command.startswith("echo ") and command.endswith(">&2; exit 1"):
            # operations.failure.failed
            return failure(shlex.split(command.removesuffix(">&2; exit 1"))[1])
        script, arguments = script_called(command)
        if script == "release-run-lock":
            if machine.lock_run == arguments[-1]:
                machine.lock = ""
            return True, [], []
        if command in ("true", diagnosis.DIAGNOSE.get_raw_value()):
            return True, [], []
        if script == "mark-nodes":
            for change in self._served(machine).change_marks(stdin):
                self.note(f"{machine.name}: {change}")
            return True, [], []
        if script == "write-pki" and stdin.splitlines() != KEYS:
            return failure("these are no keys")
        self.note(f"{machine.name}: {in_words(command)}")
        self._changed(machine, command, stdin)
        return True, [], []

    def _take(
        self, machine: Machine, folder: str, lease: str, mine: str, dead: str, document: str
    ) -> list[str]:
        if machine.lock_run not in ("", mine, dead):
            return ["asked", "held", "up 1000", *machine.lock.splitlines(), "start 900", "until 1100"]
        machine.lock = document
        self.locked = True
        return ["asked", "taken"]

    def _changed(self, machine: Machine, command: str, stdin: str) -> None:
        words = shlex.split(command)
        script, arguments = script_called(command)
        if script == "clean-machine":
            machine.cluster, machine.control_plane = None, False
        elif script == "run-kubeadm" and arguments[1] == "init":
            machine.joins(Cluster(record=None, calico=""), control_plane=True)
        elif script == "run-kubeadm" and arguments[1] == "join":
            first = next(each.serves for each in self.control_planes if each.serves)
            machine.joins(first, control_plane=machine in self.control_planes)
        elif "delete node" in command:
            self._served(machine).delete_node(words[-1])
        elif command == cluster_record.WRITE:
            self._served(machine).record = json.loads(stdin)["data"]
        elif "apply --server-side" in command and "calico" in words[-1]:
            self._served(machine).apply_calico()
        elif script == "etcdctl" and arguments[:2] == ["member", "remove"]:
            self._served(machine).remove_member(int(arguments[2], 16))
        elif words[:1] == ["cp"] and words[-1].startswith("/etc/kubernetes/manifests/"):
            machine.missing.pop(PurePosixPath(words[-1]).stem)


def _without_fence(command: str) -> tuple[str, str]:
    """The run that has fenced a command, empty when none has, and the command itself."""
    found = re.match(r".* grep -qxF 'run (\w+)' ", command.partition("\n")[0])
    if not found:
        return "", command
    fence = run_lock.fenced("", run_lock.Holder(run=found[1], who="", what="")).get_raw_value()
    assert command.startswith(fence), command
    return found[1], command.removeprefix(fence)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _files(wanted: Mapping[str, str]) -> list[str]:
    return [f"file:{path} {sha256(text)}" for path, text in wanted.items()]


Hosts = list[tuple[str, dict[str, Any]]]


def install(world: World) -> tuple[Hosts, Hosts]:
    """Have this process's ``@fake`` hosts be a world's machines; its control planes and workers as an inventory has them."""

    def connect(self: BaseConnector) -> None:
        if not world.machines[_machine_name(self)].reachable:
            raise ConnectError("Could not connect (timed out)")

    def run_shell_command(
        self: FakeConnector,
        command: str | StringCommand,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        # Others have their turn, as while a real machine is at work.
        gevent.sleep(0)
        text = command if isinstance(command, str) else command.get_raw_value()
        stdin = str(arguments.get("_stdin") or "")
        succeeded, stdout, stderr = world.answer(_machine_name(self), text, stdin=stdin)
        lines = [OutputLine("stdout", line) for line in stdout] + [
            OutputLine("stderr", line) for line in stderr
        ]
        return succeeded, CommandOutput(lines)

    FakeConnector.connect = connect  # type: ignore[method-assign]
    FakeConnector.run_shell_command = run_shell_command  # type: ignore[method-assign]
    # What these machines do not do now they never do.
    leader.API_SECONDS = 0
    run_lock.PATIENCE = run_lock.PAUSE = 0.1  # type: ignore[assignment]
    # Which key a keyring has is no question here.
    kube_packages.key_is_right = lambda **_: True
    return _group(world, world.control_planes), _group(world, world.workers)


def _machine_name(connector: BaseConnector) -> str:
    name: str = connector.host.name
    return name.removeprefix("@fake/")


def _group(world: World, machines: Iterable[Machine]) -> Hosts:
    return [
        (f"@fake/{each.name}", {"node_name": each.name, "node_ip": each.ip, **world.data})
        for each in machines
    ]
