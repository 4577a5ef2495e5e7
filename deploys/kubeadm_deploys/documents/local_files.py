"""Write files on the operator's machine that only the operator may read."""

import contextlib
import os
import tempfile
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Write a file atomically with mode 0600: readers see either the old file or the new one.

    The text is written to a new file with an unpredictable name, which then replaces whatever is at the path,
    including a link. The folder must exist.

    Raises:
        OSError: the file cannot be written; an existing file is kept.
    """
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".kubeadm-deploys.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        # Ctrl-C included: no half-written file with secrets must remain.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise
