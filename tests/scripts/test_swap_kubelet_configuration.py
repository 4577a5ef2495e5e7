"""The script that exchanges a kubelet's configuration, with a fake systemctl, and a folder instead of the kubelet's."""

import base64
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.scripts import text

# Logs what a kubelet would find with each stop and start. One with "wrong" in its configuration ends again and again.
_SYSTEMCTL = """#!/bin/sh
case "$*" in
  *NRestarts*) if grep -q wrong "$FAKE/config.yaml"; then echo 2; else echo 0; fi ;;
  *MainPID*) echo 7 ;;
  *)
    state=
    if [ -e "$FAKE/cpu_manager_state" ]; then state=' with state'; fi
    echo "$1 $(cat "$FAKE/config.yaml")$state" >> "$FAKE/log"
    # A kubelet that runs writes its state.
    if [ "$1" = restart ]; then echo of > "$FAKE/cpu_manager_state"; fi ;;
esac
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

    def swap(self, new: str, *files: Path) -> tuple[int, str]:
        script = text("swap-kubelet-configuration").replace("/var/lib/kubelet", str(self.folder))
        done = subprocess.run(
            ["sh", "-c", script, "swap-kubelet-configuration", "30", *map(str, files)],
            env={"PATH": f"{self.folder}:/usr/bin:/bin", "FAKE": str(self.folder)},
            input=f"{base64.b64encode(new.encode()).decode()}\nend\n",
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture
def kubelet(tmp_path: Path) -> Kubelet:
    return Kubelet(tmp_path)


def test_without_files_the_kubelet_only_restarts(kubelet: Kubelet) -> None:
    assert kubelet.swap("new") == (0, "")
    assert kubelet.log == ["restart new with state"]


def test_the_files_go_while_no_kubelet_runs_and_before_the_configuration_comes(kubelet: Kubelet) -> None:
    assert kubelet.swap("new", kubelet.state, kubelet.folder / "memory_manager_state") == (0, "")
    assert kubelet.log == ["stop old with state", "restart new"]


def test_the_old_configuration_comes_back_without_the_files_of_the_new_one(kubelet: Kubelet) -> None:
    code, said = kubelet.swap("wrong", kubelet.state)
    assert code == 1 and "the old configuration was put back, and the kubelet runs again" in said
    assert kubelet.log == ["stop old with state", "restart wrong", "stop wrong with state", "restart old"]
