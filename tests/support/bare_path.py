"""A PATH with the programs that every Debian has, and without those that a minimal one may lack."""

from pathlib import Path

_ESSENTIAL = (
    "awk bash cat cut date df dirname dpkg dpkg-query getent grep head ls nproc readlink rm sed sh sort stat "
    "systemctl tail timeout tr uname uniq wc"
)


def link_essentials(folder: Path) -> str:
    """Fill a folder with links to those of these programs that exist here, and return it as a PATH."""
    for program in _ESSENTIAL.split():
        for directory in ("/usr/bin", "/bin", "/usr/sbin"):
            if Path(directory, program).exists():
                (folder / program).symlink_to(Path(directory, program))
                break
    return str(folder)
