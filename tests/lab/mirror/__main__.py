"""Command line of the mirror: python -m tests.lab.mirror build | serve | stop | status."""

import argparse
import sys

from tests.lab import layout
from tests.lab.docker import LabError
from tests.lab.mirror import cache, official_hosts_reachable, serve, tree
from tests.lab.mirror.components import RELEASES, components, made_versions
from tests.lab.mirror.prerequisites import require_build_tools


def main(arguments: list[str]) -> int:
    """Run one subcommand; errors that the user can fix print one sentence and return 1."""
    options = _parser().parse_args(arguments)
    try:
        if options.command in ("build", "serve") and official_hosts_reachable():
            print("The official hosts can be reached: no mirror is needed.")
        elif options.command == "build":
            build(options.kubernetes)
        elif options.command == "serve":
            serve.start()
            print(f"The mirror is served at {layout.MIRROR_URL}.")
        elif options.command == "stop":
            serve.stop()
        else:
            print(serve.status())
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: complete components stay in the cache", file=sys.stderr)
        return 130
    return 0


def build(versions: list[str]) -> None:
    """Build what is missing for these versions of Kubernetes, and keep those that are already built."""
    require_build_tools()
    with cache.exclusive():
        wanted = [version for version in RELEASES if version in {*versions, *made_versions()}]
        parts = components(wanted)
        cache.build(parts)
        print(f"The mirror is built: {tree.assemble(parts)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.mirror", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser(
        "build", help="build what is missing; takes about 15 minutes the first time"
    )
    building.add_argument(
        "--kubernetes",
        nargs="+",
        choices=RELEASES,
        default=[next(iter(RELEASES))],
        metavar="VERSION",
        help=f"Kubernetes versions, from {', '.join(RELEASES)} (default: the first)",
    )
    commands.add_parser(
        "serve", help="serve it in a container on the lab's network, unless it is already served"
    )
    commands.add_parser("stop", help="remove the container; the cache stays")
    commands.add_parser("status", help="print what is built and served")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
