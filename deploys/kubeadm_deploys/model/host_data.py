"""What an inventory says about a single host, in addition to the cluster's options."""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationInfo

from kubeadm_deploys.model import checks, label_checks
from kubeadm_deploys.model.validation import Input
from kubeadm_deploys.model.values import NodeKubeletConfiguration


def _labels(value: object, info: ValidationInfo) -> Mapping[str, str]:
    return label_checks.node_labels(value, kept=info.context or {})


def _taints(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    label_checks.node_taints(value)
    return tuple(value)  # type: ignore[arg-type]  # The check accepts only lists.


class HostData(Input):
    """The data of one host that make it a node.

    Raises:
        InputError: lists every wrong field with its value and the fix.
    """

    node_name: Annotated[str, PlainValidator(checks.node_name)] = Field(
        description="Name of the node; default: the host's name in the inventory."
    )
    node_ip: Annotated[IPv4Address, PlainValidator(checks.node_address)] = Field(
        description="IPv4 address at which the nodes reach each other; default: `ssh_hostname`, else the host's name in the inventory, if it is an IPv4 address."
    )
    node_interface_mac: Annotated[str, PlainValidator(checks.mac_or_empty)] = Field(
        "",
        description="MAC address of the interface that has `node_ip`; a run waits until that interface is up.",
    )
    provider_id: Annotated[str, PlainValidator(checks.provider_id_or_empty)] = Field(
        "", description="The cloud's ID of the machine, like `aws:///eu-central-1a/i-0123`."
    )
    node_labels: Annotated[Mapping[str, str], PlainValidator(_labels)] = Field(
        {}, description="Labels of the node, like `{'disk': 'ssd'}`."
    )
    node_taints: Annotated[tuple[str, ...] | None, PlainValidator(_taints)] = Field(
        None,
        description="Taints of the node, like `['dedicated=gpu:NoSchedule']`; default: those that kubeadm sets.",
    )
    node_roles: Annotated[tuple[str, ...], PlainValidator(label_checks.node_roles)] = Field(
        (), description="Roles that kubectl shows, in addition to `control-plane`, like `['gpu']`."
    )

    node_kubelet_configuration: NodeKubeletConfiguration = Field(
        {},
        description="Fields of the KubeletConfiguration for this node, added to the cluster's `kubelet_configuration`, over which they win. The name differs from the cluster's, because one would hide the other in pyinfra's data.",
    )

    def __init__(self, /, *, host: str, kept: Mapping[str, str], **values: Any) -> None:
        """Check the data of a host; ``kept`` maps labels that another component sets to that component's name."""
        self._read(values, context=kept, of=f" of host {host}")
