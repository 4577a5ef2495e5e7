"""Read the cluster's members from etcd and the API, and its join tokens."""

import base64
from dataclasses import dataclass, field

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.documents.kubeadm_documents import TOKEN_DESCRIPTION
from kubeadm_deploys.facts.etcd import EtcdMember, parse_members
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script

# A Go template, because jsonpath cannot show whether a label without a value exists.
_NODES = (
    "{{range .items}}node:{{.metadata.name}} machine={{.status.nodeInfo.machineID}}"
    '{{range .status.conditions}}{{if eq .type "Ready"}} ready={{.status}}{{end}}{{end}}'
    '{{range $key, $value := .metadata.labels}}{{if eq $key "node-role.kubernetes.io/control-plane"}} control-plane'
    '{{end}}{{end}}{{"\\n"}}{{end}}'
)

_TOKENS = (
    "{{range .items}}{{if .data.description}}"
    f'{{{{if eq .data.description "{base64.b64encode(TOKEN_DESCRIPTION.encode()).decode()}"}}}}'
    'token:{{.metadata.name}}{{"\\n"}}{{end}}{{end}}{{end}}'
)


@dataclass(frozen=True, kw_only=True)
class RegisteredNode:
    """A Node object: its machine ID, whether it is ``ready``, and whether it has the control plane label."""

    machine_id: str
    ready: bool = True
    control_plane: bool = False


@dataclass(frozen=True, kw_only=True)
class ClusterMembersState:
    """etcd's members, Node objects by name, and the Secrets of this package's join tokens."""

    etcd: tuple[EtcdMember, ...] = ()
    nodes: dict[str, RegisteredNode] = field(default_factory=dict)
    tokens: tuple[str, ...] = ()

    def votes(self, ip: str) -> bool:
        """Return whether the machine with this address votes in etcd."""
        return any(member.joined and member.peer_ip == ip for member in self.etcd)


class ClusterMembers(ClusterFact[ClusterMembersState]):
    """Read members and nodes on a control plane whose API server answers, in one command."""

    @override
    def command(self) -> StringCommand:
        return script("read-cluster-members", _NODES, _TOKENS)

    @override
    def process(self, output: list[str]) -> ClusterMembersState:
        values = lines.parse(output)
        nodes = {}
        for name, value in lines.by_prefix(values, "node:").items():
            words = value.split()
            fields = dict(word.partition("=")[::2] for word in words)
            nodes[name] = RegisteredNode(
                machine_id=fields["machine"],
                ready=fields.get("ready") == "True",
                control_plane="control-plane" in words,
            )
        return ClusterMembersState(
            etcd=parse_members(values["etcd"]),
            nodes=nodes,
            tokens=tuple(lines.by_prefix(values, "token:")),
        )
