"""fstab: swap lines are commented out, every other byte stays."""

import pytest

from kubeadm_deploys.scripts import text
from kubeadm_deploys.sections.swap import Swap, without_swap
from kubeadm_deploys.verification import test_swap as verification


@pytest.mark.parametrize(
    "line",
    [
        "/dev/sda2 none swap sw 0 0",
        "UUID=0a-1\tswap\tswap\tdefaults\t0\t0",
        "/swapfile none swap sw",
        "  LABEL=swap none swap defaults 0 0",
    ],
)
def test_lines_of_type_swap_are_commented_out(line: str) -> None:
    assert without_swap(f"{line}\n") == f"# {line}\n"


@pytest.mark.parametrize(
    "line",
    [
        "/dev/sda1 /swap ext4 defaults 0 0",
        "/dev/swap /data ext4 defaults 0 0",
        "# /dev/sda2 none swap sw 0 0",
        "#/dev/sda2 none swap sw 0 0",
        "/dev/sda1 / ext4 x-comment=swap 0 1",
        "",
    ],
)
def test_other_lines_are_unchanged(line: str) -> None:
    assert without_swap(f"{line}\n") == f"{line}\n"


def test_every_other_byte_stays() -> None:
    before = (
        "# caf\udce9\r\n\n/dev/sda1 / ext4 rw 0 1  \n/dev/sda2 none swap sw 0 0\r\n\t\n/last none swap sw"
    )
    after = (
        "# caf\udce9\r\n\n/dev/sda1 / ext4 rw 0 1  \n# /dev/sda2 none swap sw 0 0\r\n\t\n# /last none swap sw"
    )
    assert without_swap(before) == after
    assert without_swap(after) == after


def test_the_fact_reads_what_the_script_prints() -> None:
    state = Swap().process(
        [
            "container none",
            "fstab L2RldiBub25lIHN3YXAgc3cK",
            "active /dev/sda2",
            "unit swap.target static",
            "unit dev-sda2.swap masked",
            r"unit dev-disk-by\x2ddiskseq-1\x2dpart2.swap generated",
            r"unit swap\x2dfile.swap local",
            "unit other.swap disabled",
            "unit zramswap.service enabled",
        ]
    )
    assert not state.in_container
    assert state.fstab == "/dev none swap sw\n"
    assert state.active == ("/dev/sda2",)
    assert state.unmasked_units == ("swap.target", "zramswap.service")
    assert state.local_units == (r"swap\x2dfile.swap",)


@pytest.mark.parametrize("unit", ["zramswap.service", "dphys-swapfile.service", "swapspace.service"])
def test_section_and_verification_know_the_same_makers_of_swap(unit: str) -> None:
    assert unit in text("read-swap").split("'")
    assert unit in verification.COMMANDS["swap services"].split()
    assert Swap().process([f"unit {unit} enabled"]).unmasked_units == (unit,)
