"""The machine that the lab runs on: its apt sources, and packages that the lab needs."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.docker import LabError

SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""PATH with the sbin folders, which it lacks for ordinary users."""


@dataclass(frozen=True)
class Source:
    """One suite of an apt repository."""

    uri: str
    suite: str
    component: str = "main"

    def line(self) -> str:
        """Return the one-line format of sources.list."""
        return f"deb {self.uri} {self.suite} {self.component}"


def debian_sources(*, codename: str) -> list[Source]:
    """Return this machine's Debian sources for another release; empty if it is not a Debian machine."""
    return turned_to(codename=codename, targets=_index_targets())


def turned_to(*, codename: str, targets: str) -> list[Source]:
    """Return sources of `codename` from apt's index targets: the release, its updates and security fixes.

    `targets` has lines `origin codename-of-suite uri component`. Other suites (backports, testing) are left
    out.
    """
    sources = []
    for row in (line.split() for line in targets.splitlines()):
        if len(row) == 4 and row[0] == "Debian" and row[3] == "main":
            _, suite, uri, _ = row
            pocket = suite.partition("-")[2]
            if pocket in ("", "updates", "security"):
                sources.append(Source(uri=uri, suite=f"{codename}-{pocket}".rstrip("-")))
    return sources


def require(*, command: str, package: str) -> None:
    """Install the Debian package of `command` if it is missing, or fail with what to install."""
    if shutil.which(command, path=SEARCH_PATH):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(
            f"{command} is not installed: install it (Debian and Ubuntu: `apt-get install {package}`)"
        )
    install(package)


def install(*packages: str, where_known: Sequence[str] = ()) -> None:
    """Install Debian packages on this machine; those in `where_known` only if the release has them."""
    print(f"installing {' '.join(packages)}", flush=True)
    _apt_get("update")
    known = [package for package in where_known if _is_known(package)]
    _apt_get("install", "-y", "--no-install-recommends", *packages, *known)


def _apt_get(*command: str) -> None:
    done = subprocess.run(
        ("apt-get", "-q", *command),
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"`apt-get {command[0]}` failed:\n{(done.stdout + done.stderr).strip()}")


def _is_known(package: str) -> bool:
    listed = subprocess.run(
        ("apt-cache", "search", "--names-only", f"^{package}$"), capture_output=True, check=False
    )
    return bool(listed.stdout.strip())


def _index_targets() -> str:
    if not shutil.which("apt-get"):
        return ""
    # ORIGIN and CODENAME come from signed Release files, so this works with any mirror.
    listed = subprocess.run(
        (
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN) $(CODENAME) $(REPO_URI) $(COMPONENT)",
            "Created-By: Packages",
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout
