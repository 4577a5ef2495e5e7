"""A pretend machine, and the cluster of which it is a node."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from kubeadm_deploys.live_options import option_releases
from kubeadm_deploys.mark_checks import ROLE_PREFIX
from kubeadm_deploys.marks import CONTROL_PLANE_TAINT, is_taint
from kubeadm_deploys.nodes import EXCLUDED_FROM_LOAD_BALANCERS
from kubeadm_deploys.options import ClusterOptions
from tests import cluster_settings
from tests.certificates import Authority

OPTIONS = ClusterOptions()
"""What is installed on the machines, and what clusters were made with, is what these want."""

_RELEASES = option_releases(OPTIONS)
_CONTROL_PLANE_MARKS = {
    f"{ROLE_PREFIX}/control-plane": "",
    EXCLUDED_FROM_LOAD_BALANCERS: "",
    CONTROL_PLANE_TAINT: "",
}
_CALICO = f"quay.io/calico/node:v{OPTIONS.calico_version}"


@dataclass(kw_only=True)
class Cluster:
    """What a cluster's API and etcd say: Node objects by name with what ``ClusterMembers`` prints of them and with their
    ``marks``, the addresses of etcd's members by name, the data of our record, and the image of calico-node.

    One that has just been made has neither ``record``, which is None, nor ``calico``, which is empty.
    """

    name: str = "kubernetes"
    kubernetes_version: str = OPTIONS.kubernetes_version
    record: dict[str, str] | None = field(
        default_factory=lambda: {"nodes": "{}", "releases": json.dumps(_RELEASES)}
    )
    calico: str = _CALICO
    nodes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, dict[str, str]] = field(default_factory=dict)
    etcd: dict[str, str] = field(default_factory=dict)
    authority: Authority = field(default_factory=Authority)

    @property
    def members(self) -> str:
        """What etcdctl prints; a member's ID is the last number of its address."""
        members = [
            {"ID": _last(ip), "name": name, "peerURLs": [f"https://{ip}:2380"]}
            for name, ip in self.etcd.items()
        ]
        return json.dumps({"members": members})

    @property
    def settings(self) -> list[str]:
        """What ``ClusterSettings`` prints where the API answers."""
        configuration = {
            **cluster_settings.CLUSTER,
            "clusterName": self.name,
            "controlPlaneEndpoint": f"api.{self.name}.internal:6443",
            "kubernetesVersion": f"v{self.kubernetes_version}",
        }
        said = cluster_settings.answer(cluster=configuration, record=self.record, calico=self.calico)
        return said if self.calico else said[:1]

    @property
    def node_marks(self) -> list[str]:
        """What ``NodeMarks`` prints."""
        lines = []
        for name, marks in self.marks.items():
            labels = {mark: value for mark, value in marks.items() if not is_taint(mark)}
            taints = [
                {"key": mark.partition(":")[0], "effect": mark.partition(":")[2], "value": value}
                for mark, value in marks.items()
                if is_taint(mark)
            ]
            lines.append(f"node|{name}|{json.dumps(labels)}|{json.dumps(taints)}|")
        return [*lines, *([] if self.record is None else [f"record|{json.dumps(self.record)}"])]

    def change_marks(self, commands: str) -> Iterator[str]:
        """Do what mark-nodes is given on its stdin, and say what each change is: "label", "taint", "annotate"."""
        for command in commands.removesuffix("\n\n").split("\n\n"):
            verb, _, _, *arguments = command.splitlines()
            names = [word for word in arguments if word in self.nodes]
            given = arguments[len(names) :]
            for name in names:
                self._mark(name, given)
            yield verb

    def _mark(self, name: str, given: list[str]) -> None:
        for argument in given:
            mark, equals, value = argument.partition("=")
            if not equals:
                self.marks[name].pop(argument.removesuffix("-"), None)
                continue
            value, colon, effect = value.partition(":")
            self.marks[name][f"{mark}{colon}{effect}"] = value

    def apply_calico(self) -> None:
        """The pod network is there."""
        self.calico = _CALICO

    def delete_node(self, name: str) -> None:
        """Delete a Node object."""
        self.nodes.pop(name, None)
        self.marks.pop(name, None)

    def remove_member(self, number: int) -> None:
        """Take a member out of etcd."""
        self.etcd = {name: ip for name, ip in self.etcd.items() if _last(ip) != number}


def _last(ip: str) -> int:
    return int(ip.rpartition(".")[2])


@dataclass(kw_only=True)
class Machine:
    """A machine with everything installed. With a ``cluster`` it is a node of it, whose kubelet.conf was ``made_anew``
    by hand or not, and which lacks manifests: ``missing`` ones have the backup that is named, if any. ``connection`` is
    how a command fails there, empty while it does not, and without being ``reachable`` nobody gets to it at all.
    ``greeting`` is what its login shell prints before everything else. ``lock`` is the run's lock there, as its file
    has it, and empty while nobody has it.
    """

    name: str
    ip: str
    cluster: Cluster | None = None
    control_plane: bool = False
    made_anew: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    etcd_entries: tuple[str, ...] = ()
    greeting: tuple[str, ...] = ()
    lock: str = ""
    connection: str = ""
    reachable: bool = True

    @property
    def machine_id(self) -> str:
        """Of its own."""
        return f"id-{self.name}"

    @property
    def lock_run(self) -> str:
        """The run that has its lock, empty while none has."""
        return self.lock.partition("\n")[0].removeprefix("run ")

    @property
    def lock_owner(self) -> str:
        """Who has started that run."""
        return dict(line.partition(" ")[::2] for line in self.lock.splitlines())["who"]

    @property
    def serves(self) -> Cluster | None:
        """The cluster whose API runs here, None without one."""
        return self.cluster if self.control_plane else None

    def joins(self, cluster: Cluster, *, name: str = "", control_plane: bool = False) -> None:
        """Become a node of a cluster."""
        name = name or self.name
        self.cluster, self.control_plane = cluster, control_plane
        role = " control-plane" if control_plane else ""
        cluster.nodes[name] = f"machine={self.machine_id} ready=True{role}"
        cluster.marks[name] = dict(_CONTROL_PLANE_MARKS) if control_plane else {}
        if control_plane:
            cluster.etcd[name] = self.ip

    def leaves(self) -> None:
        """Be removed from its cluster, and cleaned."""
        if self.cluster:
            self.cluster.delete_node(self.name)
            self.cluster.etcd.pop(self.name, None)
        self.cluster, self.control_plane = None, False
