"""The world of a history: machines, clusters, and what follows from their state without anybody's command."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kubeadm_deploys import hosts_file
from kubeadm_deploys.live_options import option_releases
from kubeadm_deploys.options import ClusterOptions
from tests.simulation import pki
from tests.simulation.cluster import Cluster, Member, NodeObject
from tests.simulation.machine import (
    ADMIN_CONF,
    BOOTSTRAP_CONF,
    CA,
    CLIENT,
    HOSTS,
    KUBELET_CONF,
    NEW_ETCD,
    ROTATING,
    SUPER_ADMIN_CONF,
    EtcdData,
    Machine,
    manifest,
)

OPTIONS = ClusterOptions()
"""What is installed on machines, and what clusters were made with, is what these want."""

RELEASES = option_releases(OPTIONS)

PROXY_CONFIG = "/etc/kubernetes/api-proxy/haproxy.cfg"
PROXY_UNIT = "kubeadm-deploys-api-proxy"

_SERVER = re.compile(r"^ *server: *(\S+)", re.MULTILINE)
_NAME = re.compile(r"^  name: *(.*)$", re.MULTILINE)
_PROXIED = re.compile(r"^    server \S+ ([\d.]+):", re.MULTILINE)


class Failed(Exception):
    """A command fails: what it prints on stderr."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A ``run`` (by its number in the history) has changed something on or through a machine, with these ``words`` as the
    command's arguments.
    """

    run: int
    machine: str
    what: str
    time: float
    words: tuple[str, ...] = ()


@dataclass(kw_only=True)
class World:
    """Machines by name, clusters by number, and the time in seconds since the history began.

    ``changes`` are all that runs have changed, ``broken`` what they must never do and did.
    """

    machines: dict[str, Machine]
    clusters: dict[int, Cluster] = field(default_factory=dict)
    now: float = 0
    changes: list[Change] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    def number(self) -> int:
        """A number that nothing else has."""
        return next(self._numbers)

    def at(self, ip: str) -> Machine | None:
        """The machine that has an address, if it is up."""
        found = next((machine for machine in self.machines.values() if machine.ip == ip), None)
        return found if found and found.is_up(self.now) else None

    # etcd.

    def runs_etcd(self, machine: Machine) -> bool:
        """Whether an etcd of kubeadm's is at work on a machine: as a member that its cluster still counts."""
        if not (machine.is_up(self.now) and machine.kubelet_runs and machine.has_manifest("etcd")):
            return False
        if machine.etcd is None or not machine.has("/etc/kubernetes/pki/etcd/ca.crt"):
            return False
        return machine.etcd.member in self.clusters[machine.etcd.cluster].members

    def holder(self, cluster: Cluster, member: Member) -> Machine | None:
        """The machine that has a member's data, also while it is down."""
        return next(
            (
                machine
                for machine in self.machines.values()
                if machine.etcd and (machine.etcd.cluster, machine.etcd.member) == (cluster.number, member.id)
            ),
            None,
        )

    def answers(self, cluster: Cluster, member: Member) -> bool:
        """Whether a member of etcd is at work."""
        holder = self.holder(cluster, member)
        return holder is not None and self.runs_etcd(holder)

    def has_quorum(self, cluster: Cluster) -> bool:
        """Whether etcd can write: most of its voters are at work."""
        voters = cluster.voters
        return sum(self.answers(cluster, member) for member in voters) * 2 > len(voters)

    def has_data(self, cluster: Cluster) -> bool:
        """Whether most of etcd's voters still have their disks, wherever these are: what was acknowledged is there."""
        voters = cluster.voters
        return sum(self.holder(cluster, member) is not None for member in voters) * 2 > len(voters)

    def write(self, cluster: Cluster) -> None:
        """Note that something was written: every member at work has seen it.

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
        """The cluster whose API server answers well on a machine."""
        if not (self.runs_etcd(machine) and machine.has_manifest("kube-apiserver") and machine.etcd):
            return None
        cluster = self.clusters[machine.etcd.cluster]
        own = cluster.members[machine.etcd.member]
        return cluster if not own.learner and self.has_quorum(cluster) else None

    def resolve(self, machine: Machine, server: str) -> list[Machine]:
        """The machines at which the URL of an API leads from a machine, with its hosts file and its proxy."""
        name = urlsplit(server if "//" in server else f"https://{server}").hostname or ""
        address = (
            name if name[:1].isdigit() else hosts_file.address_of(machine.files.get(HOSTS, ""), name=name)
        )
        addresses = [address]
        if address == "127.0.0.1":
            proxied = PROXY_UNIT in machine.active and f"/run/{PROXY_UNIT}/loaded.cfg" in machine.files
            addresses = _PROXIED.findall(machine.files[f"/run/{PROXY_UNIT}/loaded.cfg"]) if proxied else []
        return [found for each in addresses if (found := self.at(each))]

    def api(self, machine: Machine, server: str) -> Cluster | None:
        """The cluster whose API answers a machine at a URL."""
        return next(
            (cluster for each in self.resolve(machine, server) if (cluster := self.serves(each))), None
        )

    def kubectl(self, machine: Machine, *, config: str = ADMIN_CONF) -> Cluster:
        """The cluster that kubectl speaks to with a kubeconfig of a machine.

        Raises:
            Failed: it has none, or none answers.
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
        """The cluster whose etcd is asked on a machine, without a majority, too.

        Raises:
            Failed: no etcd runs there.
        """
        if not self.runs_etcd(machine) or machine.etcd is None:
            raise Failed(
                'time="2026-11-28T10:00:00Z" level=fatal msg="execing command in container: not found"'
            )
        return self.clusters[machine.etcd.cluster]

    # Kubelets.

    def settle(self) -> None:
        """Have kubelets and members of etcd do what they do by themselves."""
        for machine in self.machines.values():
            if machine.is_up(self.now):
                self._start_etcd(machine)
        for machine in self.machines.values():
            if machine.is_up(self.now) and machine.kubelet_runs:
                self._bootstrap(machine)
                self._register(machine)

    def _start_etcd(self, machine: Machine) -> None:
        if machine.has_manifest("etcd") and machine.kubelet_runs:
            machine.pods = True
            if machine.etcd is None:
                self._make_data(machine)
        data = machine.etcd
        if data and self.runs_etcd(machine):
            own = self.clusters[data.cluster].members[data.member]
            own.name = own.name or machine.name

    def _make_data(self, machine: Machine) -> None:
        """etcd without data: an init's founds a cluster, a join's is the member that was announced for it."""
        number = ca_number(machine)
        if NEW_ETCD in machine.files[manifest("etcd")]:
            server = urlsplit(server_of(machine.files.get(ADMIN_CONF, "")))
            found = _NAME.search(machine.files.get(ADMIN_CONF, ""))
            cluster = self.new_cluster(
                name=found[1] if found else "", endpoint=server.netloc, authority=number
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
        """The kubelet's TLS bootstrap: with the token, as soon as the API answers."""
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
        """Whether somebody can join with a token."""
        return any(text == token for text, _ in cluster.tokens.values())

    def _register(self, machine: Machine) -> None:
        machine.pods = True
        if machine.registered or not machine.has(KUBELET_CONF):
            return
        cluster = self.cluster_of_kubelet(machine)
        if cluster is None:
            return
        found = cluster.nodes.get(machine.name)
        if found is None:
            found = cluster.nodes[machine.name] = NodeObject(machine_id=machine.machine_id)
        # A kubelet takes over the object that has its name.
        found.machine_id = machine.machine_id
        machine.registered = True
        self.write(cluster)

    def cluster_of_kubelet(self, machine: Machine) -> Cluster | None:
        """The cluster whose API a machine's kubelet reaches, and which knows its certificate."""
        if not machine.has(KUBELET_CONF, CLIENT):
            return None
        cluster = self.api(machine, server_of(machine.files[KUBELET_CONF]))
        issued = cluster and pki.certificate(cluster.authority, f"system:node:{machine.name}")
        return cluster if issued == machine.files[CLIENT] else None

    def is_ready(self, cluster: Cluster, name: str) -> bool:
        """Whether the API has a node as Ready: its kubelet is at work, with the pod network."""
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

    def kubelet_started(self, machine: Machine) -> None:
        """The kubelet was started, or once more."""
        machine.active.add("kubelet")
        machine.registered = False

    # What a history asks.

    def is_healthy_member(self, machine: Machine) -> bool:
        """Whether a cluster would miss a machine: it has a vote with its data, or its node is Ready."""
        for cluster in self.clusters.values():
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
        """Whether a cluster counts a machine, or the machine has data of it."""
        data = machine.etcd
        known = any(member.ip == machine.ip for member in cluster.members.values())
        return known or machine.name in cluster.nodes or (data is not None and data.cluster == cluster.number)

    def ours(self) -> list[Cluster]:
        """The clusters that are ours and not given up."""
        return [each for each in self.clusters.values() if not each.foreign and not each.given_up]

    def new_member(self, cluster: Cluster, machine: Machine, *, name: str, learner: bool) -> Member:
        """Add a member to a cluster's etcd; its data are still to be made."""
        number = self.number()
        member = cluster.members[number] = Member(id=number, name=name, ip=machine.ip, learner=learner)
        return member

    def new_cluster(self, *, name: str, endpoint: str, authority: int = 0, foreign: bool = False) -> Cluster:
        """A cluster without anything, with the CA of a number, or with one of its own."""
        number = self.number()
        cluster = self.clusters[number] = Cluster(
            number=number, authority=authority or number, name=name, endpoint=endpoint, foreign=foreign
        )
        return cluster


def server_of(text: str) -> str:
    """The API's URL in a kubeconfig."""
    found = _SERVER.search(text)
    return found[1] if found else ""


def new_data(cluster: Cluster, member: Member) -> EtcdData:
    """The data of a member that has just started."""
    return EtcdData(cluster=cluster.number, member=member.id, revision=cluster.revision)


def up(machines: Iterable[Machine], now: float) -> list[Machine]:
    """Those that can be reached."""
    return [machine for machine in machines if machine.is_up(now)]


def ca_number(machine: Machine) -> int:
    """The number of the CA whose certificate a machine has, 0 without one."""
    return pki.number_of(machine.files.get(CA, ""))
