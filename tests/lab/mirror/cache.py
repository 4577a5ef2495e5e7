"""The cache of components: each is built once, in a folder named after a hash of its inputs."""

import contextlib
import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.lab import layout
from tests.lab.mirror.golang import go_version

# Compiling uses two cores; linking, downloads and Debian's packages leave one for the next component.
_AT_ONCE = 2


def mirror_cache() -> Path:
    """Return the folder of all files of the mirror."""
    return layout.cache_folder() / "mirror"


@dataclass(frozen=True)
class Component:
    """A part of the mirror.

    `make` fills an empty folder. Its `www` is served by upstream's host and path, `registry` is storage of
    the container registry, `bin` is for other components.
    """

    name: str
    """Name and version, also shown to the user."""
    seconds: int
    """Build time alone on two cores with a cold build cache: only for estimates of the time left."""
    make: Callable[[Path], None]
    recipe: tuple[str, ...]
    """Paths, relative to this folder, of the files that decide how it is built."""
    inputs: tuple[str, ...] = ()
    """Other inputs of the result."""
    needs: tuple["Component", ...] = ()

    @cached_property
    def key(self) -> str:
        """Return a hash of all inputs."""
        sources = [(Path(__file__).parent / name).read_bytes().hex() for name in self.recipe]
        parts = (self.name, go_version(), *self.inputs, *sources, *(need.key for need in self.needs))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Return the folder in which the complete component is."""
        return mirror_cache() / "components" / f"{self.name.replace(' ', '-')}+{self.key}"

    @property
    def made(self) -> bool:
        return self.folder.is_dir()


def build(components: Sequence[Component]) -> None:
    """Build missing components, two at a time, each after its needs; print the progress."""
    missing = [component for component in components if not component.made]
    print(f"{len(components) - len(missing)} of {len(components)} parts are in the cache", flush=True)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running: dict[Future[float], Component] = {}
        while missing or running:
            ready = [component for component in missing if all(need.made for need in component.needs)]
            for component in ready[: _AT_ONCE - len(running)]:
                missing.remove(component)
                print(f"{component.name}, usually {_duration(component.seconds)} …", flush=True)
                running[pool.submit(_make, component)] = component
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                component = running.pop(future)
                took = _duration(future.result())
                left = sum(unfinished.seconds for unfinished in (*missing, *running.values()))
                print(f"{component.name}: {took}, at most {_duration(left)} until all is built", flush=True)


def _make(component: Component) -> float:
    """Build in a temporary folder and rename it when complete; return the seconds."""
    started = time.monotonic()
    partial = component.folder.with_name(component.folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    component.make(partial)
    partial.rename(component.folder)
    for old in component.folder.parent.glob(f"{component.folder.name.partition('+')[0]}+*"):
        if old != component.folder:
            shutil.rmtree(old)
    return time.monotonic() - started


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Lock out other builds in the cache."""
    mirror_cache().mkdir(parents=True, exist_ok=True)
    with (mirror_cache() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another build of the mirror to finish …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
