"""Plays the histories whose literals come in on stdin, one a line, and prints of each how its runs ended, as JSON.

Without the closing runs of cluster.py: what a run did is compared with what it should have done. A process of its own,
because gevent patches it: ``scenarios.py`` speaks to it.
"""

import gc
import json
import sys
import traceback
from typing import Any

from tests.simulation import child
from tests.simulation.history import History
from tests.simulation.play import Played, play
from tests.simulation.world import Change


def main() -> None:
    """Play until stdin ends."""
    child.prepare()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        try:
            answer = _in_json(History.of_text(line))
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


def _in_json(history: History) -> dict[str, Any]:
    played = play(history, closing=False)
    return {
        "runs": [
            {
                "exit_code": played.exit_codes[run],
                "output": played.outputs[run],
                "changes": [_in_words(change) for change in played.changes if change.run == run],
                "files": _files(played, history, run),
            }
            for run in range(played.runs)
        ],
        "broken": played.broken,
        "unhappened": [repr(fault) for fault in history.faults if fault not in played.history.faults],
        "log": played.log,
    }


def _in_words(change: Change) -> str:
    what = change.what
    if what.startswith("kubeadm"):
        what = " ".join(("kubeadm", *change.words))
    if what == "clean-machine":
        what = "clean and keep etcd" if change.words[0] else "clean"
    return f"{change.machine}: {what}"


def _files(played: Played, history: History, run: int) -> dict[str, str]:
    """What is in the folder of a run's operator when all is over, by name."""
    commands = [command for step in history.steps if isinstance(step, tuple) for command in step]
    folder = f"{commands[run].operator}/"
    return {path.removeprefix(folder): text for path, text in played.files.items() if path.startswith(folder)}


if __name__ == "__main__":
    main()
