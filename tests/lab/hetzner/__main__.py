"""Command line of the double: python -m tests.lab.hetzner serve."""

import argparse
import os
import signal
import sys
import threading

from tests.lab import layout
from tests.lab.docker import LabError
from tests.lab.hetzner.backend import Backend, BackendError, MemoryBackend
from tests.lab.hetzner.server import running

PORT = 8443


def main(arguments: list[str]) -> int:
    """Serve until interrupted or terminated; return 1 on errors that the user can fix."""
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with running(
            backend=_backend(options.backend, port=options.port),
            address=options.address or (layout.GATEWAY if options.backend == "docker" else "127.0.0.1"),
            port=options.port,
            action_seconds=options.action_seconds,
            token=os.environ.get("HCLOUD_TOKEN", ""),
        ) as api:
            print(f"export HCLOUD_ENDPOINT={api.url}")
            print(f"export HCLOUD_TOKEN={api.token}", flush=True)
            stop.wait()
    except (OSError, BackendError, LabError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _backend(name: str, *, port: int) -> Backend:
    if name == "none":
        return MemoryBackend()
    # Imported here, so that the double also works without docker.
    from tests.lab.hetzner.docker_backend import DockerBackend

    return DockerBackend(api_port=port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.hetzner", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser(
        "serve", help="serve the API, and print its endpoint and token as shell commands"
    )
    serving.add_argument("--backend", choices=("none", "docker"), default="none", help="what servers run on")
    serving.add_argument(
        "--address", help="default: the gateway of the lab's network, without docker 127.0.0.1"
    )
    serving.add_argument("--port", type=int, default=PORT)
    serving.add_argument(
        "--action-seconds", type=float, default=0, metavar="SECONDS", help="minimum duration of an action"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
