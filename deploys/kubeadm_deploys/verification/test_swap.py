"""Swap is off, now and after a reboot, unless the inventory's data say ``swap="keep"``."""

import pytest

from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import Answers

COMMANDS = {
    "swaps": "cat /proc/swaps",
    "fstab": "test ! -e /etc/fstab || cat /etc/fstab",
    "unit files": "systemctl list-unit-files --type=swap --no-legend --no-pager",
    "units": "systemctl list-units --type=swap --all --plain --no-legend --no-pager",
    "makers": "systemctl is-enabled zramswap.service dphys-swapfile.service 2>/dev/null; true",
    "zram generator": "cat /etc/systemd/zram-generator.conf /etc/systemd/zram-generator.conf.d/*.conf 2>/dev/null; true",
}


@pytest.fixture(autouse=True)
def _swap_is_to_be_off(machine: Machine) -> None:
    if machine.data.get("swap") == "keep":
        pytest.skip(f"the inventory keeps swap as it is on {machine.name}; test_nodes looks at its kubelet")


def test_no_swap_is_in_use(answers: Answers) -> None:
    _, *devices = answers["swaps"].lines
    assert not devices


def test_fstab_has_no_swap(answers: Answers) -> None:
    fields = [line.split() for line in answers["fstab"].lines if not line.lstrip().startswith("#")]
    assert not [line for line in fields if len(line) > 2 and line[2] == "swap"]


def test_swap_units_are_masked(answers: Answers) -> None:
    """Units come from fstab, from partition types and from generators; only a mask stops them all."""
    # Where there is none at all, some versions of systemctl end with 1.
    assert answers["unit files"].status == 0 or not answers["unit files"].stderr
    files = [line.split() for line in answers["unit files"].stdout.splitlines()]
    assert not [unit for unit, state, *_ in files if state != "masked"]
    loaded = [line.split() for line in answers["units"].lines]
    assert not [unit for unit, load, *_ in loaded if load not in ("masked", "not-found")]


def test_nothing_makes_compressed_swap_at_boot(answers: Answers) -> None:
    assert "enabled" not in answers["makers"].lines
    devices = [line for line in answers["zram generator"].lines if line.startswith("[zram")]
    assert not devices
