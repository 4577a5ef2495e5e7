"""Drain a node for a change on it, and let it take pods again afterwards.

A node that a run cordons is claimed first, by an annotation: whoever cordoned it uncordons it, also after the run was killed.
"""

import shlex
import time
from collections.abc import Callable, Mapping

from gevent import sleep
from pyinfra.api import Host
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.facts.node_status import CORDONED_BY, NodeStatusState
from kubeadm_deploys.facts.upgrade_state import ControllerLeases, WholeWorkloads
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.progress import reported
from kubeadm_deploys.remote.reading import NotRead, ask

_TRIES, _PAUSE = 5, 4
"""How often a short command is tried, and the seconds between."""

_BETWEEN = 3
"""Seconds between two readings of what is waited for."""


def drain(
    leader: Host, status: NodeStatusState, *, by: str, seconds: int, say: Callable[[str], None]
) -> bool:
    """Drain a node, and return whether this package has cordoned it. One that somebody else cordoned stays so.

    ``by`` is what the node is drained for, in one word, and ``seconds`` the limit.

    Raises:
        DeployError: the cluster's controllers do not run, or pods stay on it. It takes pods again, unless somebody else
            cordoned it.
    """
    await_controllers(leader=leader, seconds=seconds)
    name = shlex.quote(status.name)
    claimed = status.claimed or not status.cordoned
    if claimed and not status.claimed:
        # First, so that a run that is killed after it has cordoned the node leaves no node cordoned for good.
        _kubectl(leader, f"annotate --overwrite node {name} {CORDONED_BY}={by}", what=f"claim {status.name}")
    if not status.ready:
        say(f"{status.name} is NotReady; not waiting for its pods")
        _kubectl(leader, f"cordon {name}", what=f"cordon {status.name}")
        return claimed
    done, output = direct.run(
        leader,
        f"{KUBECTL_WAIT} drain {name} --ignore-daemonsets --delete-emptydir-data --timeout={seconds}s",
        seconds=seconds + 60,
    )
    if done:
        return claimed
    reasons = "; ".join(refusals(output.stderr)) or output.stderr
    if claimed:
        release(leader, status.name)
    raise DeployError(
        f"{status.name}: was not drained within {seconds} s ({reasons}); nothing on it was restarted"
        f"{', and it takes pods again' if claimed else ''}; deal with these pods, and run again"
    )


def release(leader: Host, node: str) -> None:
    """Let a node that this package has cordoned take pods again.

    Raises:
        DeployError: the API server refuses.
    """
    name = shlex.quote(node)
    _kubectl(leader, f"uncordon {name}", what=f"uncordon {node}")
    # Last, so that a run that is killed in between is finished by the next one.
    _kubectl(leader, f"annotate node {name} {CORDONED_BY}-", what=f"release {node}")


def refusals(stderr: str) -> list[str]:
    """Return what kubectl drain prints about pods that stay, without its repetitions every five seconds."""
    lines = [line.replace(" (will retry after 5s)", "") for line in stderr.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith(("error", "There are pending"))))


def await_workloads(*, leader: Host, before: Mapping[str, bool], seconds: int) -> None:
    """Wait until every workload that had all its pods ``before`` has them again, or is gone.

    Raises:
        DeployError: they do not have them within ``seconds``.
    """

    def reasons() -> list[str]:
        now = ask(leader, WholeWorkloads)
        broken = sorted(name for name, whole in before.items() if whole and not now.get(name, True))
        return [f"{some(broken)} had all pods before this node was drained, and not now"] if broken else []

    await_none(reasons, leader=leader, seconds=seconds, what="the pods of workloads")


def await_controllers(*, leader: Host, seconds: int) -> None:
    """Wait until the controller manager and the scheduler renew their leases.

    After a restart they wait for the lease of before to end. Until then Services go on to send requests to pods that have
    left their node, and no other pods take their place.

    Raises:
        DeployError: they do not renew them within ``seconds``.
    """
    before: dict[str, str] = {}

    def reasons() -> list[str]:
        found = ask(leader, ControllerLeases)
        stale = sorted(name for name, renewed in found.items() if before.get(name, renewed) == renewed)
        before.update(found)
        return [
            f"{some(stale)} did not renew {'its lease' if len(stale) == 1 else 'their leases'} in kube-system"
        ] * bool(stale)

    await_none(reasons, leader=leader, seconds=seconds, what="the cluster's controllers")


def await_none(reasons: Callable[[], list[str]], *, leader: Host, seconds: int, what: str) -> None:
    """Wait until there are no ``reasons`` left why ``what`` is not as it should be.

    Raises:
        DeployError: there are some after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    with reported(leader, f"waiting for {what}"):
        while True:
            try:
                found = reasons()
            except NotRead as error:
                # An API server that has just started refuses some requests.
                found = [str(error)]
            if not found:
                return
            if time.monotonic() > deadline:
                raise DeployError(f"waited {seconds} s for {what}: {'; '.join(found)}")
            sleep(_BETWEEN)


def _kubectl(leader: Host, arguments: str, *, what: str) -> None:
    """Run a command that may be repeated, again if it fails: an API server that has just started refuses some."""
    for number in range(1, _TRIES + 1):
        done, output = direct.run(leader, f"{KUBECTL} {arguments}")
        if done:
            return
        if number < _TRIES:
            sleep(_PAUSE)
    raise DeployError(f"{leader.name}: could not {what}: {output.stderr}")
