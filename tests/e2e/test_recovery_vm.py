"""The sections of the machine itself in a real virtual machine, whose kernel and swap are its own, and its reboot."""

import pprint
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import inventories
from tests.e2e.conftest import Run, docker_hosts, run_command
from tests.e2e.room import places, room
from tests.lab import mirror, vm

SECTIONS = ("bridged_traffic", "swap", "container_runtime")
MODULES = {"overlay", "br_netfilter"}
SYSCTLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward")

DEPLOY = """
from pyinfra import host
from kubeadm_deploys import configure_bridged_traffic, disable_swap, install_container_runtime
from kubeadm_deploys.entry import options_from_data

options = options_from_data(host.data.dict())
configure_bridged_traffic()
disable_swap(options=options)
install_container_runtime(options=options)
"""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What the machine's kernel has at one moment."""

    swaps: frozenset[str]
    modules: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A user's folder with an inventory of the one machine, and a deploy of three sections."""

    folder: Path
    machine: vm.VirtualMachine

    def create(self) -> None:
        data = {**self.machine.data, **mirror.settings()}
        (self.folder / "inventory.py").write_text(f"control_plane = [('vm', {pprint.pformat(data)})]\n")
        (self.folder / "machine.py").write_text(DEPLOY)

    def run(self) -> Run:
        """Run the deploy, and demand success."""
        run = run_command("-y", "--json", "inventory.py", "machine.py", folder=self.folder)
        assert run.exit_code == 0, run.output
        return run

    def verify(self) -> Run:
        """Run the sections' verification suites over SSH."""
        return run_command(
            *(
                "-m",
                "pytest",
                "--pyargs",
                *(f"kubeadm_deploys.verification.test_{name}" for name in SECTIONS),
            ),
            *("-p", "no:cacheprovider", "--inventory", "inventory.py"),
            folder=self.folder,
            program=(sys.executable,),
        )

    def kernel(self) -> Kernel:
        """Look at swap and modules."""
        swaps = self.machine.shell("tail -n +2 /proc/swaps").splitlines()
        modules = self.machine.shell("cat /proc/modules").splitlines()
        return Kernel(
            swaps=frozenset(line.split()[0] for line in swaps),
            modules=frozenset(line.split()[0] for line in modules),
        )


@dataclass(frozen=True, kw_only=True)
class Converged:
    """A project after its first run, and what kernel and verification said before."""

    project: Project
    before: Kernel
    verified_before: Run


@pytest.fixture(scope="module")
def converged(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converged]:
    """A machine with swap on and modules unloaded, and one run on it."""
    folder = tmp_path_factory.mktemp("vm")
    # Its two emulated processors keep the machine as busy as a small cluster does.
    with room(places(control_planes=1, workers=1)), vm.running(name="e2e-sections", folder=folder) as machine:
        project = Project(folder=folder, machine=machine)
        project.create()
        before, verified_before = project.kernel(), project.verify()
        project.run()
        yield Converged(project=project, before=before, verified_before=verified_before)


@pytest.fixture(scope="module")
def restarted(converged: Converged) -> Project:
    """The machine after a reboot, and no run since."""
    converged.project.machine.reboot()
    return converged.project


def test_swap_is_turned_off_and_modules_are_loaded(converged: Converged) -> None:
    assert converged.before.swaps == {"/dev/vda2", "/swap-file"}, "without swap the test would prove nothing"
    assert not converged.before.modules & MODULES, "with its modules loaded the test would prove nothing"
    after = converged.project.kernel()
    assert not after.swaps
    assert after.modules >= MODULES


@pytest.mark.parametrize(
    "check",
    ["br_netfilter_works", "no_swap_is_in_use", "fstab_has_no_swap", "no_unit_brings_swap_back"],
)
def test_the_verification_sees_what_the_sections_had_to_do(converged: Converged, check: str) -> None:
    assert f"::test_{check}[vm]" in converged.verified_before.output.partition("short test summary")[2]


def test_a_second_run_changes_nothing(converged: Converged) -> None:
    assert converged.project.run().changed == []


def test_everything_comes_back_after_a_reboot_without_a_run(restarted: Project) -> None:
    kernel = restarted.kernel()
    assert not kernel.swaps
    assert kernel.modules >= MODULES
    assert restarted.machine.shell(f"sysctl --values {' '.join(SYSCTLS)}").split() == ["1", "1", "1"]
    assert "Server:" in restarted.machine.shell("ctr version")


def test_the_verification_passes_after_a_reboot(restarted: Project) -> None:
    verified = restarted.verify()
    assert verified.exit_code == 0, verified.output
    assert "skipped" not in verified.output, verified.output


def test_a_run_after_a_reboot_changes_nothing(restarted: Project) -> None:
    assert restarted.run().changed == []


def test_a_clock_that_is_off_by_a_day_stops_a_run_before_anything_is_changed(restarted: Project) -> None:
    """Containers have this machine's clock, so that only a virtual machine can have another one than they."""
    folder, machine = restarted.folder, restarted.machine
    with docker_hosts("clock", folder=folder, workers=0, takes=0, debian=(13,)) as cluster:
        # The options of a cluster are those of all its hosts.
        data = {**cluster.hosts[0].data, "node_name": machine.name, **machine.data}
        inventory = inventories.with_worker(folder, name=machine.name, data=data)
        machine.shell("date --set '+1 day'")
        try:
            run = cluster.pyinfra("-y", inventory=inventory)
        finally:
            machine.shell("date --set '-1 day'")
        assert run.exit_code == 1, run.output
        assert "clock" in run.output
        assert re.search(r"86(3[89]\d|400) s ahead of", run.output)
        assert "no changes were made" in run.output
        assert cluster.shell(cluster.control_plane, "ls /usr/local/bin") == ""
