"""Before the guide begins: the provider has finished with the machine.

A new machine answers over SSH while cloud-init still installs packages, and its private interface may come up later
or not at all. What is read or installed in the meantime is wrong, or fails much later with somebody else's message.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.provisioning import (
    STILL_RUNNING,
    Provisioning,
    ProvisioningInTime,
    ProvisioningState,
)
from kubeadm_deploys.facts.reading import ask, ask_again, read, read_for_plan
from kubeadm_deploys.kubeadm_documents import kubelet_flags
from kubeadm_deploys.nodes import Node
from kubeadm_deploys.options import ClusterOptions


@deploy("Provisioning")
def wait_for_provisioning(*, options: ClusterOptions, node: Node) -> None:
    """Wait until the machine is what the inventory says, to be called before everything else.

    Raises:
        DeployError: cloud-init did not end, no interface has the node's address in time, the host name is another, or
            it is a node already and joined with other flags.
    """
    if is_unfinished(read(host, reading(node)), node=node):
        ask(
            host,
            ProvisioningInTime,
            # cloud-init and the interface each have that time.
            seconds=2 * options.provisioning_timeout + 60,
            timeout=options.provisioning_timeout,
            node_ip=node.ip,
            mac=node.interface_mac,
        )
        # Whatever the machine has answered is of the time before.
        ask_again(host)
    # What cloud-init says of it may go on, as with the time.
    found = read_for_plan(host, reading(node), counts=lambda found: replace(found, cloud_init_said=""))
    for warning in provisioning_warnings(found):
        logger.warning(f"--> Warning: {host.name}: {warning}")
    problems = list(provisioning_problems(found=found, options=options, node=node))
    if problems:
        raise DeployError(f"{host.name}: {'; and '.join(problems)}")


def reading(node: Node) -> Reading[ProvisioningState]:
    """What the section reads of a machine, as it is at the moment."""
    return Reading.of(Provisioning, timeout=0, node_ip=node.ip, mac=node.interface_mac)


def is_unfinished(found: ProvisioningState, *, node: Node) -> bool:
    """Whether a machine may still become what it is to be without anybody's doing.

    Without a MAC there is nothing to wait for: then a wrong address is likelier than a late interface.
    """
    return found.cloud_init == STILL_RUNNING or not (found.interface or not node.interface_mac)


def provisioning_warnings(found: ProvisioningState) -> Iterator[str]:
    """What the operator should know of a machine that can become a node all the same.

    cloud-init calls a boot failed for any of its modules, on Hetzner also when a private network came up late;
    what a node needs is checked by itself.
    """
    if found.cloud_init == 1:
        yield f"cloud-init ended with an error, look whether it matters: {' '.join(found.cloud_init_said.split())}"


def provisioning_problems(*, found: ProvisioningState, options: ClusterOptions, node: Node) -> Iterator[str]:
    """What keeps the machine from becoming this node, each with its cure."""
    if found.cloud_init == STILL_RUNNING:
        yield (
            f"cloud-init has not finished after {options.provisioning_timeout} s; "
            "look at /var/log/cloud-init-output.log there, or set a longer provisioning_timeout"
        )
    # Hetzner's cloud controller finds a node's server by this name.
    if options.cloud_provider == "hetzner" and found.hostname != node.name:
        yield (
            f"its host name is {found.hostname}, but the server is called {node.name}; "
            f"run 'hostnamectl set-hostname {node.name}' on it"
        )
    if not found.interface:
        yield f"{_interface_problem(found=found, node=node)}; {_remedy(options=options, node=node)}"
    wanted = kubelet_flags(options=options, node=node)
    if found.kubelet_flags is not None and (
        differences := list(differing_flags(found=found.kubelet_flags, wanted=wanted))
    ):
        yield (
            f"its kubelet runs with {' and '.join(differences)}, which a node takes only when it joins; set node_ip, "
            "cloud_provider and provider_id back, or remove the node with deploys/remove_node.py and run this again"
        )


def differing_flags(*, found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Each flag that the kubelet of a node has otherwise than wanted, in words.

    Address and provider ID may be missing: then kubelet or cloud found them, as in a cluster made by others.
    """
    for flag in ("node-ip", "cloud-provider", "provider-id"):
        there, here = found.get(flag, ""), wanted.get(flag, "")
        if there != here and ((there and here) or flag == "cloud-provider"):
            yield f"{flag} {there or 'unset'} instead of {here or 'unset'}"


def _interface_problem(*, found: ProvisioningState, node: Node) -> str:
    if not node.interface_mac:
        there = ", ".join(f"{each.name} {address}" for each in found.seen for address in each.addresses)
        return f"no interface has the address {node.ip} (there are: {there or 'none'})"
    ours = next((each for each in found.seen if each.mac == node.interface_mac), None)
    if ours is None:
        return f"no interface has the MAC {node.interface_mac} of {node.ip}"
    if not ours.up:
        return f"interface {ours.name} of {node.ip} is down"
    there = ", ".join(ours.addresses) or "no address"
    return f"interface {ours.name} ({node.interface_mac}) has {there} instead of {node.ip}"


def _remedy(*, options: ClusterOptions, node: Node) -> str:
    if not node.interface_mac:
        return "set node_ip to an address that the machine has"
    waited = f"that was waited for {options.provisioning_timeout} s"
    if options.cloud_provider != "hetzner":
        return f"{waited}; reboot the machine, or look at its network configuration"
    network = f"{node.name} --network {options.cluster_name}"
    return (
        f"{waited}; reboot it with 'hcloud server reboot {node.name}', or attach it anew with "
        f"'hcloud server detach-from-network {network}' and "
        f"'hcloud server attach-to-network {network} --ip {node.ip}'"
    )
