"""What all changes of a live cluster's configuration share: how they stop, what they record, and what they store."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyinfra import inventory, logger
from pyinfra.api import Host, State
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.kubeadm import kubeadm
from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.cluster.members import ask_members, ask_settings
from kubeadm_deploys.cluster.recording import WRITE
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.kubeadm_documents import reconfiguration_document
from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KUBEADM_UNIT
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote import direct
from kubeadm_deploys.scripts import script, text


class Stopped(Exception):
    """The change of the cluster has stopped; the message says what was found, and what was done about it."""


def in_unit(name: str, *arguments: str, stdin: str) -> StringCommand:
    """Return a command that runs a script in the unit in which kubeadm runs: it survives the operator's connection.

    The next run waits for it, as it waits for kubeadm.
    """
    return script(
        "run-in-unit", KUBEADM_UNIT, text(name), name, *arguments, stdin=stdin, seconds=KUBEADM_SECONDS
    )


def begun(
    pending: tuple[Mapping[str, Any], ...], configuration: Mapping[str, Any]
) -> tuple[Mapping[str, Any], ...]:
    """Return the pending configurations of the record when a run begins to give nodes another one.

    Those of earlier runs that failed stay: nodes may still have them.
    """
    return pending if configuration in pending else (*pending, configuration)


def leader_of(state: State, topology: Topology) -> Host:
    """Return the host through which a run reaches the cluster."""
    return inventory.get_host(ask_leader(state, topology).leader)


def waits_for_others(state: State, nodes: Iterable[Node], *, changes: str) -> bool:
    """Return whether a change is not made because some of its ``nodes`` are not part of the run, and name them."""
    others = [node.name for node in nodes if inventory.get_host(node.host) not in state.active_hosts]
    if others:
        logger.warning(
            f"--> Warning: {changes} differs from the cluster, and stays, because these nodes are not part of this run: "
            f"{some(others)}; run it without --limit, or mend what has failed there"
        )
    return bool(others)


def validate(
    topology: Topology,
    leader: Host,
    *,
    option: str,
    cluster: Mapping[str, Any],
    configuration: Mapping[str, Any],
) -> None:
    """Have kubeadm look for unknown fields in what an ``option`` makes: otherwise they are dropped or ignored.

    Raises:
        Stopped: kubeadm does not accept it.
    """
    document = reconfiguration_document(topology.node(leader.name), cluster, configuration)
    valid, output = direct.run(leader, kubeadm("config", "validate", stdin=document))
    if not valid:
        reason = " ".join(output.stdout_lines or output.stderr_lines)[-400:]
        raise Stopped(f"kubeadm does not accept {option}: {reason}; nothing was changed")


def refuse_unlisted(state: State, topology: Topology, *, roles: tuple[bool, ...]) -> None:
    """Stop if the cluster has nodes that the inventory lacks; ``roles`` are whether they are control planes.

    Raises:
        Stopped: they would keep the old configuration.
    """
    members = ask_members(state, topology, refresh=True)
    if members is None:
        raise Stopped("no API server answers; nothing was changed")
    known = {node.name for node in topology.nodes}
    strangers = [
        name for name, node in members.nodes.items() if node.control_plane in roles and name not in known
    ]
    if strangers:
        raise Stopped(
            f"the nodes {some(strangers)} are not in the inventory and would keep the old configuration; add them, "
            "or run deploys/remove_node.py; nothing was changed"
        )


def upload(state: State, topology: Topology, what: str, *documents: Mapping[str, Any]) -> None:
    """Store the configuration of ``kubeadm`` or ``kubelet`` in the cluster; ClusterConfiguration is the first document.

    Raises:
        Stopped: kubeadm failed.
    """
    leader = leader_of(state, topology)
    document = reconfiguration_document(topology.node(leader.name), *documents)
    uploaded, output = direct.run(leader, kubeadm("init", "phase", "upload-config", what, stdin=document))
    if not uploaded:
        raise Stopped(f"{leader.name}: could not store the configuration in the cluster: {output.stderr}")


def record(
    state: State,
    host: Host,
    topology: Topology,
    change: Callable[[RecordedConfiguration], RecordedConfiguration],
) -> bool:
    """Change what the cluster's record says of its configuration; return whether that was possible."""
    settings = ask_settings(state, topology, refresh=True)
    if settings is None or settings.silent:
        host.log("no API server answers, so the record was not read; run this again when one answers")
        return False
    recorded = settings.record.configuration or RecordedConfiguration()
    manifest = settings.record.with_configuration(change(recorded)).manifest()
    written, output = direct.run(leader_of(state, topology), WRITE, stdin=manifest)
    if not written:
        host.log(f"could not record the cluster's configuration: {output.stderr}")
    return written
