"""The script that exchanges kube-proxy's configuration and pods, with a fake kubectl in front of a fake DaemonSet."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.scripts import text
from kubeadm_deploys.sections.kube_proxy_reconfiguration import UNFINISHED, is_as_before, roll_input

# Pods are replaced with each request, one by one; what a pod read at its start is its configuration. One with "crashes"
# in it ends again and again, and so does every pod on the node in "broken". "killed after" ends the script.
_KUBECTL = """#!@python
import json, os, signal, sys
path = os.environ["FAKE"] + "/state.json"
state = json.load(open(path))
words = sys.argv[1:]
verb = next(word for word in words if word in ("get", "patch", "logs"))
kind = words[words.index(verb) + 1]

def save():
    json.dump(state, open(path, "w"))

def crashes(pod):
    return "crashes" in pod["configuration"] or pod["node"] == state["broken"]

def print_pods():
    for pod in state["pods"]:
        # Without a probe, a pod that ends again and again is ready in between.
        print(pod["name"], pod["node"], "True", 3 if crashes(pod) else 0)

if verb == "patch":
    if kind == "configmap" and state["patches"] and state["refuses back"]:
        sys.exit("the API server refuses")
    state["patches"].append(kind)
    if kind == "configmap" and "--patch" in words and state["refuses end"]:
        sys.exit("the API server refuses")
    if kind == "configmap" and "--patch" in words:
        (state["unfinished"],) = json.loads(words[words.index("--patch") + 1])["metadata"]["annotations"].values()
    elif kind == "configmap":
        patch = json.load(open(words[words.index("--patch-file") + 1]))
        (state["unfinished"],) = patch["metadata"]["annotations"].values()
        state["configuration"] = patch["data"]["config.conf"]
    else:
        spec = json.loads(words[words.index("--patch") + 1])["spec"]
        assert spec["minReadySeconds"] > 0
        (state["annotation"],) = spec["template"]["metadata"]["annotations"].values()
        state["looks"] = 0
    save()
    if state["killed after"] == len(state["patches"]):
        os.kill(os.getppid(), signal.SIGKILL)
elif verb == "get" and kind == "configmap":
    print(state["unfinished"] or "", state["configuration"], sep="|")
elif verb == "get" and kind == "pods":
    print_pods()
elif verb == "get" and "metadata.generation" in words[-1]:
    old = [pod for pod in state["pods"] if pod["annotation"] != state["annotation"]]
    down = [pod for pod in state["pods"] if crashes(pod)]
    # One pod is replaced at a time, and not at once; one that does not run goes first.
    first = [pod for pod in down if pod in old] or ([] if down else old)
    state["looks"] += 1
    for pod in first[: state["looks"] > 1]:
        pod["name"] += "+"
        pod |= {"annotation": state["annotation"], "configuration": state["configuration"]}
        state["replaced"].append(pod["node"])
    save()
    new = sum(pod["annotation"] == state["annotation"] for pod in state["pods"])
    available = sum(not crashes(pod) for pod in state["pods"])
    print(f"1|1|{len(state['pods'])}|{new or ''}|{available or ''}")
elif verb == "get" and kind == "daemonset":
    print(state["annotation"] or "", end="")
elif verb == "logs":
    # As on a real machine, the kubelet answers for a deleted container, too, and the one that starts has said nothing yet.
    state["silent"] -= 1
    save()
    if state["silent"] < 0:
        print("unknown mode" if "--previous" in words else "")
    elif "--previous" in words:
        print("unable to retrieve container logs for containerd://73bee2")
"""
OLD, NEW, WRONG = "mode: iptables\n", "mode: nftables\n", "mode: crashes\n"


class Proxies:
    """A ConfigMap and a DaemonSet with a pod on each of three nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "kubectl").write_text(_KUBECTL.replace("@python", sys.executable))
        (folder / "kubectl").chmod(0o755)
        (folder / "sleep").write_text("#!/bin/sh\n")
        (folder / "sleep").chmod(0o755)
        names = ("node-1", "node-2", "node-3")
        pods = [
            {"name": f"p-{name}", "node": name, "annotation": None, "configuration": OLD} for name in names
        ]
        self.state: dict[str, Any] = {
            "configuration": OLD,
            "unfinished": None,
            "annotation": None,
            "pods": pods,
            "broken": "",
            "looks": 0,
        }
        refuses = {"refuses back": False, "refuses end": False, "silent": 0}
        self.write(**{"killed after": 0, "patches": [], "replaced": [], **refuses})

    def write(self, **changes: Any) -> None:
        self.state |= changes
        (self.folder / "state.json").write_text(json.dumps(self.state))

    def roll(self, old: str, new: str, *, end: str = "end\n") -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", text("roll-kube-proxy"), "roll-kube-proxy", "5", UNFINISHED],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "FAKE": str(self.folder)},
            input=roll_input(old, new).removesuffix("end\n") + end,
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.state = json.loads((self.folder / "state.json").read_text())
        return done.returncode, done.stdout + done.stderr

    @property
    def runs(self) -> set[str]:
        """The configurations with which the pods run."""
        return {pod["configuration"] for pod in self.state["pods"]}


