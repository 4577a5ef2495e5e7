"""Guide section "Disable swap".

Afterwards no swap is active, now and after a reboot: no fstab line, no systemd unit and no zram service
brings it back. Source: kubeadm documentation, "Installing kubeadm", swap configuration.
"""

import base64
import re
import shlex
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server
from typing_extensions import override

from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import text_files
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read_for_plan
from kubeadm_deploys.scripts import script

# Units of generators (from fstab, a GPT partition's type, zram devices) start only with swap.target, and some
# have a name that changes with the next boot.
_HARMLESS = ("masked", "disabled", "generated")


@dataclass(frozen=True, kw_only=True)
class SwapState:
    """``active`` devices; the content of ``fstab``; systemd units that bring swap back.

    ``local_units`` are enabled ones that the machine's administrator wrote: systemd cannot mask a file in
    /etc.
    """

    in_container: bool = False
    active: tuple[str, ...] = ()
    fstab: str = ""
    unmasked_units: tuple[str, ...] = ()
    local_units: tuple[str, ...] = ()


class Swap(FactBase[SwapState]):
    """Read active swap and everything that would bring it back in one command.

    Swap units come from fstab and from GPT partitions that systemd finds by itself, compressed memory (zram)
    from the services of three packages, and swap files from those of dphys-swapfile and swapspace.
    ``swap.target`` starts the rest at boot.
    """

    @override
    def command(self) -> StringCommand:
        return script("read-swap")

    @override
    def process(self, output: list[str]) -> SwapState:
        words = [line.split() for line in output]
        units = {line[1]: line[2] for line in words if line[0] == "unit"}
        fstab = next((line[1] for line in words if line[0] == "fstab" and len(line) > 1), "")
        return SwapState(
            in_container=any(line[0] == "container" and line[1:] not in ([], ["none"]) for line in words),
            active=tuple(line[1] for line in words if line[0] == "active"),
            # surrogateescape keeps bytes that are not UTF-8.
            fstab=base64.b64decode(fstab).decode(errors="surrogateescape"),
            unmasked_units=tuple(
                sorted(unit for unit, state in units.items() if state not in (*_HARMLESS, "local"))
            ),
            local_units=tuple(sorted(unit for unit, state in units.items() if state == "local")),
        )


READING = Reading(Swap)

# fstab(5): device, mount point, type. Only lines of type swap count, wherever else the word occurs.
_SWAP_LINE = re.compile(r"^(?=[ \t]*[^\s#]\S*[ \t]+\S+[ \t]+swap(?:\s|$))", re.MULTILINE)


def without_swap(fstab: str) -> str:
    """Return the fstab with its swap lines commented out and every other byte unchanged."""
    return _SWAP_LINE.sub("# ", fstab)


@deploy("Swap")
def disable_swap(*, options: ClusterOptions) -> None:
    """Turn swap off now and for good; does nothing with ``swap="keep"``.

    Swap belongs to the whole machine, so a container that sees active swap cannot turn it off.

    Raises:
        DeployError: this runs in a container, and swap is active on the machine that runs it.
    """
    if options.swap == "keep":
        return
    found = read_for_plan(host, READING)
    if found.active and found.in_container:
        raise DeployError(
            f"{host.name}: swap {found.active[0]} belongs to the machine that runs this container; "
            "turn it off on that machine, or set swap to 'keep'"
        )

    fstab = without_swap(found.fstab)
    if fstab != found.fstab:
        text_files.written(
            name="Comment out swap in /etc/fstab",
            contents={"/etc/fstab": fstab.encode(errors="surrogateescape")},
        )
    if found.active:
        server.shell(name="Turn swap off", commands=["swapoff --all"])
    if found.unmasked_units:
        server.shell(
            name="Mask the units that bring swap back",
            # Quoted: a dash in a device's path is \x2d in its unit's name.
            commands=[f"systemctl mask --now {shlex.join(found.unmasked_units)}"],
        )
    if found.local_units:
        server.shell(
            name="Disable the administrator's swap units",
            commands=[f"systemctl disable --now {shlex.join(found.local_units)}"],
        )
