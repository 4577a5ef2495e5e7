"""The machine that the lab runs on: its apt, and packages that the lab cannot do without."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.docker import LabError

SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
"""Where programs are, with those for administrators that the path of other users leaves out."""


@dataclass(frozen=True)
class Source:
    """One suite of an apt repository."""

    uri: str
    suite: str
    component: str = "main"

    def line(self) -> str:
        """The one-line form of sources.list."""
        return f"deb {self.uri} {self.suite} {self.component}"


def debian_sources(*, codename: str) -> list[Source]:
    """Where this machine gets Debian from, turned to another release; empty if it is no Debian machine."""
    return turned_to(codename=codename, targets=_index_targets())


def turned_to(*, codename: str, targets: str) -> list[Source]:
    """Sources for `codename` from apt's own list of what it reads: the release, its updates and its security fixes.

    `targets` has lines `origin codename-of-suite uri component`. Other suites (backports, testing) are left out.
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
    """Have `command` on this machine: install its Debian package when that is possible, or say what to install."""
    if shutil.which(command, path=SEARCH_PATH):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError(
            f"{command} is not installed: install it (Debian and Ubuntu: `apt-get install {package}`)"
        )
    install(package)


def install(*packages: str, where_known: Sequence[str] = ()) -> None:
    """Install Debian packages on this machine; `where_known` are those that not every release has."""
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
    # ORIGIN and CODENAME come from the repositories' signed Release files, so no mirror has to be known by name.
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
