"""Docker hosts: containers that run systemd and replace servers in tests."""

import argparse
import fcntl
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.lab import containers, layout, mirror, routes
from tests.lab.docker import LabError, docker, ensure_network, labelled
from tests.lab.host import (
    CLUSTER_LABEL,
    Host,
    crowding,
    from_container,
    inotify_instances,
    lab_data,
    missing_hosts,
    order,
    refuse_other_data,
    service_load_balancer_cidrs,
)
from tests.lab.images import CODENAMES, host_image
from tests.lab.layout import LABEL
from tests.lab.mirror import apt
from tests.lab.probe import Machine, probe

__all__ = ["Host", "down", "down_all", "inotify_room", "list_hosts", "restart", "show", "up"]

HCLOUD = "hcloud"
"""Label value of the containers that the double of Hetzner's API creates, and of their volumes."""

_MACHINES = ("host", HCLOUD)


def up(
    *,
    cluster: str,
    control_planes: int = 1,
    workers: int = 1,
    debian: Sequence[int] = (12,),
    data: Mapping[str, Any] | None = None,
) -> list[Host]:
    """Create a cluster's missing hosts, start the stopped ones, and wait until all have booted.

    Hosts get the releases in `debian` in turn. `data` is host data for all hosts, added to the lab's own.
    """
    with exclusive():
        everyone = list_hosts()
        existing = [host for host in everyone if host.cluster == cluster]
        refuse_other_data(hosts=existing, data=data or {})
        missing = missing_hosts(
            cluster=cluster,
            counts={"control_plane": control_planes, "workers": workers},
            debian=debian,
            everyone=everyone,
        )
        stopped = [host for host in existing if not host.running]
        if missing or stopped:
            machine = _bring_up(
                cluster=cluster, missing=missing, stopped=stopped, debian=debian, data=data or {}
            )
            running = [host for host in everyone if host.running]
            if warning := crowding(hosts=[*running, *stopped, *missing], machine=machine):
                print(f"warning: {warning}", file=sys.stderr)
    _each(containers.await_boot, existing + missing)
    return list_hosts(cluster=cluster)


def list_hosts(*, cluster: str | None = None) -> list[Host]:
    """Return the lab's hosts, or those of one cluster: control planes first, then by number."""
    labels = {LABEL: "host"} | ({CLUSTER_LABEL: cluster} if cluster else {})
    ids = labelled("ps", "--all", "--quiet", labels=labels)
    inspected = json.loads(docker("inspect", *ids)) if ids else []
    return sorted(map(from_container, inspected), key=order)


def inotify_room() -> int:
    """Return how many inotify instances the machine has left if all running hosts are in clusters.

    Builds the host image if it is missing, because the machine is probed from a container.
    """
    key = None if mirror.official_hosts_reachable() else apt.public_key()
    machine = probe(image=host_image(debian=12, mirror_key=key))
    running = (host for host in list_hosts() if host.running)
    return machine.inotify_instances - inotify_instances(running)


def down(*, cluster: str) -> None:
    """Remove a cluster's hosts with their volumes and routes; with the last host, all routes."""
    with exclusive():
        ranges = service_load_balancer_cidrs(list_hosts(cluster=cluster))
        containers.remove(labels={LABEL: "host", CLUSTER_LABEL: cluster})
        if not remove_unused_routes() and ranges:
            routes.remove_led(image=_any_image(), ranges=ranges)


def down_all() -> None:
    """Remove everything of the lab from docker and the machine, except images and cache."""
    if not shutil.which("docker"):
        return  # Without docker nothing was ever created.
    with exclusive():
        for kind in (*_MACHINES, "load-balancer", "official-hosts", "proxy", "client", "mirror"):
            containers.remove(labels={LABEL: kind})
        _remove_routes()
        for network in labelled("network", "ls", "--quiet", labels={LABEL: "network"}):
            docker("network", "rm", network)


def restart(*, cluster: str) -> list[Host]:
    """Restart all hosts of a cluster at once, like a power cut, and wait until they have booted."""
    hosts = list_hosts(cluster=cluster)
    _each(lambda host: containers.restart(host.name), hosts)
    _each(containers.await_boot, hosts)
    return list_hosts(cluster=cluster)


def show(*, cluster: str) -> str:
    """Return a text with the cluster's nodes, and how to use and remove it."""
    hosts = list_hosts(cluster=cluster)
    if not hosts:
        raise LabError(f"cluster {cluster!r} has no docker hosts: create some with `make cluster`")
    first = hosts[0]
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
    kubeconfig = first.data.get("kubeconfig") or f"{first.data['cluster_name']}.kubeconfig"
    return (
        docker("exec", first.name, *kubectl.split(), "get", "nodes", "--output=wide")
        + f"\nkubeconfig:        {kubeconfig} (grants all rights; only you can read it)"
        + f"\nuse the cluster:   kubectl --kubeconfig {kubeconfig} get pods --all-namespaces"
        + f"\nwithout a kubectl: docker exec {first.name} {kubectl} get pods --all-namespaces"
        + "\nremove everything: make clean"
    )