@pytest.fixture
def proxies(tmp_path: Path) -> Proxies:
    return Proxies(tmp_path)


def test_every_pod_gets_the_new_configuration_once(proxies: Proxies) -> None:
    assert proxies.roll(OLD, NEW) == (0, "")
    assert (proxies.state["configuration"], proxies.runs) == (NEW, {NEW})
    assert proxies.state["replaced"] == ["node-1", "node-2", "node-3"]
    # What is done already is not done again.
    assert proxies.state["unfinished"] is None
    proxies.write(replaced=[])
    assert proxies.roll(NEW, NEW) == (0, "") and proxies.state["replaced"] == []


def test_the_first_pod_that_does_not_run_ends_it_and_the_others_are_not_touched(proxies: Proxies) -> None:
    code, said = proxies.roll(OLD, WRONG)
    assert code == 1 and "node-1" in said and "unknown mode" in said, said
    assert "old configuration was put back, and kube-proxy runs on every node again" in said
    assert is_as_before(said)
    assert (proxies.state["configuration"], proxies.runs) == (OLD, {OLD})
    assert (proxies.state["annotation"], proxies.state["unfinished"]) == (None, None)
    assert set(proxies.state["replaced"]) == {"node-1"}


def test_the_last_words_of_a_container_that_is_deleted_are_waited_for(proxies: Proxies) -> None:
    proxies.write(silent=4)
    code, said = proxies.roll(OLD, WRONG)
    assert code == 1 and "unknown mode" in said and "unable to retrieve" not in said, said
    assert is_as_before(said)


def test_an_old_configuration_that_is_not_put_back_is_not_said_to_be(proxies: Proxies) -> None:
    proxies.write(**{"refuses back": True})
    code, said = proxies.roll(OLD, WRONG)
    assert code == 1 and "could not be put back" in said and "was put back" not in said, said
    assert not is_as_before(said)
    assert (proxies.state["configuration"], proxies.state["unfinished"]) == (WRONG, "true")


def test_a_good_configuration_stays_if_only_its_end_cannot_be_stored(proxies: Proxies) -> None:
    proxies.write(**{"refuses end": True})
    code, said = proxies.roll(OLD, NEW)
    assert code == 1 and "every kube-proxy runs with it" in said and not is_as_before(said), said
    assert (proxies.state["configuration"], proxies.runs) == (NEW, {NEW})
    proxies.write(**{"refuses end": False, "replaced": []})
    assert proxies.roll(NEW, NEW) == (0, "")
    assert (proxies.state["unfinished"], proxies.state["replaced"]) == (None, [])


@pytest.mark.parametrize("patches", [1, 2, 3])
def test_a_change_that_is_killed_can_go_on_or_be_taken_back(proxies: Proxies, patches: int) -> None:
    for wanted in (NEW, OLD):
        found = proxies.state["configuration"]
        proxies.write(**{"killed after": patches, "patches": []})
        proxies.roll(found, NEW if wanted == OLD else OLD + "# other\n")
        proxies.write(**{"killed after": 0})
        assert proxies.roll(proxies.state["configuration"], wanted)[0] == 0
        assert (proxies.state["configuration"], proxies.runs) == (wanted, {wanted})
        assert proxies.state["unfinished"] is None


def test_a_pod_that_does_not_run_before_stops_the_change(proxies: Proxies) -> None:
    proxies.write(broken="node-2")
    code, said = proxies.roll(OLD, NEW)
    assert code == 1 and "node-2" in said and is_as_before(said)
    assert proxies.state["patches"] == []


def test_what_an_earlier_run_broke_is_corrected(proxies: Proxies) -> None:
    proxies.write(**{"killed after": 2})
    proxies.roll(OLD, WRONG)
    proxies.write(**{"killed after": 0})
    proxies.state["pods"][0] |= {"configuration": WRONG, "annotation": proxies.state["annotation"]}
    proxies.write()
    assert proxies.roll(WRONG, NEW) == (0, "")
    assert proxies.runs == {NEW}
    # What ends after that has nothing to do with this change.
    proxies.write(broken="node-2", patches=[])
    code, said = proxies.roll(NEW, OLD)
    assert code == 1 and "node-2" in said and proxies.state["patches"] == []


def test_what_was_recorded_and_never_begun_changes_nothing_when_it_is_taken_back(proxies: Proxies) -> None:
    proxies.write(broken="node-2")
    assert proxies.roll(OLD, OLD) == (0, "")
    assert proxies.state["patches"] == []


def test_a_configuration_that_was_changed_meanwhile_stays(proxies: Proxies) -> None:
    code, said = proxies.roll("mode: ipvs\n", NEW)
    assert code == 1 and "changed meanwhile" in said and is_as_before(said) and proxies.state["patches"] == []


def test_input_that_did_not_arrive_changes_nothing(proxies: Proxies) -> None:
    code, said = proxies.roll(OLD, NEW, end="")
    assert code == 1 and is_as_before(said)
    assert proxies.state["patches"] == []
