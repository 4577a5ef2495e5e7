"""Building programs from their Go modules, with the dependencies that upstream's own release has."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.mirror.commands import run

BUILD = ("go", "build", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags")
"""The command that every program is built with: two builds with the same flags share what they compile.

No debug information is written for the linker, which leaves it out anyway (STRIPPED): that saves a fifth of the time.
"""
STRIPPED = "-s -w"
ENVIRONMENT = {"GOWORK": "off", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0", "GOGC": "400"}
"""What the environment of every build has, whatever the machine's own says. The compiler has memory enough."""


def go_build(
    *,
    module: str,
    version: str,
    packages: Iterable[str],
    output: Path,
    tags: str = "",
    ldflags: str = "",
    cgo: bool = False,
    buildmode: str = "default",
    replace: Mapping[str, str] | None = None,
    overlay: Mapping[str, str] | None = None,
    sums: str = "",
    env: Mapping[str, str] | None = None,
) -> None:
    """Build `packages` (folders relative to the module) of `module` into the folder `output`.

    The module is built as upstream builds it, as the main module and so with upstream's own go.mod and go.sum:
    a go.mod of ours that requires it would ignore its replacements. `replace` (module to version) stands in for
    replacements by folders of upstream's repository, which the module's archive does not have; `overlay` has other texts
    for files of the module, by their paths in it; `sums` are go.sum lines for what neither upstream's go.sum nor the
    checksum database knows.
    """
    source = module_folder(module=module, version=version, sums=sums, env=env)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gomod-") as folder:
        modfile = Path(folder) / "go.mod"
        # Not the mode: files of the module cache are read-only.
        shutil.copyfile(source / "go.mod", modfile)
        (Path(folder) / "go.sum").write_text((source / "go.sum").read_text() + sums)
        for name, version_of_it in (replace or {}).items():
            run("go", "mod", "edit", f"-replace={name}={name}@{version_of_it}", str(modfile))
        if overlay:
            # Go takes no other texts for files of the module cache, so that the whole module is copied.
            source = _copied(source, Path(folder) / "source", texts=overlay)
        run(
            *(*BUILD, f"{STRIPPED} {ldflags}", f"-modfile={modfile}", "-mod=mod", f"-buildmode={buildmode}"),
            *("-tags", tags, "-o", f"{output}/"),
            *(f"./{package}" for package in packages),
            cwd=source,
            env={**ENVIRONMENT, "CGO_ENABLED": "1" if cgo else "0", **(env or {})},
        )


def _copied(source: Path, target: Path, *, texts: Mapping[str, str]) -> Path:
    shutil.copytree(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(path.stat().st_mode | 0o200)
    for name, text in texts.items():
        assert (target / name).is_file(), name
        (target / name).write_text(text)
    return target


@cache
def go_version() -> str:
    """Version of the Go toolchain, which is an input of everything that it builds."""
    return run("go", "env", "GOVERSION").strip()


def module_folder(*, module: str, version: str, sums: str = "", env: Mapping[str, str] | None = None) -> Path:
    """Read-only folder with the source of a module, downloaded when it is not there yet.

    Go checks it against the checksum database; a module that is not in there is checked against `sums`.
    """
    # Outside of any module: a go.mod in or above the working directory would take part.
    download = partial(run, "go", "mod", "download", cwd=Path("/"), env=env)
    # With -json go says in its answer what went wrong, without it where errors belong.
    download(f"{module}@{version}")
    described = json.loads(download("-json", f"{module}@{version}"))
    if sums and f"{module} {version} {described['Sum']}" not in sums.splitlines():
        raise LabError(
            f"Go module {module}@{version} has the checksum {described['Sum']}, which is not the known one"
        )
    return Path(described["Dir"])


def required(*, module: str, version: str, prefix: str) -> list[str]:
    """The modules with this prefix that a module's go.mod requires."""
    source = module_folder(module=module, version=version)
    edited = json.loads(run("go", "mod", "edit", "-json", str(source / "go.mod")))
    return [entry["Path"] for entry in edited["Require"] if entry["Path"].startswith(prefix)]


def folder_replacements(*, module: str, version: str) -> list[str]:
    """Modules that this module's go.mod replaces by existing folders of its own repository."""
    source = module_folder(module=module, version=version)
    edited = json.loads(run("go", "mod", "edit", "-json", str(source / "go.mod")))
    return [
        entry["Old"]["Path"]
        for entry in edited["Replace"] or []
        if entry["New"]["Path"].startswith((".", "/")) and "FORBIDDEN" not in entry["New"]["Path"]
    ]
