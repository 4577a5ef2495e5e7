"""Wait until the cluster is ready, and write its kubeconfig for the operator."""

import shlex
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys.clouds import cloud_of
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader
from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.documents.kubeconfig_file import refusal, user_name
from kubeadm_deploys.documents.local_files import write_private
from kubeadm_deploys.documents.templates import sha256, yaml_text
from kubeadm_deploys.facts.cluster_health import (
    KUBECTL,
    ClusterHealth,
    NodesInitialized,
    NodesReady,
    WorkloadsAvailable,
    crowded_dns_pods,
)
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import API_PORT, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.framing import framed_command, framed_lines
from kubeadm_deploys.remote.reading import NotRead, ask, read, wait


@operation()
@fails_clearly
def cluster_ready(
    *, topology: Topology, workloads: list[str], timeout: int, network: bool = True
) -> Generator[FunctionCommand, None, None]:
    """Wait until nodes are Ready and initialised by their cloud, workloads are available, and DNS is spread.

    Nodes of hosts that are not part of this run, or failed in it, are not waited for. While such a node is
    down, workloads are not waited for either: its pods still count as wanted for at least five minutes. Only
    moving a DNS pod is a change; a dry run does not wait.

    + topology: the cluster; its leader is asked
    + workloads: like ``deployment/coredns``
    + timeout: seconds for each of the conditions
    + network: whether this package installs a pod network; if not, nodes and pods are only waited for once a node
      is Ready, because a user has installed one
    """
    api_leader = ask_leader(host.state, topology)
    if not acts_for_cluster(host, api_leader):
        host.noop("runs on another host")
        return
    if not api_leader.api_answers:
        return
    leader = inventory.get_host(api_leader.leader)
    health = read(leader, ClusterHealth)
    nodes = [node.name for node in topology.nodes if inventory.get_host(node.host) in host.state.active_hosts]
    waits = host.state.is_executing and (network or any(health.nodes.values()))
    if waits and not all(health.nodes.get(node) for node in nodes):
        unready = [node for node in nodes if not health.nodes.get(node)]
        wait(
            leader,
            NodesReady,
            what=f"waiting for {some(unready)} to become Ready",
            seconds=timeout + 60,
            nodes=tuple(nodes),
            timeout=timeout,
        )
        health = ask(leader, ClusterHealth)
    if host.state.is_executing and health.uninitialized:
        wait(
            leader,
            NodesInitialized,
            what=f"waiting for the cloud controller to initialise {some(health.uninitialized)}",
            seconds=timeout + 60,
            timeout=timeout,
        )
        health = ask(leader, ClusterHealth)
    if not network and not any(health.nodes.values()):
        host.noop("cni is none, and no node is Ready yet")
        if host.state.is_executing:
            logger.info("--> cni is none: nodes become Ready and CoreDNS runs once you install a pod network")
        return
    down = sorted(node for node, ready in health.nodes.items() if not ready and node not in nodes)
    if down and host.state.is_executing:
        logger.warning(f"--> Warning: not Ready: {', '.join(down)}; not waiting for kube-system pods")
        return
    crowded = crowded_dns_pods(health)
    if crowded:
        yield calling(_delete_pods, leader, crowded)
    unavailable = [name for name in workloads if crowded or not health.workloads.get(name)]
    if host.state.is_executing and unavailable:
        wait(
            leader,
            WorkloadsAvailable,
            what=f"waiting for {some(unavailable)}",
            seconds=timeout * len(workloads) + 60,
            workloads=tuple(workloads),
            timeout=timeout,
        )


def _delete_pods(state: State, host: Host, leader: Host, pods: list[str]) -> bool:
    names = " ".join(map(shlex.quote, pods))
    deleted, output = direct.run(leader, f"{KUBECTL} --namespace kube-system delete pod --wait=false {names}")
    if not deleted:
        host.log(f"{leader.name}: could not move {names}: {output.stderr}")
    return deleted


_ADMIN_CONF = "/etc/kubernetes/admin.conf"


def operator_kubeconfig(admin_conf: str, *, cluster_name: str, server: str, tls_server_name: str) -> str:
    """Return kubeadm's admin.conf for use from outside: a reachable address, and names that can be merged.

    The certificate is checked against ``tls_server_name``, which the operator's machine need not resolve.
    """
    document: dict[str, Any] = yaml.safe_load(admin_conf)
    user = user_name(cluster_name)
    cluster = {**document["clusters"][0]["cluster"], "server": server, "tls-server-name": tls_server_name}
    document["clusters"] = [{"name": cluster_name, "cluster": cluster}]
    document["users"] = [{"name": user, "user": document["users"][0]["user"]}]
    document["contexts"] = [{"name": cluster_name, "context": {"cluster": cluster_name, "user": user}}]
    document["current-context"] = cluster_name
    return yaml_text(document)


