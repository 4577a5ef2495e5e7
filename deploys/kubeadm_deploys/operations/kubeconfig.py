"""The administrator's kubeconfig on the operator's machine."""

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pyinfra import host, inventory
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.facts.framing import framed_command, framed_lines
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.facts.reading import NotRead, read
from kubeadm_deploys.kubeconfig_file import refusal, user_name
from kubeadm_deploys.local_files import write_private
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.text import sha256, yaml_text

_ADMIN_CONF = "/etc/kubernetes/admin.conf"


def operator_kubeconfig(admin_conf: str, *, cluster_name: str, server: str, tls_server_name: str) -> str:
    """kubeadm's admin.conf for use from outside: reachable address, and names that can be merged with others.

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
    """Where the API is, by name or by address of either family."""
    return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"


@operation()
@fails_clearly
def fetched(
    *, topology: Topology, path: str, cluster_name: str, address: str, port: int, tls_server_name: str
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Keep a kubeconfig of this cluster on the operator's machine, readable by the operator only.

    A file that names any control plane whose API server answers is left alone. One that holds other clusters, users or
    contexts too, or is not a kubeconfig, makes the operation fail and stays.

    + topology: the cluster; its leader does it
    + path: where to write it there; where it is a link, its file is written
    + cluster_name: name of the cluster and of the context in it
    + address: host or address of the API as the operator reaches it; empty: the leader's
    + port: of the API as the operator reaches it
    + tls_server_name: the name that the API server's certificate is checked against
    """
    election = ask_leader(host.state, topology)
    if host.name != election.leader:
        host.noop("another control plane does it")
        return
    file = Path(path).expanduser().resolve()
    if problem := refusal(file, cluster_name=cluster_name):
        yield failed(problem)
        return
    nodes = election.usable(topology)
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
        # Any of them will do, and without all of them the file is fetched, which says what is wrong.
        with suppress(NotRead):
            admin = read(inventory.get_host(machine), KubeadmNode).admin
            if is_of(file, admin=admin, form=form):
                host.noop(f"{path} is up to date")
                return
    yield calling(_fetch, file, forms)


def is_of(path: Path, *, admin: Mapping[str, str], form: Callable[[str], str]) -> bool:
    """Whether a private file is what ``form`` makes of an admin.conf, of which sha256 of its values is known by key."""
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
        # Past the facts, whose answers pyinfra can be told to print.
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
