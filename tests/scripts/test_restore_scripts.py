"""The scripts of a restore, with fake programs and folders: killed after any command, they can be run again."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.scripts import text

# Does what its name says, and kills the script after the call whose number is in $KILL.
_COUNTED = """#!/bin/sh
case "$*" in
  # In a subshell of the script.
  *' images list '*) echo image; exit ;;
esac
echo "$0 $*" >> "$FAKE/calls"
if [ "${0##*/}" = ctr ]; then
  case "$*" in
    *' run '*)
      work="$FAKE/../etcd/work"
      /bin/mkdir -p "$work/unpacking/data/member"
      cp "$work/etcd.db" "$work/unpacking/data/member/db" ;;
  esac
else
  PATH=/usr/bin:/bin "${0##*/}" "$@"
fi
status=$?
if [ "$(wc -l < "$FAKE/calls")" = "$KILL" ]; then kill -9 $PPID; fi
exit $status
"""


class Machine:
    """Folders for etcd, kubeadm and a restore, and programs that the scripts call."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fake = folder, folder / "fake"
        self.etcd, self.kubernetes = folder / "etcd", folder / "kubernetes"
        self.restore, self.work = folder / "restore", folder / "etcd/work"
        for path in (self.etcd / "member", self.kubernetes / "manifests", self.restore, self.work, self.fake):
            path.mkdir(parents=True)
        (self.etcd / "member/db").write_text("old")
        (self.work / "etcd.db").write_text("new")
        for name in ("mv", "rm", "touch", "mkdir", "sync", "ctr"):
            (self.fake / name).write_text(_COUNTED)
        self.program("systemctl", "exit 0")

    def program(self, name: str, body: str) -> None:
        (self.fake / name).write_text(f"#!/bin/sh\n{body}\n")
        for path in self.fake.iterdir():
            path.chmod(0o755)

    def run(self, name: str, *arguments: object, kill: int = 0, stdin: bytes = b"") -> int:
        (self.fake / "calls").write_text("")
        script = text(name).replace("/var/lib/etcd", str(self.etcd))
        script = script.replace("/etc/kubernetes", str(self.kubernetes))
        return subprocess.run(
            ["sh", "-c", script, name, *map(str, arguments)],
            env={"PATH": f"{self.fake}:/usr/bin:/bin", "FAKE": str(self.fake), "KILL": str(kill)},
            input=stdin,
            capture_output=True,
        ).returncode

    def unpack(self, *option: str, kill: int = 0) -> int:
        saved = self.etcd / "saved/time"
        return self.run(
            *("unpack-snapshot", self.restore, self.work, saved),
            *("image", "cp-1", "https://10.0.0.1:2380", "token", 12345, *option),
            kill=kill,
        )

    @property
    def calls(self) -> int:
        return len((self.fake / "calls").read_text().splitlines())

    def data(self) -> list[str]:
        """Return the data in place, and what was set aside."""
        paths = [self.etcd / "member/db", *sorted(self.etcd.glob("saved/*/member/db"))]
        return [path.read_text() if path.exists() else "" for path in paths]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_snapshot_becomes_the_data_and_the_old_one_is_kept(machine: Machine) -> None:
    assert machine.unpack() == 0
    assert machine.data() == ["new", "old"]
    assert "--bump-revision 12345 --mark-compacted" in (machine.fake / "calls").read_text()
    assert not machine.work.exists() and (machine.restore / "unpacked").exists()


def test_unpacking_is_killed_after_any_command_and_repeated(tmp_path: Path) -> None:
    first = Machine(tmp_path / "first")
    assert first.unpack() == 0
    assert first.calls >= 10
    for number in range(1, first.calls + 1):
        machine = Machine(tmp_path / str(number))
        assert machine.unpack(kill=number) == -9
        assert machine.unpack() == 0, number
        assert machine.data() == ["new", "old"], number


def copied(folder: Path) -> Machine:
    """Return a machine with a database whose etcd has ended."""
    machine = Machine(folder)
    (machine.etcd / "member/snap").mkdir()
    (machine.etcd / "member/snap/db").write_text("own")
    (machine.work / "etcd.db").unlink()
    machine.program("df", "echo Avail; echo 1000")
    return machine


