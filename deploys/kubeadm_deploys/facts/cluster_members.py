"""Who belongs to the cluster: etcd's members and the API's nodes; and with what others could still join."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.etcd import MEMBERS, EtcdMember, parse_members
from kubeadm_deploys.kubeadm_documents import TOKEN_DESCRIPTION

# Of all templates only Go's can say whether there is a label without a value.
_NODES = (
    "{{range .items}}node:{{.metadata.name}} {{.status.nodeInfo.machineID}}"
    '{{range $key, $value := .metadata.labels}}{{if eq $key "node-role.kubernetes.io/control-plane"}} control-plane'
    '{{end}}{{end}}{{"\\n"}}{{end}}'
)

_TOKENS = (
    "{{range .items}}{{if .data.description}}"
    f'{{{{if eq .data.description "{base64.b64encode(TOKEN_DESCRIPTION.encode()).decode()}"}}}}'
    'token:{{.metadata.name}}{{"\\n"}}{{end}}{{end}}{{end}}'
)

_SCRIPT = f"""
if [ -e /etc/kubernetes/admin.conf ]; then
  echo "etcd $({MEMBERS})"
  {KUBECTL} get nodes --output 'go-template={_NODES}' 2> /dev/null
  {KUBECTL} --namespace kube-system get secrets --field-selector type=bootstrap.kubernetes.io/token \
    --output 'go-template={_TOKENS}' 2> /dev/null
fi
exit 0
"""


@dataclass(frozen=True, kw_only=True)
class RegisteredNode:
    """A Node object: the machine that it stands for, and whether it is labelled as a control plane."""

    machine_id: str
    control_plane: bool = False


@dataclass(frozen=True, kw_only=True)
class ClusterMembersState:
    """etcd's members, Node objects by name, and the Secrets of join tokens of ours; empty where no cluster answers."""

    etcd: tuple[EtcdMember, ...] = ()
    nodes: dict[str, RegisteredNode] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether both could be read; what is missing in an answer of one of them means nothing."""
        return bool(self.etcd and self.nodes)

    def votes(self, ip: str) -> bool:
        """Whether the machine with this address has a vote in etcd."""
        return any(member.joined and member.peer_ip == ip for member in self.etcd)


class ClusterMembers(FactBase[ClusterMembersState]):
    """Members and nodes as a control plane knows them, in one command."""

    default = ClusterMembersState

    @override
    def command(self) -> str:
        return _SCRIPT

    @override
    def process(self, output: list[str]) -> ClusterMembersState:
        values = lines.parse(output)
        nodes = {}
        for name, value in lines.by_prefix(values, "node:").items():
            machine_id, *role = value.split()
            nodes[name] = RegisteredNode(machine_id=machine_id, control_plane=bool(role))
        return ClusterMembersState(
            etcd=parse_members(values.get("etcd", "")),
            nodes=nodes,
            tokens=tuple(lines.by_prefix(values, "token:")),
        )
