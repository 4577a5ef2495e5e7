"""Machines for the searches: what is true of each, and what is read on it.

The truth is written here for each machine; the product has to derive it from the reading.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.remote.reading import NotRead
from tests.support.certificates import Authority
from tests.support.machines import STATIC_PODS

ENDPOINT = "api.kubernetes.internal"

_OURS, _OTHERS = Authority(), Authority()
OURS, OTHERS = _OURS.certificate, _OTHERS.certificate
"""CA certificates of the operator's cluster, and of another one."""

_OUR_CLIENT, _OTHERS_CLIENT = _OURS.issue("system:node:x"), _OTHERS.issue("system:node:x")

_KUBELET = frozenset({"kubelet.conf"})
_KEYS = frozenset({"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"})
_CONTROL_PLANE = _KUBELET | _KEYS | STATIC_PODS | {"etcd"}


class Whose(Enum):
    """Which cluster a machine's certificates show."""

    NOBODYS = "nobody's"
    OURS = "ours"
    OTHERS = "another cluster's"
    UNSHOWN = "not shown"


class InEtcd(Enum):
    """A machine's state in etcd; some decisions only meet some of these."""

    ABSENT = "no member"
    VOTER = "voter"
    LEARNER = "learner"
    NEVER_STARTED = "member that never started"
    OTHER_ADDRESS = "voter of its name at another address"
    OTHER_NAME = "voter of another name at its address"
    TWO = "voters of its name at its address and at another one"
    NOT_READ = "etcd named no member at all"


# Compared by identity: each machine is made once.
@dataclass(frozen=True, kw_only=True, eq=False)
class Machine:
    """A machine described in ``words``, its ``reading`` (None: it did not answer), and what is true of it.

    ``reached`` is whether it could be reached, ``cluster`` whether it is a control plane whose cluster data
    could be lost, ``serves`` whether its API server answers, ``data`` whether it has data of etcd,
    ``kubelet`` whether its kubelet is configured for a cluster, ``unfinished`` whether its files show that a
    join did not finish, ``keys`` whether it has files that only control planes have, ``others_etcd`` whether
    the data is of an etcd that kubeadm did not create.
    """

    words: str
    reading: KubeadmNodeState | None
    reached: bool = True
    whose: Whose = Whose.NOBODYS
    cluster: bool = False
    serves: bool = False
    data: bool = False
    kubelet: bool = False
    unfinished: bool = False
    keys: bool = False
    others_etcd: bool = False

    def __repr__(self) -> str:
        return f"<{self.words}>"

    @property
    def mixed(self) -> bool:
        """Whether the CA and the kubelet's certificate are of different clusters."""
        return self.reading is not None and self.whose is Whose.OTHERS and self.reading.ca_certificate == OURS

    @property
    def bare(self) -> bool:
        """Whether the machine has no trace of kubeadm."""
        return self.reading is not None and self.whose is Whose.NOBODYS and not self.others_etcd

    def read(self, node: Node, *, machine_id: str) -> KubeadmNodeState | NotRead:
        """Return what is read if this is the machine of a node."""
        return _read(self, node.host, machine_id)


@cache
def _read(machine: Machine, host: str, machine_id: str) -> KubeadmNodeState | NotRead:
    if machine.reading is None:
        reason = "Cannot fork" if machine.reached else "no route to host"
        return NotRead(host=host, what="kubeadm node", reason=reason, reached=machine.reached)
    return dataclasses.replace(machine.reading, machine_id=machine_id)


def _state(files: frozenset[str], *, ca: str = OURS, **others: object) -> KubeadmNodeState:
    return dataclasses.replace(KubeadmNodeState(files=files, ca_certificate=ca), **others)  # type: ignore[arg-type]


def _member(files: frozenset[str] = _CONTROL_PLANE, *, ca: str = OURS, api: str = "ok") -> KubeadmNodeState:
    client = _OTHERS_CLIENT if ca == OTHERS else _OUR_CLIENT
    return KubeadmNodeState(
        files=files,
        rotating=True,
        ca_certificate=ca,
        client_certificate=client,
        server=f"https://{ENDPOINT}:6443",
        cluster_name="kubernetes",
        api=api,
    )


_SILENT = "not ready: connection refused"

UNREACHABLE = Machine(words="cannot be reached", reading=None, reached=False)
UNREADABLE = Machine(words="could not be read", reading=None)
BARE = Machine(words="bare", reading=KubeadmNodeState())

MEMBER = Machine(
    words="control plane",
    reading=_member(),
    whose=Whose.OURS,
    cluster=True,
    serves=True,
    data=True,
    kubelet=True,
    keys=True,
)
DOWN = dataclasses.replace(
    MEMBER, words="control plane, API down", reading=_member(api=_SILENT), serves=False
)


def _regenerated(machine: Machine) -> Machine:
    assert machine.reading
    reading = dataclasses.replace(machine.reading, rotating=False)
    return dataclasses.replace(machine, words=f"{machine.words}, kubelet.conf regenerated", reading=reading)


def _lacking(machine: Machine, *files: str, api: str = "", words: str) -> Machine:
    assert machine.reading
    reading = dataclasses.replace(machine.reading, files=machine.reading.files - set(files), api=api)
    return dataclasses.replace(machine, words=words, reading=reading, serves=False)


def _without_ca(machine: Machine) -> Machine:
    assert machine.reading
    reading = dataclasses.replace(machine.reading, ca_certificate="")
    return dataclasses.replace(machine, words=f"{machine.words}, no pki/ca.crt", reading=reading)


WORKER = Machine(words="worker", reading=_member(_KUBELET, api=""), whose=Whose.OURS, kubelet=True)
BEGAN = Machine(
    words="init that ended after its keys",
    reading=_state(_KEYS, cluster_name="kubernetes"),
    whose=Whose.OURS,
    unfinished=True,
    keys=True,
)


