"""How long the product takes, beside the fastest shell script that makes the same cluster.

python -m tests.bench [--sizes 1+1 1+3 3+3] [--only product|script] [--json FILE]

The script makes one control plane only. Of several control planes each join stands beside what `kubeadm join` itself
took of it.
"""

import argparse
import fcntl
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.machine import this_machine
from tests.bench.measurement import measure, remove_hosts
from tests.bench.processes import BenchError
from tests.bench.report import as_json, report
from tests.bench.sizes import DEFAULT, Size, choose
from tests.lab import hosts, layout
from tests.lab.docker import LabError
from tests.lab.mirror import tree


def main() -> int:
    """Command line; the exit code says whether everything could be measured, not whether the goals are met."""
    # Hosts are removed by the same path, whoever ends the benchmark.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = _parser().parse_args()
    try:
        with _alone():
            # A benchmark that was killed leaves hosts behind.
            remove_hosts()
            machine = this_machine()
            print(f"machine: {machine}", flush=True)
            chosen, note = choose(
                asked=arguments.sizes,
                script_only=arguments.only == "script",
                room=hosts.inotify_room(),
            )
            if note:
                print(note, flush=True)
            read_mirror()
            sizes = [
                measure(size=each, product=arguments.only != "script", script=arguments.only != "product")
                for each in chosen
            ]
    except (BenchError, LabError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped, and the benchmark's hosts removed", file=sys.stderr)
        return 130
    if arguments.json:
        arguments.json.write_text(as_json(machine=machine, sizes=sizes) + "\n")
    print("\n" + report(machine=machine, sizes=sizes))
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """Two benchmarks would measure, and remove, each other's hosts."""
    layout.cache_folder().mkdir(parents=True, exist_ok=True)
    with (layout.cache_folder() / "bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError("another benchmark runs on this machine: wait for its end") from None
        yield


def read_mirror() -> None:
    """Have the mirror's files in the machine's memory, so that the first rival does not pay for the disk."""
    served = tree.current()
    for path in served.rglob("*") if served else ():
        if path.is_file():
            path.read_bytes()


def size(text: str) -> Size:
    """A size like 1+3."""
    match = re.fullmatch(r"([1-9]\d*)\+([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size: write CONTROL_PLANES+WORKERS, at least one of each"
        )
    return Size(control_planes=int(match[1]), workers=int(match[2]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=size,
        default=[],
        metavar="CONTROL_PLANES+WORKERS",
        help=f"default: {' '.join(map(str, sorted(DEFAULT)))}",
    )
    parser.add_argument("--only", choices=("product", "script"), help="measure one rival")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
