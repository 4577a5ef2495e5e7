"""Swap is off, now and after a reboot, unless the inventory sets ``swap`` to ``keep``."""

import pytest

from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import Answers

COMMANDS = {
    "swaps": "cat /proc/swaps",
    "fstab": "test ! -e /etc/fstab || cat /etc/fstab",
    "unit files": "systemctl list-unit-files '*.swap' swap.target --no-legend --no-pager",
    "swap services": "systemctl is-enabled zramswap.service dphys-swapfile.service swapspace.service 2>/dev/null; true",
    "zram generator": "cat /etc/systemd/zram-generator.conf /etc/systemd/zram-generator.conf.d/*.conf 2>/dev/null; true",
}


@pytest.fixture(autouse=True)
def _needs_swap_off(machine: Machine) -> None:
    if machine.data.get("swap") == "keep":
        pytest.skip(f"swap is 'keep' on {machine.name}; test_nodes checks its kubelet")


def test_no_swap_is_in_use(answers: Answers) -> None:
    _, *devices = answers["swaps"].lines
    assert not devices


def test_fstab_has_no_swap(answers: Answers) -> None:
    fields = [line.split() for line in answers["fstab"].lines if not line.lstrip().startswith("#")]
    assert not [line for line in fields if len(line) > 2 and line[2] == "swap"]


def test_no_unit_brings_swap_back(answers: Answers) -> None:
    """Units that generators make from fstab and partition types start only with ``swap.target``."""
    states = {unit: state for unit, state, *_ in (line.split() for line in answers["unit files"].lines)}
    harmless = {"masked", "disabled"}
    if states.pop("swap.target") == "masked":
        harmless.add("generated")
    assert not {unit: state for unit, state in states.items() if state not in harmless}


def test_no_service_creates_swap_at_boot(answers: Answers) -> None:
    assert "enabled" not in answers["swap services"].lines
    devices = [line for line in answers["zram generator"].lines if line.startswith("[zram")]
    assert not devices
