"""Where a machine's swap comes from."""

import base64
from dataclasses import dataclass

from pyinfra.api import FactBase
from typing_extensions import override

_SCRIPT = r"""
echo "container $(systemd-detect-virt --container 2>/dev/null)"
if [ -f /etc/fstab ]; then echo "fstab $(base64 -w 0 /etc/fstab)"; fi
tail -n +2 /proc/swaps | while read -r device rest; do echo "active $device"; done
{
  systemctl list-unit-files --no-legend --plain 'swap.target' '*.swap' \
    'systemd-zram-setup@.service' 'zramswap.service' 'zram-config.service' | awk '{print $1, $2}'
  systemctl list-units --all --no-legend --plain --type=swap | awk '{print $1, $2}'
} | while read -r unit state; do echo "unit $unit $state"; done
"""


@dataclass(frozen=True, kw_only=True)
class SwapState:
    """``active`` devices; ``fstab`` as it is; systemd ``units`` that bring swap and are not ``masked``."""

    in_container: bool = False
    active: tuple[str, ...] = ()
    fstab: str = ""
    unmasked_units: tuple[str, ...] = ()


class Swap(FactBase[SwapState]):
    """Active swap and everything that would bring it back, in one command.

    Swap units come from fstab, but also from GPT partitions that systemd finds by itself, and compressed
    memory (zram) from the services of three packages.
    """

    default = SwapState

    @override
    def command(self) -> str:
        return _SCRIPT

    @override
    def process(self, output: list[str]) -> SwapState:
        words = [line.split() for line in output]
        units: dict[str, bool] = {}
        for _, unit, *state in (line for line in words if line[0] == "unit"):
            units[unit] = units.get(unit, False) or "masked" in state
        fstab = next((line[1] for line in words if line[0] == "fstab" and len(line) > 1), "")
        return SwapState(
            in_container=any(line[0] == "container" and line[1:] not in ([], ["none"]) for line in words),
            active=tuple(line[1] for line in words if line[0] == "active"),
            # surrogateescape keeps bytes that are no UTF-8 as they are.
            fstab=base64.b64decode(fstab).decode(errors="surrogateescape"),
            unmasked_units=tuple(sorted(unit for unit, masked in units.items() if not masked)),
        )
