"""The end of a run in three lines: what was changed, on which hosts, and what to do next.

A dry run ends with the same lines about what it would change. A run that was refused has said why, and gets none.
"""

# pyinfra declares its callbacks as static methods, but calls them on an instance.
# mypy: disable-error-code="override"

import sys
from collections import Counter

from pyinfra import host, logger
from pyinfra.api.host import Host
from pyinfra.api.state import BaseStateCallback, State, StateStage

from kubeadm_deploys.model.errors import some


class RunSummary(BaseStateCallback):
    """What a run has changed so far, printed when the first host disconnects.

    ``prepared`` are the names of the hosts whose operations are all planned.
    """

    def __init__(self, *, next_step: str) -> None:
        self.prepared: set[str] = set()
        self._next_step = next_step
        self._executed = False
        self._failed: dict[str, None] = {}
        self._printed = False

    def operation_start(self, state: State, op_hash: str) -> None:
        """Remember that operations run: the run lock, which was registered before, has let them."""
        self._executed = True

    def operation_host_error(
        self, state: State, host: Host, op_hash: str, retry_count: int = 0, max_retries: int = 0
    ) -> None:
        """Remember what failed: some of its commands may have changed the host."""
        if not state.get_op_data_for_host(host, op_hash).global_arguments["_ignore_errors"]:
            self._failed.update(dict.fromkeys(_names(state, op_hash)))

    def host_disconnect(self, state: State, host: Host) -> None:
        """Print the summary once."""
        if self._printed:
            return
        self._printed = True
        try:
            for line in self.lines(state):
                logger.info(f"--> {line}")
        # Other handlers, such as that of the run lock, must still be called.
        except Exception as error:
            logger.warning(f"--> Warning: no summary of the run: {error}")

    def lines(self, state: State) -> list[str]:
        """Return the lines of the summary."""
        if self._executed:
            changes = _changes(state, executed=True) or ([] if self._failed else ["No changes"])
            if self._failed:
                changes.append(
                    f"Failed, and may have changed something: {some(list(self._failed), separator='; ')}"
                )
            completed = state.current_stage is StateStage.Disconnect and not state.failed_hosts
            again = "fix what failed above, if anything did, and run the same command again; it continues from there"
            return [*changes, f"Next: {self._next_step if completed else again}"]
        planned = self.prepared >= {machine.name for machine in state.active_hosts}
        # With -y beside it, pyinfra plans no changes.
        knows = "--dry" in sys.argv and state.should_check_for_changes()
        if knows and planned and not state.failed_hosts:
            changes = _changes(state, executed=False)
            return [*changes, "Next: run it without --dry"] if changes else ["Nothing to change"]
        return []


def _changes(state: State, *, executed: bool) -> list[str]:
    """Return a line with the operations that changed a host, or would, and a line with the hosts."""
    names: dict[str, None] = {}
    changing: set[str] = set()
    hosts: Counter[str] = Counter()
    for op_hash in state.get_op_order():
        for machine in state.inventory:
            if op_hash not in state.ops.get(machine, {}):
                continue
            meta = state.get_op_data_for_host(machine, op_hash).operation_meta
            if meta.is_complete() and meta.did_change() if executed else meta.will_change:
                names.update(dict.fromkeys(_names(state, op_hash)))
                changing.add(op_hash)
                hosts[machine.name] += 1
    if not names:
        return []
    return [
        f"{'Changed' if executed else 'Would change'}: {_counted(len(changing))} ({some(list(names), separator='; ')})",
        f"On: {some([f'{name} ({_counted(count)})' for name, count in hosts.items()])}",
    ]


def _names(state: State, op_hash: str) -> list[str]:
    return sorted(state.get_op_meta(op_hash).names)


def _counted(operations: int) -> str:
    return f"{operations} operation{'' if operations == 1 else 's'}"


def summarize_run(*, next_step: str) -> None:
    """Print, when the run ends, what it changed, on which hosts, and what to do next.

    For entry scripts, which pyinfra executes once for each host; call it last, when all operations are planned.

    + next_step: what to do after a run that succeeded, such as a command

    **Example:**

    .. code:: python

        summarize_run(next_step=f"kubectl --kubeconfig {options.kubeconfig_path} get nodes")
    """
    state = host.state
    summaries = [handler for handler in state.callback_handlers if isinstance(handler, RunSummary)]
    if not summaries:
        summaries = [RunSummary(next_step=next_step)]
        state.add_callback_handler(summaries[0])
    summaries[0].prepared.add(host.name)