def test_the_own_database_is_copied_and_unpacked_without_a_checksum(tmp_path: Path) -> None:
    machine = copied(tmp_path)
    assert machine.run("copy-database", machine.restore, machine.work) == 0
    assert [path.name for path in machine.work.iterdir()] == ["etcd.db"]
    assert (machine.work / "etcd.db").read_text() == "own"
    assert machine.unpack("--skip-hash-check") == 0
    (made,) = [
        line for line in (machine.fake / "calls").read_text().splitlines() if "snapshot restore" in line
    ]
    assert made.endswith("--mark-compacted --skip-hash-check")
    # In place is the new cluster's now, which has no other source.
    assert machine.run("copy-database", machine.restore, machine.work) == 0
    assert not machine.work.exists()


def test_copying_the_database_is_killed_after_any_command_and_repeated(tmp_path: Path) -> None:
    first = copied(tmp_path / "first")
    assert first.run("copy-database", first.restore, first.work) == 0
    for number in range(1, first.calls + 1):
        machine = copied(tmp_path / str(number))
        assert machine.run("copy-database", machine.restore, machine.work, kill=number) == -9
        assert machine.run("copy-database", machine.restore, machine.work) == 0, number
        assert [(path.name, path.read_text()) for path in machine.work.iterdir()] == [("etcd.db", "own")]


def test_the_database_is_not_copied_to_a_full_disk(tmp_path: Path) -> None:
    machine = copied(tmp_path)
    machine.program("df", "echo Avail; echo 100")
    assert machine.run("copy-database", machine.restore, machine.work) == 1
    assert list(machine.work.iterdir()) == []


def test_what_a_killed_run_has_left_does_not_count_as_used(tmp_path: Path) -> None:
    machine = copied(tmp_path)
    left = machine.work / "unpacking"
    machine.program("df", f"echo Avail; if [ -e {left} ]; then echo 100; else echo 1000; fi")
    left.mkdir()
    assert machine.run("copy-database", machine.restore, machine.work) == 0
    left.mkdir()
    sha256 = hashlib.sha256(b"snapshot").hexdigest()
    assert machine.run("receive-snapshot", machine.work, 8, sha256, stdin=b"snapshot") == 0
    # The container goes first, because it may write there.
    calls = (machine.fake / "calls").read_text().splitlines()
    deleted = next(number for number, line in enumerate(calls) if "containers delete" in line)
    assert deleted < next(number for number, line in enumerate(calls) if line.endswith("/unpacking"))


def test_the_old_data_joins_the_files_that_were_kept(machine: Machine) -> None:
    (machine.etcd / "saved/time/files").mkdir(parents=True)
    assert machine.unpack() == 0
    assert (machine.etcd / "saved/time/member/db").read_text() == "old"


def test_data_that_is_in_place_is_not_replaced_again(machine: Machine) -> None:
    assert machine.unpack() == 0
    (machine.etcd / "member/db").write_text("newer writes")
    machine.work.mkdir()
    (machine.work / "etcd.db").write_text("new")
    assert machine.unpack() == 0
    assert machine.data() == ["newer writes", "old"]


def test_a_record_of_another_restore_lets_it_begin_anew(machine: Machine) -> None:
    (machine.restore / "unpacked").touch()
    assert machine.run("begin-restore", machine.restore, machine.work, "one") == 0
    assert not (machine.restore / "unpacked").exists() and not machine.work.exists()
    (machine.restore / "unpacked").touch()
    assert machine.run("begin-restore", machine.restore, machine.work, "one") == 0
    assert (machine.restore / "unpacked").exists()
    assert (machine.restore / "record").read_text() == "one\n"
    assert machine.run("end-restore", machine.restore, machine.work) == 0
    assert not machine.restore.exists()


def test_nothing_starts_without_data(machine: Machine) -> None:
    aside = machine.restore / "manifests"
    aside.mkdir()
    (aside / "etcd.yaml").write_text("etcd")
    (machine.etcd / "member").rename(machine.etcd / "gone")
    assert machine.run("start-static-pods", aside, "etcd", "kube-apiserver") == 1
    assert not (machine.kubernetes / "manifests/etcd.yaml").exists()
    (machine.etcd / "gone").rename(machine.etcd / "member")
    assert machine.run("start-static-pods", aside, "etcd", "kube-apiserver") == 0
    assert (machine.kubernetes / "manifests/etcd.yaml").exists()


