"""The product with behaviours that are wrong, to show that the search finds them: each is called in a run's process."""

import sys
from collections.abc import Callable
from typing import Any


def everywhere(name: str, make: Callable[[Any], Any]) -> None:
    """Replace a function of the product in every module that knows it; ``make`` gets the one that is there."""
    modules = [module for path, module in sys.modules.items() if path.startswith("kubeadm_deploys")]
    knowing = [module for module in modules if callable(vars(module).get(name))]
    assert knowing, f"the product has no {name} any more"
    replacement = make(vars(knowing[0])[name])
    for module in knowing:
        setattr(module, name, replacement)


def not_read_is_bare() -> None:
    """A control plane that could not be read is taken for a machine with nothing on it."""
    from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
    from kubeadm_deploys.facts.reading import NotRead

    def make(read: Callable[..., Any]) -> Callable[..., Any]:
        def read_or_bare(*arguments: Any, **keywords: Any) -> Any:
            found = read(*arguments, **keywords)
            return KubeadmNodeState() if isinstance(found, NotRead) else found

        return read_or_bare

    everywhere("_ask_kubeadm", make)
    everywhere("_ask_kubeadm_now", make)


def without_fence() -> None:
    """A run that has lost its lock goes on."""
    from kubeadm_deploys.locking import RunLock

    lock: Any = RunLock
    lock.fenced = lambda self, host, command, send: send(command)
    lock.require = lambda self: None


def without_lock() -> None:
    """A run does not stop when another one has the lock."""
    from kubeadm_deploys.run_lock import Vote

    everywhere("read_vote", lambda _: lambda output: Vote())
    without_fence()


def lapsed_lock_counts() -> None:
    """A run takes its lock again that has lapsed, although another one may have had it meanwhile."""
    from kubeadm_deploys import run_lock
    from kubeadm_deploys.locking import RunLock

    renew = RunLock._renew

    def lapse(self: RunLock, *, only_old: bool = False) -> bool:
        self._renewed = run_lock.clock()
        return renew(self)

    lock: Any = RunLock
    lock._renew = lapse


def files_decide() -> None:
    """What a machine is in the cluster is decided by its files alone."""
    from kubeadm_deploys.facts.kubeadm_node import node_state

    everywhere(
        "standing", lambda _: lambda found, *, cluster_ca, **__: node_state(found, cluster_ca=cluster_ca)
    )


def majority_is_not_asked() -> None:
    """etcd's majority is no reason to refuse anything."""
    everywhere("quorum_refusal", lambda _: lambda *_, **__: "")


def strangers_are_cleaned() -> None:
    """Whose machine it is does not matter."""
    everywhere("is_of_another_cluster", lambda _: lambda found, *, cluster_ca: False)
    for refusal in ("machine_refusal", "join_refusal"):
        everywhere(refusal, lambda _: lambda *_, **__: "")
    for findings in ("join_findings", "foreign_findings"):
        everywhere(findings, lambda _: lambda *_, **__: iter(()))


def tokens_stay() -> None:
    """Join tokens are not deleted."""
    everywhere("_delete_tokens", lambda _: lambda *_: True)


BEHAVIOURS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        not_read_is_bare,
        without_fence,
        without_lock,
        lapsed_lock_counts,
        files_decide,
        majority_is_not_asked,
        strangers_are_cleaned,
        tokens_stay,
    )
}
