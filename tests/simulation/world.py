"""The world of a history: machines, clusters, and what kubelets and etcd do by themselves."""

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kubeadm_deploys.cluster.live_options import option_releases
from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.model.options import ClusterOptions
from tests.simulation import pki
from tests.simulation.cluster import Cluster, Member, NodeObject
from tests.simulation.machine import (
    ADMIN_CONF,
    BOOTSTRAP_CONF,
    CA,
    CLIENT,
    HOSTS,
    KUBELET_CONF,
    NEW_CERTIFICATE,
    NEW_ETCD,
    ROTATING,
    SUPER_ADMIN_CONF,
    EtcdData,
    Machine,
    manifest,
)

OPTIONS = ClusterOptions()
"""The options with which machines are prepared and clusters are made."""

RELEASES = option_releases(OPTIONS)

PROXY_CONFIG = "/etc/kubernetes/api-proxy/haproxy.cfg"
PROXY_UNIT = "kubeadm-deploys-api-proxy"

CRASHES = "--crashes="
"""An argument that a static pod's program accepts, and with which it does not start."""

_SERVER = re.compile(r"^ *server: *(\S+)", re.MULTILINE)
_NAME = re.compile(r"^  name: *(.*)$", re.MULTILINE)
_PROXIED = re.compile(r"^    server \S+ ([\d.]+):", re.MULTILINE)


class Failed(Exception):
    """A command fails, with its stderr."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change by a ``run`` (its number in the history) on or through a machine; ``words`` are arguments."""

    run: int
    machine: str
    what: str
    time: float
    words: tuple[str, ...] = ()