def test_the_kubelet_that_is_to_start_the_pods_does_not_remember_their_failures(machine: Machine) -> None:
    calls = machine.folder / "systemctl"
    machine.program("systemctl", f'echo "$*" >> {calls}')
    (machine.restore / "manifests").mkdir()
    assert machine.run("start-static-pods", machine.restore / "manifests", "etcd") == 0
    assert calls.read_text() == "restart kubelet\n"


def test_manifests_that_kubeadm_made_anew_stay(machine: Machine) -> None:
    aside, new = machine.restore / "manifests", machine.kubernetes / "manifests"
    aside.mkdir()
    for name in ("etcd", "kube-apiserver"):
        (aside / f"{name}.yaml").write_text("of before")
    (new / "etcd.yaml").write_text("of the init")
    assert machine.run("start-static-pods", aside, "etcd", "kube-apiserver") == 0
    assert [(new / f"{name}.yaml").read_text() for name in ("etcd", "kube-apiserver")] == [
        "of the init",
        "of before",
    ]


def test_static_pods_are_stopped_until_none_runs(machine: Machine) -> None:
    (machine.kubernetes / "manifests/etcd.yaml").write_text("etcd")
    machine.program("sleep", "exit 0")
    running = machine.fake / "running"
    running.touch()
    machine.program(
        "crictl",
        f'case "$*" in *" ps "*) if [ -e {running} ]; then echo id; fi ;; *stop*) rm {running} ;; esac',
    )
    assert machine.run("stop-static-pods", machine.restore / "manifests", "etcd", "kube-apiserver") == 0
    assert not running.exists()
    assert (machine.restore / "manifests/etcd.yaml").exists()
    machine.program("crictl", "exit 1")
    assert machine.run("stop-static-pods", machine.restore / "manifests", "etcd", "kube-apiserver") == 1


def test_a_snapshot_that_did_not_arrive_as_a_whole_is_removed(machine: Machine) -> None:
    machine.program("df", "echo Avail; echo 1000")
    sha256 = hashlib.sha256(b"snapshot").hexdigest()
    assert machine.run("receive-snapshot", machine.work, 8, sha256, stdin=b"snap") == 1
    assert list(machine.work.iterdir()) == []
    assert machine.run("receive-snapshot", machine.work, 8, sha256, stdin=b"snapshot") == 0
    assert (machine.work / "etcd.db").read_bytes() == b"snapshot"
    machine.program("df", "echo Avail; echo 100")
    assert machine.run("receive-snapshot", machine.work, 8, sha256, stdin=b"snapshot") == 1


def test_files_that_are_replaced_are_kept_once(machine: Machine) -> None:
    path = machine.folder / "policy.yaml"
    path.write_text("before")
    kept = machine.folder / "kept"
    assert machine.run("keep-files", kept, path, machine.folder / "missing") == 0
    path.write_text("of the backup")
    assert machine.run("keep-files", kept, path) == 0
    assert Path(f"{kept}{path}").read_text() == "before"


def test_a_copy_that_was_cut_off_is_made_again(machine: Machine) -> None:
    path, kept = machine.folder / "policy.yaml", machine.folder / "kept"
    path.write_text("before")
    machine.program("cp", 'printf bef > "$3"; kill -9 $PPID')
    assert machine.run("keep-files", kept, path) == -9
    (machine.fake / "cp").unlink()
    assert machine.run("keep-files", kept, path) == 0
    assert [(file.name, file.read_text()) for file in Path(f"{kept}{path}").parent.iterdir()] == [
        ("policy.yaml", "before")
    ]


@pytest.mark.parametrize(("installed", "code"), [(False, 0), (True, 1)])
def test_only_an_installed_containerd_has_to_start_before_a_machine_is_cleaned(
    tmp_path: Path, installed: bool, code: int
) -> None:
    # Only the beginning: the rest is not for the machine of the tests.
    beginning, found, _ = text("clean-machine").partition("systemctl stop kubelet")
    assert found and "rm " not in beginning.rpartition("set -eu")[2]
    for name in ("systemctl", *(["ctr"] if installed else [])):
        (tmp_path / name).write_text("#!/bin/sh\nexit 5\n")
        (tmp_path / name).chmod(0o755)
    for name in ("readlink", "cat"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = subprocess.run(
        ["/bin/sh", "-c", beginning, "clean-machine"], env={"PATH": str(tmp_path)}, capture_output=True
    )
    assert done.returncode == code, done.stderr
