"""Writing API calls as data, and their execution: in parallel where possible, awaited together.

A plan is a list of steps that can be printed, tested and discarded; only ``run_steps`` writes.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubeadm_deploys.hetzner.api.client import BUSY_PAUSES, Client, HetznerError, ask
from kubeadm_deploys.hetzner.api.interrupt import interrupted
from kubeadm_deploys.model.errors import some

_PARALLEL_CALLS = 8
"""Calls made at the same time; the API answers bursts with its rate limit."""

_ACTIONS_PER_CALL = 25
"""Actions that one call reads: the API's default page size."""


@dataclass(frozen=True)
class Ref:
    """A reference by kind and name to a resource whose ID is only known once it exists."""

    kind: str
    name: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One writing call.

    Steps of one phase run in parallel; a phase begins when every action of the previous one has ended.
    """

    phase: int
    doing: str
    """What the step does, in the imperative: "create network demo"."""
    details: str = ""
    """Details for the plan: "10.0.0.0/16 in eu-central"."""
    path: str
    method: str = "POST"
    body: Mapping[str, Any] | None = None
    makes: Ref | None = None
    done_if: frozenset[str] = frozenset()
    """Error codes that mean that an earlier call, whose connection broke, has already done this."""
    hint: str = ""
    """What to choose instead when the API has nothing available."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Pauses in seconds between retries, polls and reports, and the deadline for all actions of a phase."""

    busy: Sequence[float] = BUSY_PAUSES
    first_poll: float = 1.0
    growth: float = 1.5
    longest_poll: float = 10.0
    longest_silence: float = 15.0
    deadline: float = 600.0


@dataclass(kw_only=True)
class _Run:
    """Progress of a run."""

    client: Client
    retry_policy: RetryPolicy
    report: Callable[[str], None]
    total: int
    ids: dict[Ref, int]
    done: list[Step] = dataclasses.field(default_factory=list)
    failed: dict[str, list[Step]] = dataclasses.field(default_factory=dict)
    """Failed steps by reason, which is often the same for all of them."""

    def succeed(self, step: Step) -> None:
        self.done.append(step)
        self.report(f"{step.doing}: done ({len(self.done)} of {self.total})")

    def fail(self, step: Step, reason: str) -> None:
        # Actions after a failed one fail too, without new information.
        if not self.has_failed(step):
            self.failed.setdefault(reason, []).append(step)

    def has_failed(self, step: Step) -> bool:
        return any(step in failed for failed in self.failed.values())


def run_steps(
    client: Client,
    steps: Sequence[Step],
    *,
    known: Mapping[Ref, int],
    report: Callable[[str], None],
    retry_policy: RetryPolicy | None = None,
) -> None:
    """Make the calls and wait until all their actions have ended.

    ``known`` has the IDs of existing resources; ``report`` is called for every finished step.

    Raises:
        HetznerError: with every step that failed, and what is done and kept.
    """
    run = _Run(
        client=client,
        retry_policy=retry_policy or RetryPolicy(),
        report=report,
        total=len(steps),
        ids=dict(known),
    )
    for phase in sorted({step.phase for step in steps}):
        _run_phase(run, [step for step in steps if step.phase == phase])
        if run.failed:
            raise HetznerError(_failure_summary(run, steps))


def _run_phase(run: _Run, steps: Sequence[Step]) -> None:
    with ThreadPoolExecutor(max_workers=_PARALLEL_CALLS) as pool:
        answers = list(pool.map(lambda step: _send(run, step), steps))
    waiting: dict[int, Step] = {}
    for step, answer in zip(steps, answers, strict=True):
        if isinstance(answer, HetznerError):
            run.fail(step, answer.reason)
            continue
        if step.makes:
            run.ids[step.makes] = answer[step.makes.kind]["id"]
        actions = _action_ids(answer)
        waiting.update(dict.fromkeys(actions, step))
        if not actions:
            run.succeed(step)
    _wait(run, waiting)


def _send(run: _Run, step: Step) -> dict[str, Any] | HetznerError:
    """Make one call; return an error instead of raising it, because the other calls continue."""
    body = _resolved(step.body, run.ids)
    try:
        return ask(
            step.doing,
            lambda: run.client.request(step.method, step.path, **({} if body is None else {"json": body})),
            pauses=run.retry_policy.busy,
            hint=step.hint,
        )
    except HetznerError as error:
        return {} if error.code in step.done_if else error


def _resolved(value: Any, ids: Mapping[Ref, int]) -> Any:
    """Return the value with every reference replaced by its ID."""
    if isinstance(value, Ref):
        return ids[value]
    if isinstance(value, Mapping):
        return {key: _resolved(item, ids) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(item, ids) for item in value]
    return value


def _action_ids(answer: Mapping[str, Any]) -> list[int]:
    actions = [answer.get("action"), *answer.get("actions", ()), *answer.get("next_actions", ())]
    return [action["id"] for action in actions if action]


def _wait(run: _Run, waiting: dict[int, Step]) -> None:
    """Poll all actions together, at growing intervals, until all have ended or the deadline has passed."""
    began = reported = time.monotonic()
    deadline = began + run.retry_policy.deadline
    pause = run.retry_policy.first_poll
    while waiting:
        now = time.monotonic()
        if now - reported >= run.retry_policy.longest_silence:
            running = some([step.doing for step in dict.fromkeys(waiting.values())], separator="; ")
            run.report(f"waiting for Hetzner to {running} ({now - began:.0f} s so far)")
            reported = now
        if now > deadline:
            for step in dict.fromkeys(waiting.values()):
                run.fail(step, f"not finished after {run.retry_policy.deadline:.0f} s; run this again later")
            return
        interrupted.wait(pause)
        pause = min(pause * run.retry_policy.growth, run.retry_policy.longest_poll)
        try:
            actions = _read_actions(run.client, list(waiting))
        except HetznerError as error:
            for step in dict.fromkeys(waiting.values()):
                run.fail(step, error.reason)
            return
        for action in sorted(actions, key=lambda action: int(action["id"])):
            if action["status"] != "running":
                _finish(run, waiting, action)


def _read_actions(client: Client, ids: Sequence[int]) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = []
    for start in range(0, len(ids), _ACTIONS_PER_CALL):
        chosen = ids[start : start + _ACTIONS_PER_CALL]
        answer = ask("reading actions", partial(client.request, "GET", "/actions", params={"id": chosen}))
        actions.extend(answer["actions"])
    return actions


def _finish(run: _Run, waiting: dict[int, Step], action: Mapping[str, Any]) -> None:
    step = waiting.pop(action["id"])
    if action["status"] == "error":
        error = action.get("error") or {}
        run.fail(
            step,
            f"the action {action['command']} failed: {error.get('message', 'no reason given')} "
            f"({error.get('code', 'no code')})",
        )
    elif step not in waiting.values() and not run.has_failed(step):
        run.succeed(step)


def _failure_summary(run: _Run, steps: Sequence[Step]) -> str:
    """Return what failed and why, what is done and kept, and how to continue."""
    failed = [
        f"\n  - {', '.join(step.doing for step in failed)}: {reason}" for reason, failed in run.failed.items()
    ]
    number = sum(len(failed) for failed in run.failed.values())
    completed = ", ".join(step.doing for step in run.done) or "nothing"
    return (
        f"{number} of {len(steps)} steps failed:{''.join(failed)}\n"
        f"  Done and kept: {completed}. Run the same command again to continue."
    )
