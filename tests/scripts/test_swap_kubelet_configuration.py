"""Whether a kubelet runs, and the script that exchanges its configuration, with a fake systemctl and another folder."""

import base64
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.scripts import text
from kubeadm_deploys.sections import kube_packages

# Logs what a kubelet would find with each stop and start. One with "wrong" in its configuration ends again and again.
_SYSTEMCTL = """#!/bin/sh
case "$*" in
  *NRestarts*)
    if grep -q wrong "$FAKE/config.yaml"; then echo again >> "$FAKE/restarts"; fi
    cat "$FAKE/restarts" 2>/dev/null | wc -l ;;
  *MainPID*) echo 7 ;;
  daemon-reload) : > "$FAKE/units-read" ;;
  *)
    state=
    if [ -e "$FAKE/cpu_manager_state" ]; then state=' with state'; fi
    echo "$1 $(cat "$FAKE/config.yaml")$state" >> "$FAKE/log"
    # A kubelet that runs writes its state.
    if [ "$1" = restart ]; then echo of > "$FAKE/cpu_manager_state"; fi ;;
esac
"""

# Ends the script once it has put in the new configuration.
_MV = """#!/bin/sh
/bin/mv "$@"
case "$*" in *config.yaml) rm "$FAKE/mv"; kill -KILL $PPID ;; esac
"""