def server_url(address: str, *, port: int) -> str:
    """Return the URL of the API, by name or by an address of either family."""
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


@operation()
@fails_clearly
def fetched(
    *, topology: Topology, path: str, cluster_name: str, address: str, port: int, tls_server_name: str
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Keep a kubeconfig of this cluster on the operator's machine, readable by the operator only.

    A file that names any control plane whose API server answers is left alone. If the file also holds other
    clusters, users or contexts, or is not a kubeconfig, it is kept and the operation fails.

    + topology: the cluster; only its leader acts
    + path: where to write it there; if it is a link, its target is written
    + cluster_name: name of the cluster and of the context in it
    + address: host or address of the API as the operator reaches it; empty: the leader's
    + port: of the API as the operator reaches it
    + tls_server_name: the name that the API server's certificate is checked against
    """
    api_leader = ask_leader(host.state, topology)
    if host.name != api_leader.leader:
        host.noop(f"runs on {api_leader.leader}")
        return
    file = Path(path).expanduser().resolve()
    if problem := refusal(file, cluster_name=cluster_name):
        yield failed(problem)
        return
    nodes = api_leader.healthy_control_planes(topology)
    forms = {
        node.host: partial(
            operator_kubeconfig,
            cluster_name=cluster_name,
            server=server_url(address or node.address, port=port),
            tls_server_name=tls_server_name,
        )
        for node in nodes
    }
    for machine, form in forms.items():
        # Any of them will do. If none can be read, fetching the file reports what is wrong.
        with suppress(NotRead):
            admin = read(inventory.get_host(machine), KubeadmNode).admin
            if is_of(file, admin=admin, form=form):
                host.noop(f"{path} is up to date")
                return
    yield calling(_fetch, file, forms)


def is_of(path: Path, *, admin: Mapping[str, str], form: Callable[[str], str]) -> bool:
    """Return whether a private file is what ``form`` makes of an admin.conf with these sha256 of values."""
    if not admin or not path.is_file() or path.stat().st_mode & 0o777 != 0o600:
        return False
    text = path.read_text()
    try:
        document = yaml.safe_load(text)
        values = {**document["clusters"][0]["cluster"], **document["users"][0]["user"]}
        return form(text) == text and all(sha256(str(values[key])) == known for key, known in admin.items())
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError):
        return False


def _fetch(state: State, host: Host, path: Path, forms: Mapping[str, Callable[[str], str]]) -> bool:
    for machine, form in forms.items():
        # Not read as a fact: pyinfra can print the answers of facts.
        found, output = direct.run(
            inventory.get_host(machine), framed_command("AdminConf", f"cat {_ADMIN_CONF}")
        )
        lines = framed_lines("AdminConf", output.stdout_lines)
        if found and lines is not None:
            return _write(host, path, form("\n".join(lines)))
    host.log(f"{_ADMIN_CONF} cannot be read")
    return False


def _write(host: Host, path: Path, text: str) -> bool:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, text)
    except OSError as error:
        host.log(f"{path} cannot be written: {error}")
        return False
    host.log(f"Wrote {path}; use it with: kubectl --kubeconfig {path} get nodes")
    return True


WORKLOADS = ("daemonset/kube-proxy", "deployment/coredns")
"""What pods need from kube-system besides their network: Services and DNS."""


def workloads(options: ClusterOptions) -> list[str]:
    """Return the workloads of kube-system that a cluster needs, including its cloud's controllers."""
    return [*WORKLOADS, *cni_of(options).workloads, *cloud_of(options).workloads]


@deploy("Readiness")
def wait_until_ready(*, options: ClusterOptions, topology: Topology) -> None:
    """Wait until every node is Ready and initialised by its cloud, and has network, Services and DNS."""
    cluster_ready(
        name="Wait for nodes, network and DNS",
        topology=topology,
        workloads=workloads(options),
        timeout=options.ready_timeout,
        network=cni_of(options).install is not None,
    )


@deploy("Kubeconfig")
def fetch_kubeconfig(*, options: ClusterOptions, topology: Topology) -> None:
    """Write the administrator's kubeconfig to the operator's machine, mode 0600."""
    if topology.node(host.name) in topology.control_planes:
        fetched(
            name=f"Write {options.kubeconfig_path}",
            topology=topology,
            path=options.kubeconfig_path,
            cluster_name=options.cluster_name,
            address=options.kubeconfig_address,
            port=API_PORT,
            tls_server_name=options.endpoint,
        )
