"""Play random histories: ``python -m tests.simulation --seed N --count M``, or a written one from stdin."""

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    """Play histories and print those that break an invariant; exit with 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first history")
    parser.add_argument("--count", type=int, default=1, help="number of histories, with consecutive seeds")
    parser.add_argument("--written", action="store_true", help="play the history literal on stdin")
    parser.add_argument("--log", action="store_true", help="print the log of each history")
    parser.add_argument("--output", action="store_true", help="print the output of each run")
    parser.add_argument("--keep", action="store_true", help="print broken histories without shortening them")
    parser.add_argument("--broken", default="", help="play with a faulty product, named as in broken.py")
    parser.add_argument(
        "--first", action="store_true", help="stop at the first history that breaks an invariant"
    )
    arguments = parser.parse_args()
    root = Path(__file__).parents[2]
    # Without PYTHONHASHSEED, sets of strings have another order in every process. PYTHONPATH selects this
    # checkout instead of an installed package.
    environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": f"{root / 'deploys'}:{root}"}
    if not environment.items() <= os.environ.items():
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | environment)
    from tests.simulation.broken import BEHAVIOURS
    from tests.simulation.history import History
    from tests.simulation.search import search

    seeds = range(arguments.seed, arguments.seed + arguments.count)
    found = search(
        [History.of_text(sys.stdin.read())] if arguments.written else seeds,
        log=arguments.log,
        output=arguments.output,
        shorten=not arguments.keep,
        first=arguments.first,
        change=BEHAVIOURS[arguments.broken] if arguments.broken else lambda: None,
    )
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
