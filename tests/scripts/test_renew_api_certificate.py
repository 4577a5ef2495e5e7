"""The script that makes the API server's certificate anew, with a fake kubeadm, and a folder instead of kubeadm's."""

import base64
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kubeadm_deploys.scripts import text

_KUBEADM = """#!/bin/sh
echo new > "$FAKE/../kubernetes/tmp/pki/apiserver.key"
echo new > "$FAKE/../kubernetes/tmp/pki/apiserver.crt"
touch "$FAKE/called"
if [ -e "$FAKE/waits" ]; then exec sleep 10; fi
"""

_MV = """#!/bin/sh
/bin/mv "$@"
echo >> "$FAKE/calls"
if [ "$(wc -l < "$FAKE/calls")" = "$KILL" ]; then kill -9 $PPID; fi
"""


class Machine:
    """Folders of certificates, and programs that the script calls."""

    def __init__(self, folder: Path) -> None:
        self.fake, self.kubernetes = folder / "fake", folder / "kubernetes"
        self.pki, self.new = self.kubernetes / "pki", self.kubernetes / "tmp/pki"
        self.pki.mkdir(parents=True)
        self.fake.mkdir()
        for name in ("ca.crt", "ca.key", "apiserver.crt", "apiserver.key"):
            (self.pki / name).write_text("old\n")
        for name, program in {"kubeadm": _KUBEADM, "mv": _MV, "sync": "#!/bin/sh\n"}.items():
            (self.fake / name).write_text(program)
            (self.fake / name).chmod(0o755)

    def start(self, *, kill: int = 0, end: str = "end\n") -> subprocess.Popen[str]:
        script = text("renew-api-certificate").replace("/etc/kubernetes", str(self.kubernetes))
        process = subprocess.Popen(
            ["sh", "-c", script, "renew-api-certificate", str(self.new)],
            env={"PATH": f"{self.fake}:/usr/bin:/bin", "FAKE": str(self.fake), "KILL": str(kill)},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(f"{base64.b64encode(b'documents').decode()}\n{end}")
        process.stdin.close()
        return process

    def pair(self) -> tuple[str, str]:
        return (self.pki / "apiserver.key").read_text(), (self.pki / "apiserver.crt").read_text()

    def is_clean(self) -> bool:
        return not self.new.exists() and len(list(self.pki.iterdir())) == 4


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_key_and_certificate_are_new_and_nothing_else_stays(machine: Machine) -> None:
    assert machine.start().wait() == 0
    assert machine.pair() == ("new\n", "new\n") and machine.is_clean()
    assert (machine.pki / "apiserver.crt").stat().st_mode & 0o777 == 0o644
    assert (machine.pki / "apiserver.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kill", [1, 2, 3, 4])
def test_key_and_certificate_match_wherever_it_is_killed_and_it_can_be_repeated(
    machine: Machine, kill: int
) -> None:
    machine.start(kill=kill).wait()
    assert machine.pair() in (("old\n", "old\n"), ("new\n", "new\n"))
    assert machine.start().wait() == 0
    assert machine.pair() == ("new\n", "new\n") and machine.is_clean()


def test_what_a_power_cut_leaves_between_the_two_renames_is_finished(machine: Machine) -> None:
    """kill -9 ends the script there: the fake mv moves one file at a time, and the power goes after the key."""
    (machine.fake / "mv").write_text(
        """#!/bin/sh
case "$*" in
  *kubeadm-deploys-new/apiserver.key*pki/) /bin/mv --force "$2" "$4"; kill -9 $PPID ;;
  *) /bin/mv "$@" ;;
esac
"""
    )
    machine.start().wait()
    assert machine.pair() == ("new\n", "old\n")
    script = text("finish-api-certificate").replace("/etc/kubernetes", str(machine.kubernetes))
    (machine.fake / "systemctl").write_text("#!/bin/sh\n")
    (machine.fake / "systemctl").chmod(0o755)
    environment = {"PATH": f"{machine.fake}:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", script], env=environment, check=True)
    assert machine.pair() == ("new\n", "new\n")
    assert not (machine.pki / "kubeadm-deploys-new").exists()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM])
def test_a_signal_leaves_no_copy_of_the_key_of_the_ca(machine: Machine, number: int) -> None:
    (machine.fake / "waits").touch()
    process = machine.start()
    while not (machine.fake / "called").exists():
        time.sleep(0.01)
    assert (machine.new / "ca.key").exists()
    process.send_signal(number)
    subprocess.run(["pkill", "--parent", str(process.pid)], check=False)
    process.wait()
    assert machine.pair() == ("old\n", "old\n") and machine.is_clean()


def test_documents_that_did_not_arrive_change_nothing(machine: Machine) -> None:
    process = machine.start(end="")
    assert process.wait() == 1
    assert machine.pair() == ("old\n", "old\n") and not (machine.fake / "called").exists()
