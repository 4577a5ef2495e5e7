"""Give one node's kubelet another file of its configuration, on a drained node where it has to be.

A kubelet that does not come up gets its old file back (scripts/swap-kubelet-configuration.sh); pods go on meanwhile.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from pyinfra import inventory
from pyinfra.api import Host
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.draining import await_workloads, drain, release
from kubeadm_deploys.cluster.leader import wait_for_kubeadm
from kubeadm_deploys.cluster.reconfiguring import Stopped, in_unit
from kubeadm_deploys.documents.node_kubelet import FIELDS_FILE
from kubeadm_deploys.facts.cluster_health import NodesReady
from kubeadm_deploys.facts.node_status import NodeStatuses
from kubeadm_deploys.facts.upgrade_state import WholeWorkloads
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.reading import ask

CONFIGURATION_FILE = "/var/lib/kubelet/config.yaml"
"""The kubelet's configuration, which kubeadm writes from the cluster's."""

EXCHANGED_FILES = (CONFIGURATION_FILE, FIELDS_FILE)
"""The files of which one may have been left in exchange by a run that was cut off."""

SECONDS = 90
"""How long a kubelet may take to come up, and then its node to be Ready."""

_STATE_FILES = ("/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state")
"""What a kubelet has assigned to pods with its policies; with other policies it does not start with these files."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one node is to have: the whole ``content`` of a ``file`` of its kubelet's configuration.

    ``changes`` is whether its kubelet restarts, ``drained`` whether the node is drained for it, and ``fix`` what an error
    says to do.
    """

    node: Node
    file: str
    content: str
    changes: bool
    drained: bool
    fix: str


def take_turn(leader: Host, turn: Turn, *, ready: bool) -> None:
    """Change a kubelet, and wait until its node is Ready if it is to be ``ready`` afterwards.

    Raises:
        Stopped: the kubelet does not come up, or the node does not become Ready.
    """
    _restart_with(turn)
    if ready:
        try:
            ask(leader, NodesReady, seconds=SECONDS + 30, nodes=(turn.node.name,), timeout=SECONDS)
        except DeployError as error:
            raise Stopped(f"{turn.node.name}: is not Ready with its changed kubelet: {error}") from None


def take_turn_alone(
    leader: Host, turn: Turn, *, ready: bool, drain_timeout: int, say: Callable[[str], None]
) -> None:
    """Change a kubelet on a drained node if it has to be, and let the node take pods again if this package cordoned it.

    Raises:
        Stopped: pods stay on it, the kubelet does not come up, or workloads did not get their pods back.
    """
    name = turn.node.name
    try:
        status = next((each for each in ask(leader, NodeStatuses) if each.name == name), None)
        if status is None:
            raise Stopped(f"{name}: the cluster has no such node any more; take it out of the inventory")
        workloads = ask(leader, WholeWorkloads) if turn.drained else {}
        claimed = status.claimed
        if turn.drained:
            claimed = drain(leader, status, by="reconfiguration", seconds=drain_timeout, say=say)
        try:
            if turn.changes:
                take_turn(leader, turn, ready=ready)
        finally:
            # Its old kubelet runs again if the new one did not come up.
            if claimed:
                release(leader, name)
        if turn.drained:
            await_workloads(leader=leader, before=workloads, seconds=drain_timeout)
    except DeployError as error:
        raise Stopped(str(error)) from None


def release_again(leader: Host, node: Node, *, say: Callable[[str], None]) -> None:
    """Let a node take pods again that an unfinished run has cordoned: its kubelet runs, whatever its configuration is."""
    wait_for_kubeadm(inventory.get_host(node.host))
    release(leader, node.name)
    say(f"{node.name}: takes pods again; an earlier run has cordoned it and has not ended")


def _restart_with(turn: Turn) -> None:
    command = in_unit(
        "swap-kubelet-configuration",
        turn.file,
        str(SECONDS),
        *(_STATE_FILES if turn.drained else ()),
        stdin=f"{base64.b64encode(turn.content.encode()).decode()}\nend\n",
    )
    restarted, output = direct.run(inventory.get_host(turn.node.host), command)
    if not restarted:
        raise Stopped(
            f"{turn.node.name}: the kubelet's configuration was not changed: {output.stderr}; {turn.fix}"
        )
