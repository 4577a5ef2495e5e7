"""A pretend machine, and the cluster of which it is a node."""

import json
from dataclasses import dataclass, field

from tests.certificates import Authority


@dataclass(kw_only=True)
class Cluster:
    """What a cluster's API and etcd say: Node objects by name with what ``ClusterMembers`` prints of them, and the
    addresses of etcd's members by name.
    """

    name: str = "kubernetes"
    nodes: dict[str, str] = field(default_factory=dict)
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
    ``greeting`` is what its login shell prints before everything else.
    """

    name: str
    ip: str
    cluster: Cluster | None = None
    control_plane: bool = False
    made_anew: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    etcd_entries: tuple[str, ...] = ()
    greeting: tuple[str, ...] = ()
    connection: str = ""
    reachable: bool = True

    @property
    def machine_id(self) -> str:
        """Of its own."""
        return f"id-{self.name}"

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
        if control_plane:
            cluster.etcd[name] = self.ip