def setting(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE; a value is JSON if possible, else text; a version such as 1.36 is text."""
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value, parse_float=str)
    except json.JSONDecodeError:
        return key, value


def cluster_name(text: str) -> str:
    """Check a cluster name, which is the start of host names (RFC 1123, with room for the rest)."""
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a cluster name: use up to 40 lower-case letters, digits and hyphens, "
            "starting with a letter"
        )
    return text


def _bring_up(
    *,
    cluster: str,
    missing: Iterable[Host],
    stopped: Iterable[Host],
    debian: Sequence[int],
    data: Mapping[str, Any],
) -> Machine:
    settings = mirror.settings()
    images = _images(releases=debian, mirror_key=apt.public_key() if settings else None)
    image = images[debian[0]]
    machine = probe(image=image)
    common = {**lab_data(cluster=cluster, machine=machine), **settings, **data}
    new = [replace(host, data={**common, **host.data}) for host in missing]
    ensure_network()
    routes.add(image=image)
    if ranges := service_load_balancer_cidrs([*stopped, *new]):
        routes.lead(image=image, ranges=ranges)
    _each(lambda host: containers.create(host=host, image=images[host.debian], machine=machine), new)
    _each(lambda host: docker("start", host.name), stopped)
    return machine


def _images(*, releases: Sequence[int], mirror_key: str | None) -> dict[int, str]:
    distinct = sorted(set(releases))
    with ThreadPoolExecutor() as pool:
        tags = pool.map(lambda release: host_image(debian=release, mirror_key=mirror_key), distinct)
        return dict(zip(distinct, tags, strict=True))


def remove_unused_routes() -> bool:
    """Remove the lab's routes if no host needs them; return whether they were removed."""
    if any(labelled("ps", "--all", "--quiet", labels={LABEL: kind}) for kind in _MACHINES):
        return False
    _remove_routes()
    return True


def _remove_routes() -> None:
    # Without an image no host ever ran, so there are no routes.
    if image := _any_image():
        routes.remove(image=image)


def _any_image() -> str:
    """Return any image of the lab's hosts, or an empty string."""
    return next(iter(labelled("image", "ls", "--quiet", f"{LABEL}/host", labels={LABEL: "image"})), "")


def _each(action: Callable[[Host], object], hosts: Iterable[Host]) -> None:
    """Run an action on all hosts in parallel; raise the first error when all are done."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        for _ in pool.map(action, hosts):
            pass


@contextmanager
def exclusive() -> Iterator[None]:
    """Lock out other commands, so that two do not choose the same address or remove a network in use."""
    layout.cache_folder().mkdir(parents=True, exist_ok=True)
    with (layout.cache_folder() / "hosts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _print_table(hosts: Sequence[Host]) -> None:
    if not hosts:
        print("no docker hosts")
    for host in hosts:
        state = "running" if host.running else "stopped"
        print(f"{host.name:32} {host.address:14} {host.group:14} Debian {host.debian}  {state}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.hosts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("up", help="create and start the hosts of a cluster")
    command.add_argument("--cluster", type=cluster_name, default="kubeadm")
    command.add_argument("--control-planes", type=int, default=1)
    command.add_argument("--workers", type=int, default=1)
    command.add_argument("--debian", choices=("12", "13", "mixed"), default="12")
    command.add_argument("--data", metavar="KEY=VALUE", type=setting, action="append", default=[])
    command = commands.add_parser("list", help="list hosts")
    command.add_argument("--cluster", type=cluster_name)
    command = commands.add_parser("show", help="show a cluster's nodes, and how to use and remove it")
    command.add_argument("--cluster", type=cluster_name, default="kubeadm")
    command = commands.add_parser("restart", help="restart the hosts of a cluster")
    command.add_argument("--cluster", type=cluster_name, required=True)
    command = commands.add_parser("down", help="remove hosts")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--cluster", type=cluster_name)
    which.add_argument(
        "--all", action="store_true", help="everything of the lab, also the mirror's container"
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            hosts = up(
                cluster=arguments.cluster,
                control_planes=arguments.control_planes,
                workers=arguments.workers,
                debian=tuple(CODENAMES) if arguments.debian == "mixed" else (int(arguments.debian),),
                data=dict(arguments.data),
            )
            _print_table(hosts)
        case "list":
            _print_table(list_hosts(cluster=arguments.cluster))
        case "show":
            print(show(cluster=arguments.cluster))
        case "restart":
            _print_table(restart(cluster=arguments.cluster))
        case "down" if arguments.all:
            down_all()
        case "down":
            down(cluster=arguments.cluster)


def main() -> None:
    """Run the command line; errors that the user can fix are printed as one sentence."""
    try:
        _run(_parser().parse_args())
    except LabError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
