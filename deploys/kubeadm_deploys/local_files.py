"""Files on the operator's machine that only the operator may read."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a whole file at once, mode 0600: whoever reads it meanwhile sees the old one or the new one.

    It is written under a name that nobody can foresee, in a file that did not exist, and takes the place of what is at
    the path, a link included. Its folder must be there.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".kubeadm-deploys.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        # Also when the operator interrupts: a half-written file of secrets must not stay. It is raised again.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise
