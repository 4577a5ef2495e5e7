"""The cache of components: each is made once, in a folder named after everything that goes into it."""

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

# Compiling alone fills two cores; linking, downloads and Debian's packages leave one to the next part.
_AT_ONCE = 2


def mirror_cache() -> Path:
    """Folder that holds everything of the mirror."""
    return layout.cache_folder() / "mirror"


@dataclass(frozen=True)
class Component:
    """Something that the mirror is made of.

    `make` fills an empty folder. What lies in its `www` is served by upstream's host and path, `registry` is storage
    of the container registry, `bin` is for other components.
    """

    name: str
    """Name and version, also shown to the user."""
    seconds: int
    """What it took alone on two cores with a cold build cache: only for telling how much is left."""
    make: Callable[[Path], None]
    recipe: tuple[str, ...]
    """Names of the files beside this one that decide how it is made."""
    inputs: tuple[str, ...] = ()
    """Whatever else decides the outcome."""
    needs: tuple["Component", ...] = ()

    @cached_property
    def key(self) -> str:
        """Hash of everything that decides the outcome."""
        sources = [(Path(__file__).parent / name).read_bytes().hex() for name in self.recipe]
        parts = (self.name, go_version(), *self.inputs, *sources, *(need.key for need in self.needs))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where it is once it is made."""
        return mirror_cache() / "components" / f"{self.name.replace(' ', '-')}+{self.key}"

    @property
    def made(self) -> bool:
        return self.folder.is_dir()


def build(components: Sequence[Component]) -> None:
    """Make those of `components` that are not there, two at a time, each after what it needs; say how far it is."""
    missing = [component for component in components if not component.made]
    print(f"{len(components) - len(missing)} of {len(components)} parts are in the cache", flush=True)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running: dict[Future[float], Component] = {}
        while missing or running:
            ready = [each for each in missing if all(need.made for need in each.needs)]
            for component in ready[: _AT_ONCE - len(running)]:
                missing.remove(component)
                print(f"{component.name}, usually {_duration(component.seconds)} …", flush=True)
                running[pool.submit(_make, component)] = component
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                component = running.pop(future)
                took = _duration(future.result())
                left = sum(each.seconds for each in (*missing, *running.values()))
                print(f"{component.name}: {took}, at most {_duration(left)} until all is built", flush=True)


def _make(component: Component) -> float:
    """Make it beside its place, so that an interrupted build leaves nothing that looks complete; tell the seconds."""
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
    """Keep two builds from working in the cache at the same time."""
    mirror_cache().mkdir(parents=True, exist_ok=True)
    with (mirror_cache() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another build of the mirror to end …", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