@dataclass(kw_only=True)
class World:
    """Machines by name, clusters by number, and the time in seconds since the history began.

    ``changes`` are all changes of runs, ``broken`` the violated invariants with their problems. ``snapshots`` are
    clusters as they were when a snapshot with this content was made.
    """

    machines: dict[str, Machine]
    clusters: dict[int, Cluster] = field(default_factory=dict)
    now: float = 0
    changes: list[Change] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    snapshots: dict[str, Cluster] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def number(self) -> int:
        """Return a number that is not used yet."""
        return next(self._numbers)

    def at(self, ip: str) -> Machine | None:
        """Return the machine with an address, if it is up."""
        machine = next((machine for machine in self.machines.values() if machine.ip == ip), None)
        return machine if machine and machine.is_up(self.now) else None

    # etcd.

    def runs_etcd(self, machine: Machine) -> bool:
        """Return whether kubeadm's etcd runs on a machine, as a member that its cluster still has."""
        if not (machine.is_up(self.now) and machine.kubelet_runs and machine.has_manifest("etcd")):
            return False
        if machine.etcd is None or not machine.has("/etc/kubernetes/pki/etcd/ca.crt"):
            return False
        cluster = self.clusters[machine.etcd.cluster]
        return machine.etcd.member in cluster.members and machine.etcd_minor >= cluster.etcd_minor

    def holder(self, cluster: Cluster, member: Member) -> Machine | None:
        """Return the machine that has a member's data, even while it is down."""
        return next(
            (
                machine
                for machine in self.machines.values()
                if machine.etcd and (machine.etcd.cluster, machine.etcd.member) == (cluster.number, member.id)
            ),
            None,
        )

    def answers(self, cluster: Cluster, member: Member) -> bool:
        """Return whether an etcd member runs."""
        holder = self.holder(cluster, member)
        return holder is not None and self.runs_etcd(holder)

    def has_quorum(self, cluster: Cluster) -> bool:
        """Return whether etcd can write: most of its voters run."""
        voters = cluster.voters
        return sum(self.answers(cluster, member) for member in voters) * 2 > len(voters)

    def has_data(self, cluster: Cluster) -> bool:
        """Return whether most of etcd's voters still have their disks, so that acknowledged data exists."""
        voters = cluster.voters
        return sum(self.holder(cluster, member) is not None for member in voters) * 2 > len(voters)

    def write(self, cluster: Cluster) -> None:
        """Record a write, which every running member sees.

        Raises:
            Failed: etcd has no majority.
        """
        if not self.has_quorum(cluster):
            raise Failed("etcdserver: request timed out")
        cluster.revision += 1
        for member in cluster.members.values():
            holder = self.holder(cluster, member)
            if holder and holder.etcd and self.runs_etcd(holder):
                holder.etcd.revision = cluster.revision

    # The API.

    def serves(self, machine: Machine) -> Cluster | None:
        """Return the cluster whose API server on a machine is ready."""
        if not (self.runs_etcd(machine) and self.starts(machine, "kube-apiserver") and machine.etcd):
            return None
        cluster = self.clusters[machine.etcd.cluster]
        own = cluster.members[machine.etcd.member]
        return cluster if not own.learner and self.has_quorum(cluster) else None

    @staticmethod
    def starts(machine: Machine, name: str) -> bool:
        """Return whether a static pod has a manifest with which it starts, the files that this names, and its key's pair."""
        text = machine.files.get(manifest(name), CRASHES)
        named = re.findall(r"--[a-z-]*file=(/[^\s\"]+)", text)
        matching = name != "kube-apiserver" or NEW_CERTIFICATE not in machine.files
        return CRASHES not in text and machine.has(*named) and matching

    def resolve(self, machine: Machine, server: str) -> list[Machine]:
        """Return the machines to which an API's URL leads from a machine, by its hosts file and proxy."""
        name = urlsplit(server if "//" in server else f"https://{server}").hostname or ""
        address = (
            name if name[:1].isdigit() else hosts_file.address_of(machine.files.get(HOSTS, ""), name=name)
        )
        addresses = [address]
        if address == "127.0.0.1":
            proxied = PROXY_UNIT in machine.active and f"/run/{PROXY_UNIT}/loaded.cfg" in machine.files
            addresses = _PROXIED.findall(machine.files[f"/run/{PROXY_UNIT}/loaded.cfg"]) if proxied else []
        return [target for ip in addresses if (target := self.at(ip))]

    def api(self, machine: Machine, server: str) -> Cluster | None:
        """Return the cluster whose API answers a machine at a URL."""
        return next(
            (cluster for target in self.resolve(machine, server) if (cluster := self.serves(target))), None
        )

    def kubectl(self, machine: Machine, *, config: str = ADMIN_CONF) -> Cluster:
        """Return the cluster that kubectl reaches with a machine's kubeconfig.

        Raises:
            Failed: there is no kubeconfig, or no API answers.
        """
        if config not in machine.files:
            raise Failed(f"error: stat {config}: no such file or directory")
        server = server_of(machine.files[config])
        cluster = self.api(machine, server)
        if cluster is None:
            raise Failed(
                f"The connection to the server {server} was refused - did you specify the right host or port?"
            )
        if cluster.ca not in machine.files[config]:
            raise Failed("tls: failed to verify certificate: x509: certificate signed by unknown authority")
        if (
            config == ADMIN_CONF
            and SUPER_ADMIN_CONF in machine.files
            and "admin-rights" not in cluster.objects
        ):
            raise Failed(
                "Error from server (Forbidden): User kubernetes-admin cannot do that at the cluster scope"
            )
        return cluster

    def etcdctl(self, machine: Machine) -> Cluster:
        """Return the cluster whose etcd answers on a machine: without a majority, if it had one since its start.

        Raises:
            Failed: no etcd runs there, or it has not written since its start.
        """
        if not self.runs_etcd(machine) or machine.etcd is None:
            raise Failed(
                'time="2026-11-28T10:00:00Z" level=fatal msg="execing command in container: not found"'
            )
        cluster = self.clusters[machine.etcd.cluster]
        machine.etcd_wrote = machine.etcd_wrote or self.has_quorum(cluster)
        if not machine.etcd_wrote:
            raise Failed("Error: context deadline exceeded", 5.0)
        return cluster

    # Kubelets.

    def settle(self) -> None:
        """Let kubelets and etcd members act."""
        for machine in self.machines.values():
            if machine.is_up(self.now):
                self._start_etcd(machine)
        for machine in self.machines.values():
            running = machine.etcd is not None and self.runs_etcd(machine)
            cluster = self.clusters[machine.etcd.cluster] if machine.etcd else None
            machine.etcd_wrote = bool(
                running and cluster and (machine.etcd_wrote or self.has_quorum(cluster))
            )
        for machine in self.machines.values():
            if machine.is_up(self.now) and machine.kubelet_runs:
                self._bootstrap(machine)
                self._register(machine)
        for cluster in self.clusters.values():
            self._raise_etcd_minor(cluster)

    def _start_etcd(self, machine: Machine) -> None:
        if machine.has_manifest("etcd") and machine.kubelet_runs:
            machine.pods = True
            if machine.etcd is None:
                self._make_data(machine)
        data = machine.etcd
        if data and self.runs_etcd(machine):
            own = self.clusters[data.cluster].members[data.member]
            own.name = own.name or machine.name

    def _raise_etcd_minor(self, cluster: Cluster) -> None:
        """Set the version of an etcd cluster once all members run and have it."""
        holders = [self.holder(cluster, member) for member in cluster.members.values()]
        minors = [holder.etcd_minor for holder in holders if holder and self.runs_etcd(holder)]
        if minors and len(minors) == len(holders):
            cluster.etcd_minor = max(cluster.etcd_minor, min(minors))

    def _make_data(self, machine: Machine) -> None:
        """Start etcd without data: an init's makes a new cluster, a join's becomes the announced member."""
        number = ca_number(machine)
        if NEW_ETCD in machine.files[manifest("etcd")]:
            server = urlsplit(server_of(machine.files.get(ADMIN_CONF, "")))
            match = _NAME.search(machine.files.get(ADMIN_CONF, ""))
            cluster = self.new_cluster(
                name=match[1] if match else "", endpoint=server.netloc, authority=number
            )
            machine.etcd = new_data(
                cluster, self.new_member(cluster, machine, name=machine.name, learner=False)
            )
            return
        for cluster in self.clusters.values():
            for member in cluster.members.values():
                if cluster.authority == number and member.ip == machine.ip and not member.name:
                    machine.etcd = new_data(cluster, member)

    def _bootstrap(self, machine: Machine) -> None:
        """Do the kubelet's TLS bootstrap with the token if the API answers."""
        if machine.has(KUBELET_CONF) or BOOTSTRAP_CONF not in machine.files:
            return
        text = machine.files[BOOTSTRAP_CONF]
        cluster = self.api(machine, server_of(text))
        token = re.search(r"token: *(\S+)", text)
        if cluster is None or token is None or not self.token_is_valid(cluster, token[1]):
            return
        machine.files[CLIENT] = pki.certificate(cluster.authority, f"system:node:{machine.name}")
        machine.files[KUBELET_CONF] = f"    server: {server_of(text)}\n{cluster.ca}\n    {ROTATING}\n"

    @staticmethod
    def token_is_valid(cluster: Cluster, token: str) -> bool:
        """Return whether a token is valid for a join."""
        return any(text == token for text, _ in cluster.tokens.values())

    def _register(self, machine: Machine) -> None:
        machine.pods = True
        if machine.registered or not machine.has(KUBELET_CONF):
            return
        cluster = self.cluster_of_kubelet(machine)
        if cluster is None:
            return
        node = cluster.nodes.get(machine.name)
        if node is None:
            node = cluster.nodes[machine.name] = NodeObject(machine_id=machine.machine_id)
        # A kubelet takes over an existing object with its name.
        node.machine_id = machine.machine_id
        node.kubelet, node.containerd = machine.kubelet, machine.containerd
        machine.registered = True
        self.write(cluster)

    def cluster_of_kubelet(self, machine: Machine) -> Cluster | None:
        """Return the cluster whose API a machine's kubelet reaches, and which issued its certificate."""
        if not machine.has(KUBELET_CONF, CLIENT):
            return None
        cluster = self.api(machine, server_of(machine.files[KUBELET_CONF]))
        issued = cluster and pki.certificate(cluster.authority, f"system:node:{machine.name}")
        return cluster if issued == machine.files[CLIENT] else None

    def is_ready(self, cluster: Cluster, name: str) -> bool:
        """Return whether a node is Ready: its kubelet runs, and the pod network is installed."""
        node = cluster.nodes[name]
        if "calico" not in cluster.objects:
            return False
        return any(
            machine.name == name
            and machine.machine_id == node.machine_id
            and machine.is_up(self.now)
            and machine.kubelet_runs
            and machine.registered
            and self.cluster_of_kubelet(machine) is cluster
            for machine in self.machines.values()
        )

    def report_runtime(self, machine: Machine) -> None:
        """Have a running kubelet report which containerd it runs with."""
        cluster = self.cluster_of_kubelet(machine)
        if cluster and machine.kubelet_runs and machine.registered and machine.name in cluster.nodes:
            cluster.nodes[machine.name].containerd = machine.containerd

    def kubelet_started(self, machine: Machine) -> None:
        """Record that the kubelet was started or restarted."""
        machine.active.add("kubelet")
        machine.kubelet_starts()

    def restored(self, content: str, machine: Machine, *, name: str, ip: str) -> Cluster:
        """Return a new cluster with the objects of a snapshot, and one member, whose data is not in place yet."""
        snapshot = self.snapshots[content]
        cluster = self.new_cluster(
            name=snapshot.name, endpoint=snapshot.endpoint, authority=snapshot.authority
        )
        copied = deepcopy(snapshot)
        cluster.nodes, cluster.objects, cluster.tokens = copied.nodes, copied.objects, copied.tokens
        cluster.acknowledged, cluster.origin = snapshot.acknowledged, content
        cluster.revision = snapshot.revision + 1_000_000_000
        cluster.etcd_minor = snapshot.etcd_minor
        number = self.number()
        cluster.members[number] = Member(id=number, name=name, ip=ip)
        return cluster

    def served(self) -> frozenset[int]:
        """Return the numbers of the operator's clusters that are served by any API server."""
        clusters = (self.serves(machine) for machine in self.machines.values())
        return frozenset(cluster.number for cluster in clusters if cluster and not cluster.foreign)

    # Questions of invariants and histories.

    def is_healthy_member(self, machine: Machine) -> bool:
        """Return whether a cluster needs a machine: its etcd member votes and runs, or its node is Ready."""
        for cluster in self.clusters.values():
            if cluster.given_up:
                continue
            data = machine.etcd
            if data and data.cluster == cluster.number and data.member in cluster.members:
                own = cluster.members[data.member]
                if not own.learner and self.runs_etcd(machine):
                    return True
            node = cluster.nodes.get(machine.name)
            if node and node.machine_id == machine.machine_id and self.is_ready(cluster, machine.name):
                return True
        return False

    def belongs(self, machine: Machine, cluster: Cluster) -> bool:
        """Return whether a cluster knows a machine, or the machine has the cluster's data."""
        data = machine.etcd
        known = any(member.ip == machine.ip for member in cluster.members.values())
        return known or machine.name in cluster.nodes or (data is not None and data.cluster == cluster.number)

    def own_clusters(self) -> list[Cluster]:
        """Return the operator's clusters that were not given up."""
        return [cluster for cluster in self.clusters.values() if not cluster.foreign and not cluster.given_up]

    def new_member(self, cluster: Cluster, machine: Machine, *, name: str, learner: bool) -> Member:
        """Add a member without data to a cluster's etcd."""
        number = self.number()
        member = cluster.members[number] = Member(id=number, name=name, ip=machine.ip, learner=learner)
        return member

    def new_cluster(self, *, name: str, endpoint: str, authority: int = 0, foreign: bool = False) -> Cluster:
        """Make an empty cluster with the CA of a number, or with a new CA."""
        number = self.number()
        cluster = self.clusters[number] = Cluster(
            number=number, authority=authority or number, name=name, endpoint=endpoint, foreign=foreign
        )
        return cluster


def server_of(text: str) -> str:
    """Return the API's URL in a kubeconfig."""
    match = _SERVER.search(text)
    return match[1] if match else ""


def new_data(cluster: Cluster, member: Member) -> EtcdData:
    """Return the data of a member that has just started."""
    return EtcdData(cluster=cluster.number, member=member.id, revision=cluster.revision)


def up(machines: Iterable[Machine], now: float) -> list[Machine]:
    """Return the machines that can be reached."""
    return [machine for machine in machines if machine.is_up(now)]


def ca_number(machine: Machine) -> int:
    """Return the number of a machine's CA, 0 without one."""
    return pki.number_of(machine.files.get(CA, ""))
