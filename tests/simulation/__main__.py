"""Play histories: ``python -m tests.simulation --seed N --count M``, or one that is written down, from stdin."""

import argparse
import os
import sys
from pathlib import Path


def main() -> None:
    """Play histories, print those in which something is broken, and exit with 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first history")
    parser.add_argument("--count", type=int, default=1, help="how many, with the seeds that follow")
    parser.add_argument("--written", action="store_true", help="play the history whose literal is on stdin")
    parser.add_argument("--log", action="store_true", help="print what happened in each")
    parser.add_argument("--output", action="store_true", help="print what each run printed")
    parser.add_argument(
        "--keep", action="store_true", help="print what was found as it is, without shortening it"
    )
    parser.add_argument(
        "--broken", default="", help="play with a product that is broken, by a name of broken.py"
    )
    parser.add_argument(
        "--first", action="store_true", help="end with the first history that breaks something"
    )
    arguments = parser.parse_args()
    root = Path(__file__).parents[2]
    # Sets of texts are in another order in every process otherwise; and this checkout counts, whichever is installed.
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
