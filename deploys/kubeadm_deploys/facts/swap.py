"""Where a machine's swap comes from."""

import base64
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.scripts import script

# A generator's units (from fstab, from a GPT partition's type, zram devices) are started with swap.target and never
# without it, and some have a name that another boot changes.
_HARMLESS = ("masked", "disabled", "generated")


@dataclass(frozen=True, kw_only=True)
class SwapState:
    """``active`` devices; ``fstab`` as it is; units of systemd that bring swap back.

    ``local_units`` are enabled ones that the machine's administrator wrote: systemd masks no file in /etc.
    """

    in_container: bool = False
    active: tuple[str, ...] = ()
    fstab: str = ""
    unmasked_units: tuple[str, ...] = ()
    local_units: tuple[str, ...] = ()


class Swap(FactBase[SwapState]):
    """Active swap and everything that would bring it back, in one command.

    Swap units come from fstab, but also from GPT partitions that systemd finds by itself, and compressed
    memory (zram) from the services of three packages: ``swap.target`` starts them all at boot.
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
            # surrogateescape keeps bytes that are no UTF-8 as they are.
            fstab=base64.b64decode(fstab).decode(errors="surrogateescape"),
            unmasked_units=tuple(
                sorted(unit for unit, state in units.items() if state not in (*_HARMLESS, "local"))
            ),
            local_units=tuple(sorted(unit for unit, state in units.items() if state == "local")),
        )
