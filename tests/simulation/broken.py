"""Faults for the product, to show that the search finds them; each function is called in a run's process."""

import sys
from collections.abc import Callable
from typing import Any


def everywhere(name: str, make: Callable[[Any], Any]) -> None:
    """Replace a product function in every module that has it; ``make`` gets the original."""
    modules = [module for path, module in sys.modules.items() if path.startswith("kubeadm_deploys")]
    users = [module for module in modules if callable(vars(module).get(name))]
    assert users, f"the product no longer has {name}"
    replacement = make(vars(users[0])[name])
    for module in users:
        setattr(module, name, replacement)


def not_read_is_bare() -> None:
    """Take a control plane that could not be read for a bare machine."""
    from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
    from kubeadm_deploys.remote.reading import NotRead

    def make(read: Callable[..., Any]) -> Callable[..., Any]:
        def read_or_bare(*arguments: Any, **keywords: Any) -> Any:
            state = read(*arguments, **keywords)
            return KubeadmNodeState() if isinstance(state, NotRead) else state

        return read_or_bare

    everywhere("_ask_kubeadm", make)
    everywhere("_ask_kubeadm_now", make)


def without_fence() -> None:
    """Let a run continue after it has lost its lock."""
    from kubeadm_deploys.run.locking import RunLock

    lock: Any = RunLock
    lock.fenced = lambda self, host, command, send: send(command)
    lock.require = lambda self: None


def without_lock() -> None:
    """Let a run start although another one holds the lock."""
    from kubeadm_deploys.run.run_lock import Vote

    everywhere("read_vote", lambda _: lambda output: Vote())
    without_fence()


def lapsed_lock_counts() -> None:
    """Let a run renew a lock that has expired, although another run may have held it meanwhile."""
    from kubeadm_deploys.run import run_lock
    from kubeadm_deploys.run.locking import RunLock

    renew = RunLock._renew

    def lapse(self: RunLock, *, only_old: bool = False) -> bool:
        self._renewed = run_lock.clock()
        return renew(self)

    lock: Any = RunLock
    lock._renew = lapse


def files_decide() -> None:
    """Decide a machine's membership by its files alone."""
    from kubeadm_deploys.facts.kubeadm_node import node_state

    everywhere(
        "membership_state",
        lambda _: lambda found, *, cluster_ca, **__: node_state(found, cluster_ca=cluster_ca),
    )


def majority_is_not_asked() -> None:
    """Never refuse anything because of etcd's majority."""
    everywhere("quorum_refusal", lambda _: lambda *_, **__: "")


def strangers_are_cleaned() -> None:
    """Ignore to which cluster a machine belongs."""
    everywhere("is_of_another_cluster", lambda _: lambda found, *, cluster_ca: False)
    for refusal in ("machine_refusal", "join_refusal"):
        everywhere(refusal, lambda _: lambda *_, **__: "")
    for findings in ("join_findings", "foreign_findings"):
        everywhere(findings, lambda _: lambda *_, **__: iter(()))


def tokens_stay() -> None:
    """Do not delete join tokens."""
    everywhere("_delete_tokens", lambda _: lambda *_: True)


BEHAVIOURS: dict[str, Callable[[], None]] = {
    behaviour.__name__: behaviour
    for behaviour in (
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
