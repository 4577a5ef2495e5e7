"""Play the history literals on stdin, one per line, and print the results of each one's runs as JSON.

The closing runs of cluster.py are left out: tests compare what a run did with what it should have done. This
is a separate process, because gevent patches it; ``scenarios.py`` starts it.
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
    """Return the files in the folder of a run's operator at the end, by name."""
    commands = [command for step in history.steps if isinstance(step, tuple) for command in step]
    folder = f"{commands[run].operator}/"
    return {path.removeprefix(folder): text for path, text in played.files.items() if path.startswith(folder)}


if __name__ == "__main__":
    main()
