"""Guide section "Disable swap".

Afterwards no swap is active, now and after a reboot: no fstab line, no systemd unit and no zram service
brings it back. Source: kubeadm documentation, "Installing kubeadm", swap configuration.
"""

import re
import shlex

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server

from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.facts.swap import Swap
from kubeadm_deploys.operations import text_files
from kubeadm_deploys.options import ClusterOptions

READING = Reading(Swap)

# fstab(5): device, mount point, type. Only lines of type swap count, wherever else the word stands.
_SWAP_LINE = re.compile(r"^(?=[ \t]*[^\s#]\S*[ \t]+\S+[ \t]+swap(?:\s|$))", re.MULTILINE)


def without_swap(fstab: str) -> str:
    """The fstab with its swap lines commented out and every other byte as it was."""
    return _SWAP_LINE.sub("# ", fstab)


@deploy("Swap")
def disable_swap(*, options: ClusterOptions) -> None:
    """Turn swap off now and for good; does nothing with ``swap="keep"``.

    Swap belongs to the whole machine. In a container that sees active swap nothing is turned off.

    Raises:
        DeployError: swap is active around the container in which this runs.
    """
    if options.swap == "keep":
        return
    found = read_for_plan(host, READING)
    if found.active and found.in_container:
        raise DeployError(
            f"{host.name}: swap {found.active[0]} belongs to the machine that runs this container; "
            "set swap='keep' for such hosts"
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
            # Quoted, because a dash of a device's path is \x2d in its unit's name.
            commands=[f"systemctl mask --now {shlex.join(found.unmasked_units)}"],
        )
    if found.local_units:
        server.shell(
            name="Disable the administrator's swap units",
            commands=[f"systemctl disable --now {shlex.join(found.local_units)}"],
        )
