"""Run many commands in one remote call, and wait for a condition."""

from collections.abc import Mapping
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import unready_pods
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import Survey, ask
from kubeadm_deploys.verification.waiting import eventually, watch

HERE = Machine(name="here", connection="local://", groups=(), data={})


def test_each_command_has_its_own_output_and_exit_code() -> None:
    answers = ask(
        HERE,
        {
            "two lines": "echo one; echo; echo 'two \"quoted\" ü'",
            "failing": "echo seen; echo reason >&2; exit 3",
            "silent": "true",
            "unfinished": "if",
        },
    )
    assert answers["two lines"].lines == ["one", 'two "quoted" ü']
    assert answers["two lines"].status == 0
    failing = answers["failing"]
    assert (failing.status, failing.stdout, failing.stderr) == (3, "seen", "reason")
    assert answers["silent"].text == ""
    assert answers["unfinished"].status != 0


def test_text_of_a_failed_command_raises() -> None:
    answer = ask(HERE, {"failing": "echo seen; echo reason >&2; exit 3"})["failing"]
    with pytest.raises(AssertionError, match="exit code 3: reason"):
        _ = answer.text


def test_unreachable_machine_is_named() -> None:
    gone = Machine(name="gone", connection="docker://kubeadm-deploys-no-such-host", groups=(), data={})
    with pytest.raises(AssertionError, match="gone does not answer"):
        ask(gone, {"any": "true"})


def test_survey_runs_commands_once_per_machine(tmp_path: Any) -> None:
    machines = [Machine(name=name, connection="local://", groups=(), data={}) for name in ("a", "b")]
    survey = Survey(machines)
    commands = {"count": f"echo x >> {tmp_path}/asked; cat {tmp_path}/asked | wc -l"}
    for _ in range(3):
        for machine in machines:
            survey(machine, commands)
    assert (tmp_path / "asked").read_text().splitlines() == ["x", "x"]


def test_unreachable_machine_does_not_affect_the_others() -> None:
    gone = Machine(name="gone", connection="docker://kubeadm-deploys-no-such-host", groups=(), data={})
    survey = Survey([gone, HERE])
    assert survey(HERE, {"any": "echo yes"})["any"].text == "yes"
    with pytest.raises(AssertionError, match="gone"):
        survey(gone, {"any": "echo yes"})


def test_eventually_returns_as_soon_as_there_is_no_problem() -> None:
    seen = iter([1, 2, 3])
    assert eventually(lambda: next(seen), problem=lambda value: "" if value == 2 else "not yet") == 2


def test_eventually_fails_with_the_last_problem() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 seconds: still 7"):
        eventually(lambda: 7, problem=lambda value: f"still {value}", timeout=0.1)


def test_watch_returns_the_last_observation_when_the_time_is_up() -> None:
    assert watch(lambda: 7, until=lambda value: value == 8, timeout=0.1) == 7


def pod(name: str, *, ready: str, waiting: Mapping[str, str] | None = None) -> dict[str, Any]:
    state = {"waiting": waiting} if waiting else {"running": {}}
    return {
        "metadata": {"name": name},
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Pending" if waiting else "Running",
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"ready": ready == "True", "state": state}],
        },
    }


def test_unready_pods_are_listed_with_their_reason() -> None:
    pods = [
        pod("good", ready="True"),
        pod("bad", ready="False", waiting={"reason": "ImagePullBackOff", "message": "no such image"}),
    ]
    assert unready_pods(pods) == ["bad on node-1: Pending (no such image)"]


def test_unscheduled_pod_is_listed() -> None:
    unscheduled = {
        "metadata": {"name": "lost"},
        "spec": {},
        "status": {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available"}],
        },
    }
    assert unready_pods([unscheduled]) == ["lost on no node: Pending (0/2 nodes are available)"]


def test_finished_pod_is_not_listed() -> None:
    finished = pod("job", ready="False")
    finished["status"]["phase"] = "Succeeded"
    assert unready_pods([finished]) == []