class Kubelet:
    """A kubelet's folder, and the programs that the script calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.yaml").write_text("old")
        self.state = folder / "cpu_manager_state"
        self.state.write_text("of old")
        programs = {
            "systemctl": _SYSTEMCTL,
            "curl": "#!/bin/sh\nprintf ok\n",
            "journalctl": "#!/bin/sh\necho error\n",
        }
        for name, program in {**programs, "sync": "#!/bin/sh\n"}.items():
            (folder / name).write_text(program)
            (folder / name).chmod(0o755)

    def swap(self, new: str, *files: Path, file: str = "config.yaml") -> tuple[int, str]:
        return self._run(
            "swap-kubelet-configuration",
            str(self.folder / file),
            "30",
            *map(str, files),
            stdin=f"{base64.b64encode(new.encode()).decode()}\nend\n",
        )

    def settle(self) -> tuple[int, str]:
        files = [str(self.folder / name) for name in ("config.yaml", "own.conf")]
        return self._run("settle-kubelet-configuration", "30", *files)

    def power_cut(self) -> None:
        """End the next script when it has put in the new configuration."""
        (self.folder / "mv").write_text(_MV)
        (self.folder / "mv").chmod(0o755)

    def _run(self, name: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", text(name).replace("/var/lib/kubelet", str(self.folder)), name, *arguments],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "FAKE": str(self.folder)},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    def is_well(self) -> bool:
        """Return whether it counts as running after a restart, with a clock on which every look takes five seconds."""
        date = '#!/bin/sh\necho 5 >> "$FAKE/clock"\necho $(($(wc -l < "$FAKE/clock") * 5))\n'
        for name, program in {"date": date, "sleep": "#!/bin/sh\n"}.items():
            (self.folder / name).write_text(program)
            (self.folder / name).chmod(0o755)
        check = kube_packages._KUBELET_IS_WELL.replace("/var/lib/kubelet", str(self.folder))
        environment = {"PATH": f"{self.folder}:/usr/bin:/bin", "FAKE": str(self.folder)}
        return subprocess.run(["sh", "-c", check], env=environment, timeout=60).returncode == 0

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture
def kubelet(tmp_path: Path) -> Kubelet:
    return Kubelet(tmp_path)


def test_without_files_the_kubelet_only_restarts(kubelet: Kubelet) -> None:
    assert kubelet.swap("new") == (0, "")
    assert kubelet.log == ["restart new with state"]


def test_another_file_is_exchanged_with_the_units_that_are_there_now(kubelet: Kubelet) -> None:
    own = kubelet.folder / "own.conf"
    own.write_text("before")
    assert kubelet.swap("new", file="own.conf") == (0, "")
    assert (own.read_text(), left(kubelet)) == ("new", ("old", []))
    assert (kubelet.folder / "units-read").exists()
    # One that was cut off is ended, whichever file it was.
    (kubelet.folder / "own.conf.kubeadm-deploys-old").write_text("before")
    (kubelet.folder / "config.yaml").write_text("wrong because of own.conf")
    assert kubelet.settle()[0] == 1 and own.read_text() == "before"


def test_the_files_go_while_no_kubelet_runs_and_before_the_configuration_comes(kubelet: Kubelet) -> None:
    assert kubelet.swap("new", kubelet.state, kubelet.folder / "memory_manager_state") == (0, "")
    assert kubelet.log == ["stop old with state", "restart new"]


def test_the_old_configuration_comes_back_without_the_files_of_the_new_one(kubelet: Kubelet) -> None:
    code, said = kubelet.swap("wrong", kubelet.state)
    assert code == 1 and "the old configuration was put back, and the kubelet runs again" in said
    assert kubelet.log == ["stop old with state", "restart wrong", "stop wrong with state", "restart old"]


@pytest.mark.parametrize(
    ("configuration", "answers_at", "is_well"),
    [
        ("healthzPort: 10248", 10248, True),
        ("healthzPort: 10300", 10300, True),
        # There is no health to ask for, or not at this address.
        ("healthzPort: 0", None, True),
        ("healthzBindAddress: 10.0.0.11", None, True),
        # It ends again and again.
        ("healthzPort: 0\nwrong: true", None, False),
        ("wrong: true", None, False),
    ],
)
def test_a_kubelet_runs_if_it_is_healthy_or_lasts(
    kubelet: Kubelet, configuration: str, answers_at: int | None, is_well: bool
) -> None:
    (kubelet.folder / "config.yaml").write_text(f"{configuration}\n")
    curl = f"#!/bin/sh\ncase $* in *127.0.0.1:{answers_at}/healthz) printf ok ;; *) exit 7 ;; esac\n"
    (kubelet.folder / "curl").write_text(curl)
    assert kubelet.is_well() == is_well


def test_restarts_of_the_kubelet_before_do_not_count(kubelet: Kubelet) -> None:
    (kubelet.folder / "restarts").write_text("again\n" * 3)
    assert kubelet.is_well()


def left(kubelet: Kubelet) -> tuple[str, list[str]]:
    """Return the configuration, and what is left of its change."""
    names = sorted(path.name for path in kubelet.folder.glob("config.yaml.*"))
    return (kubelet.folder / "config.yaml").read_text(), names


@pytest.mark.parametrize("drained", [False, True])
def test_a_wrong_configuration_of_a_change_that_was_cut_off_is_taken_back(
    kubelet: Kubelet, drained: bool
) -> None:
    kubelet.power_cut()
    kubelet.swap("wrong", *([kubelet.state] if drained else []))
    assert left(kubelet)[0] == "wrong"
    # The machine boots, and its kubelet fails.
    kubelet.state.write_text("of wrong")
    (kubelet.folder / "log").unlink(missing_ok=True)
    # No other change takes the failing configuration for the old one.
    code, said = kubelet.swap("new")
    assert code == 1 and "nothing was changed" in said
    assert kubelet.settle()[0] == 0
    ends = ["stop wrong with state", "restart old"] if drained else ["restart old with state"]
    assert kubelet.log == ["restart wrong with state", *ends]
    assert left(kubelet) == ("old", [])
    assert kubelet.swap("new")[0] == 0


def test_a_configuration_with_which_the_kubelet_runs_stays(kubelet: Kubelet) -> None:
    kubelet.power_cut()
    kubelet.swap("new")
    assert kubelet.settle() == (0, "") and left(kubelet) == ("new", [])
    log = kubelet.log
    # There is nothing left to do.
    assert kubelet.settle() == (0, "") and kubelet.log == log
