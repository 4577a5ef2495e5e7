"""The inventory's files on the operator's machine: nobody else's to read, and never half written."""

from collections.abc import Iterable
from pathlib import Path

from kubeadm_deploys.local_files import write_private

SSH_CONFIG = "ssh_config"
"""The cluster's ssh_config(5), in its state folder."""

KNOWN_HOSTS = "known_hosts"
"""The folder of the files with host keys, in the cluster's state folder: one a server, called like its id."""

JUMP_HOST = "jump_host"
"""The jump host's file in that folder."""


def private_folder(path: Path) -> Path:
    """Have a folder, and those above it, that only the operator can enter."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private_file(path: Path, text: str) -> None:
    """Write a whole file at once, mode 0600, in a folder that only the operator can enter."""
    private_folder(path.parent)
    write_private(path, text)


def prepare_known_hosts(path: Path, *, entry: str = "") -> None:
    """Have the file of one machine's host keys, under what the machine is called in it now.

    There is one for each server and not one for the cluster, because addresses are used again: a new server
    on an old address has a new id and a key to learn, while a server whose key changed is refused, also at
    an address that it did not have before.
    """
    private_folder(path.parent)
    # pyinfra warns about a file that is not there before it writes one.
    path.touch(mode=0o600)
    text = path.read_text()
    wanted = "".join(f"{entry} {line.partition(' ')[2]}\n" for line in text.splitlines())
    if entry and text != wanted:
        write_private_file(path, wanted)


def forget_known_hosts(folder: Path, *, servers: Iterable[int]) -> None:
    """Remove the files of servers that are gone; ids are never given to another server."""
    kept = {str(server) for server in servers}
    for path in folder.iterdir() if folder.exists() else ():
        if path.name.isdecimal() and path.name not in kept:
            path.unlink()
