"""Measure how long the product takes, compared with the fastest shell script that creates the same cluster.

python -m tests.bench [--sizes 1+1 1+3 3+3] [--only product|script] [--json FILE]

The script creates only one control plane. For several control planes, the duration of each join is compared
with that of `kubeadm join` itself.
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
    """Run the command line; return 0 if everything was measured, also if goals are missed."""
    # SIGTERM, like Ctrl-C, must remove the hosts.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = _parser().parse_args()
    try:
        with _alone():
            # A killed benchmark leaves hosts behind.
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
                measure(
                    size=chosen_size, product=arguments.only != "script", script=arguments.only != "product"
                )
                for chosen_size in chosen
            ]
    except (BenchError, LabError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the benchmark's hosts are removed", file=sys.stderr)
        return 130
    if arguments.json:
        arguments.json.write_text(as_json(machine=machine, sizes=sizes) + "\n")
    print("\n" + report(machine=machine, sizes=sizes))
    return 0


@contextmanager
def _alone() -> Iterator[None]:
    """Lock out other benchmarks, which would measure and remove the same hosts."""
    layout.cache_folder().mkdir(parents=True, exist_ok=True)
    with (layout.cache_folder() / "bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError("another benchmark runs on this machine: wait for it to finish") from None
        yield


def read_mirror() -> None:
    """Read the mirror's files into the page cache, so that the first rival does not wait for the disk."""
    served = tree.current()
    for path in served.rglob("*") if served else ():
        if path.is_file():
            path.read_bytes()


def size(text: str) -> Size:
    """Parse a size such as 1+3."""
    match = re.fullmatch(r"([1-9]\d*)\+([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size: use CONTROL_PLANES+WORKERS, at least one of each"
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all results to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