def _others(machine: Machine) -> Machine:
    """Return the same machine, but of another cluster."""
    assert machine.reading
    reading = dataclasses.replace(
        machine.reading,
        ca_certificate=OTHERS,
        client_certificate=_OTHERS_CLIENT if machine.reading.client_certificate else "",
    )
    return dataclasses.replace(
        machine, words=f"another cluster's {machine.words}", reading=reading, whose=Whose.OTHERS
    )


NOT_READ = (UNREACHABLE, UNREADABLE)

_CONTROL_PLANES = (
    MEMBER,
    DOWN,
    _regenerated(MEMBER),
    _regenerated(DOWN),
    _lacking(
        MEMBER, "manifests/kube-apiserver.yaml", words="control plane without the API server's manifest"
    ),
    _lacking(MEMBER, "manifests/etcd.yaml", api=_SILENT, words="control plane without etcd's manifest"),
    dataclasses.replace(
        _lacking(MEMBER, "kubelet.conf", *STATIC_PODS, words="etcd data and keys"),
        kubelet=False,
        unfinished=True,
    ),
    _without_ca(MEMBER),
    _without_ca(DOWN),
)
_WORKERS = (
    WORKER,
    _regenerated(WORKER),
    Machine(
        words="worker whose kubelet asks for its certificate",
        reading=_state(_KUBELET | {"bootstrap-kubelet.conf"}),
        whose=Whose.OURS,
        kubelet=True,
        unfinished=True,
    ),
    Machine(
        words="join that ended early",
        reading=_state(frozenset({"bootstrap-kubelet.conf"})),
        whose=Whose.OURS,
        unfinished=True,
    ),
    dataclasses.replace(
        WORKER,
        words="worker with copied files of a control plane",
        reading=_member(_KUBELET | {"admin.conf", "pki/etcd/ca.crt"}, api=""),
        keys=True,
        # Its files alone may be those of a control plane that has lost its data.
        cluster=True,
    ),
    _without_ca(WORKER),
    dataclasses.replace(
        WORKER,
        words="kubelet without certificates",
        reading=KubeadmNodeState(files=_KUBELET, server=f"https://{ENDPOINT}:6443"),
        whose=Whose.UNSHOWN,
    ),
)
_PARTS = (
    Machine(
        words="a CA's key",
        reading=_state(frozenset({"pki/ca.key"})),
        whose=Whose.OURS,
        unfinished=True,
        keys=True,
    ),
    BEGAN,
    dataclasses.replace(
        BEGAN,
        words="init that ended before its kubelet ran",
        reading=_state(_KUBELET | _KEYS | STATIC_PODS, cluster_name="kubernetes", api=_SILENT),
        kubelet=True,
    ),
)
_STRANGERS = (
    *(_others(machine) for machine in (MEMBER, DOWN, _regenerated(MEMBER), _CONTROL_PLANES[6])),
    *(_others(machine) for machine in (WORKER, _regenerated(WORKER), _PARTS[0], BEGAN)),
    dataclasses.replace(
        WORKER,
        words="worker whose kubelet has another cluster's certificate",
        reading=dataclasses.replace(_member(_KUBELET, api=""), client_certificate=_OTHERS_CLIENT),
        whose=Whose.OTHERS,
    ),
    dataclasses.replace(
        WORKER,
        words="kubelet of another API server, without certificates",
        reading=KubeadmNodeState(files=_KUBELET, server="https://api.production.internal:6443"),
        whose=Whose.OTHERS,
    ),
    Machine(
        words="etcd that kubeadm did not make",
        reading=KubeadmNodeState(files=frozenset({"etcd"})),
        data=True,
        others_etcd=True,
    ),
)
READ = (BARE, *_CONTROL_PLANES, *_WORKERS, *_PARTS, *_STRANGERS)
"""Every machine that occurs in practice and answers."""


def by_traces() -> Iterator[Machine]:
    """Yield every combination of the traces that matter, also unlikely ones."""
    for kubelet, rotating, bootstrap, keys, data, pods in itertools.product((False, True), repeat=6):
        files = frozenset(
            {
                *(_KUBELET if kubelet else ()),
                *(("bootstrap-kubelet.conf",) if bootstrap else ()),
                *(_KEYS if keys else ()),
                *(("etcd",) if data else ()),
                *(STATIC_PODS if pods else ()),
            }
        )
        apis = ("ok", _SILENT) if pods else ("",)
        if rotating and not kubelet:
            continue
        for ca, client, api in itertools.product(("", OURS, OTHERS), ("", _OUR_CLIENT, _OTHERS_CLIENT), apis):
            certified = {ca, client} - {""}
            whose = Whose.UNSHOWN if files else Whose.NOBODYS
            if certified:
                whose = Whose.OTHERS if certified & {OTHERS, _OTHERS_CLIENT} else Whose.OURS
            words = [*sorted(files - STATIC_PODS), *(["static pods"] if pods else []), f"api {api!r}"]
            words += ["rotating"] if rotating else []
            words += [f"CA {'ours' if ca == OURS else 'others'}"] if ca else []
            words += [f"client {'ours' if client == _OUR_CLIENT else 'others'}"] if client else []
            others_etcd = files == {"etcd"} and not ca
            yield Machine(
                words=", ".join(words),
                reading=KubeadmNodeState(
                    files=files,
                    rotating=rotating,
                    ca_certificate=ca,
                    client_certificate=client,
                    api=api,
                ),
                whose=whose,
                serves=api == "ok",
                data=data,
                kubelet=kubelet,
                unfinished=bootstrap or not kubelet,
                keys=keys or pods or data,
                others_etcd=others_etcd,
            )
