"""Private files of the inventory on the operator's machine, written atomically."""

from collections.abc import Iterable
from pathlib import Path

from kubeadm_deploys.documents.local_files import write_private

SSH_CONFIG = "ssh_config"
"""Name of the cluster's ssh_config(5) in its state folder."""

KNOWN_HOSTS = "known_hosts"
"""Name of the folder with host keys in the cluster's state folder: one file per server, named by its ID."""

JUMP_HOST = "jump_host"
"""Name of the jump host's file in that folder."""


def private_folder(path: Path) -> Path:
    """Create a folder, with missing parents, that only the operator can enter; return its path."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private_file(path: Path, text: str) -> None:
    """Write a file atomically, mode 0600, in a folder that only the operator can enter."""
    private_folder(path.parent)
    write_private(path, text)


def prepare_known_hosts(path: Path, *, entry: str = "") -> None:
    """Prepare the file with one machine's host keys; ``entry`` is the machine's current name in it.

    There is one file per server, not per cluster, because addresses are reused: the key of a new server on an
    old address is learned, since its ID is new, while a server whose key has changed is refused even at a new
    address.
    """
    private_folder(path.parent)
    # pyinfra warns about a missing file before it writes one.
    path.touch(mode=0o600)
    text = path.read_text()
    wanted = "".join(f"{entry} {line.partition(' ')[2]}\n" for line in text.splitlines())
    if entry and text != wanted:
        write_private_file(path, wanted)


def forget_known_hosts(folder: Path, *, servers: Iterable[int]) -> None:
    """Remove the files of servers that no longer exist; IDs are never reused."""
    kept = {str(server) for server in servers}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name.isdecimal() and path.name not in kept:
            path.unlink()
