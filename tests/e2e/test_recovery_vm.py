"""The sections that change kernel and swap, on a real virtual machine.

`make chaos` also reboots it: without hardware virtualization a boot takes minutes of both processors.
"""

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
FAIL_BEFORE = ("br_netfilter_works", "no_swap_is_in_use", "fstab_has_no_swap", "no_unit_brings_swap_back")
"""Checks of the verification that fail on the bare machine."""
SYSCTLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward")

DEPLOY = """
from pyinfra import host
from kubeadm_deploys import configure_bridged_traffic, disable_swap, install_container_runtime
from kubeadm_deploys.inventory.data import options_from_data

options = options_from_data(host.data.dict())
configure_bridged_traffic()
disable_swap(options=options)
install_container_runtime(options=options)
"""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Swap and modules of the machine's kernel at one moment."""

    swaps: frozenset[str]
    modules: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A user's folder with an inventory of the machine, and a deploy of three sections."""

    folder: Path
    machine: vm.VirtualMachine

    def create(self) -> None:
        data = {**self.machine.data, **mirror.settings()}
        (self.folder / "inventory.py").write_text(f"control_plane = [('vm', {pprint.pformat(data)})]\n")
        (self.folder / "machine.py").write_text(DEPLOY)

    def run(self) -> Run:
        """Run the deploy, and assert success."""
        run = run_command("-y", "--json", "inventory.py", "machine.py", folder=self.folder)
        assert run.exit_code == 0, run.output
        return run

    def verify(self, *arguments: str) -> Run:
        """Run the sections' verification suites over SSH."""
        return run_command(
            *(
                "-m",
                "pytest",
                "--pyargs",
                *(f"kubeadm_deploys.verification.test_{name}" for name in SECTIONS),
            ),
            *("-p", "no:cacheprovider", "--inventory", "inventory.py", *arguments),
            folder=self.folder,
            program=(sys.executable,),
        )

    def kernel(self) -> Kernel:
        """Read swap and modules."""
        swaps = self.machine.shell("tail -n +2 /proc/swaps").splitlines()
        modules = self.machine.shell("cat /proc/modules").splitlines()
        return Kernel(
            swaps=frozenset(line.split()[0] for line in swaps),
            modules=frozenset(line.split()[0] for line in modules),
        )


@dataclass(frozen=True, kw_only=True)
class Converged:
    """A project after its first run, and the results of kernel and verification before it."""

    project: Project
    before: Kernel
    verified_before: Run


@pytest.fixture(scope="module")
def converged(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converged]:
    """Start a machine with swap on and modules unloaded, and run the deploy once."""
    folder = tmp_path_factory.mktemp("vm")
    # Its two emulated processors cause as much load as a small cluster.
    with room(places(control_planes=1, workers=1)), vm.running(name="e2e-sections", folder=folder) as machine:
        project = Project(folder=folder, machine=machine)
        project.create()
        before, verified_before = project.kernel(), project.verify("-k", " or ".join(FAIL_BEFORE))
        project.run()
        yield Converged(project=project, before=before, verified_before=verified_before)


@pytest.fixture(scope="module")
def restarted(converged: Converged) -> Project:
    """Reboot the machine; there is no run afterwards."""
    converged.project.machine.reboot()
    return converged.project


def test_swap_is_turned_off_and_modules_are_loaded(converged: Converged) -> None:
    assert converged.before.swaps == {"/dev/vda2", "/swap-file"}, "without swap the test would prove nothing"
    assert not converged.before.modules & MODULES, "with its modules loaded the test would prove nothing"
    after = converged.project.kernel()
    assert not after.swaps
    assert after.modules >= MODULES


@pytest.mark.parametrize("check", FAIL_BEFORE)
def test_the_verification_fails_before_the_first_run(converged: Converged, check: str) -> None:
    assert f"::test_{check}[vm]" in converged.verified_before.output.partition("short test summary")[2]


def test_the_verification_passes_after_one_run(converged: Converged) -> None:
    assert_all_passed(converged.project.verify())


def test_a_second_run_changes_nothing(converged: Converged) -> None:
    assert converged.project.run().changed == []


def test_a_clock_that_is_a_day_ahead_stops_a_run_before_any_change(
    converged: Converged,
) -> None:
    """Containers share this machine's clock; only a virtual machine can have a different one."""
    folder, machine = converged.project.folder, converged.project.machine
    with docker_hosts("clock", folder=folder, workers=0, takes=0, debian=(13,)) as cluster:
        # All hosts of a cluster must have the same options.
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


@pytest.mark.chaos
def test_everything_works_without_a_run_after_a_reboot(restarted: Project) -> None:
    kernel = restarted.kernel()
    assert not kernel.swaps
    assert kernel.modules >= MODULES
    assert restarted.machine.shell(f"sysctl --values {' '.join(SYSCTLS)}").split() == ["1", "1", "1"]
    assert "Server:" in restarted.machine.shell("ctr version")


@pytest.mark.chaos
def test_the_verification_passes_after_a_reboot(restarted: Project) -> None:
    assert_all_passed(restarted.verify())


@pytest.mark.chaos
def test_a_run_after_a_reboot_changes_nothing(restarted: Project) -> None:
    assert restarted.run().changed == []


def assert_all_passed(verified: Run) -> None:
    """Assert that the verification passed and skipped nothing."""
    assert verified.exit_code == 0, verified.output
    assert "skipped" not in verified.output, verified.output
