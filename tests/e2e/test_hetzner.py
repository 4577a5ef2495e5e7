"""From an API token to a verified cluster over SSH, and to its removal, with the README's command lines.

The tests run in the order of a cluster's life and share it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PREFIX, Run
from tests.e2e.hetzner_project import Project, lab_options
from tests.e2e.room import places, room
from tests.lab import layout
from tests.lab.docker import docker, ensure_network, labelled
from tests.lab.hetzner.docker_backend import DockerBackend
from tests.lab.hetzner.docker_images import appliance_image
from tests.lab.hetzner.server import running

NAME = f"{PREFIX}-hcloud"
CONTROL_PLANE = f"{NAME}-control-plane-1"
WORKER = f"{NAME}-worker-1"
NEW_WORKER = f"{NAME}-worker-2"

API_PORT = 8443

PORTS = (22, 80, 179, 2379, 2380, 6443, 10248, 10249, 10250, 10256, 10257, 10259, 30000, 32767)
"""Ports on which a node listens, and some on which it does not."""

CONTROL_PLANE_TAINT = {"effect": "NoSchedule", "key": "node-role.kubernetes.io/control-plane"}

KINDS = ("servers", "networks", "firewalls", "load_balancers", "placement_groups", "ssh_keys", "volumes")


@pytest.fixture(scope="module")
def project(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Make an empty project folder, and an empty Hetzner project."""
    ensure_network()
    backend = DockerBackend(api_port=API_PORT)
    with (
        room(places(control_planes=1, workers=2)),
        running(backend=backend, address=layout.GATEWAY, port=API_PORT) as api,
    ):
        project = Project(
            folder=tmp_path_factory.mktemp("hetzner"),
            api=api,
            name=NAME,
            hetzner={"network": "10.214.0.0/16"},
            options=lab_options(cluster=NAME),
        )
        project.create()
        yield project


@pytest.fixture(scope="module")
def made(project: Project) -> Run:
    """Make the servers, and return the run that made them a cluster."""
    run = project.servers("-y")
    assert run.exit_code == 0, run.output
    return project.converge()


def writes(project: Project) -> list[str]:
    return [f"{call.method} {call.path}" for call in project.api.calls if call.write]


def test_the_plan_and_its_cost_are_printed_and_a_dry_run_writes_nothing(project: Project) -> None:
    run = project.servers("--dry")
    assert run.exit_code == 0, run.output
    for name in (CONTROL_PLANE, WORKER):
        assert name in run.output
    assert "per month" in run.output
    assert writes(project) == []


def test_the_error_for_an_inventory_without_servers_names_the_deploy_that_makes_them(
    project: Project,
) -> None:
    run = project.cluster("-y")
    assert run.exit_code == 1
    assert "deploys/servers.py" in run.output


def test_servers_become_a_cluster(project: Project, made: Run) -> None:
    assert "Control plane | Create the control plane" in made.changed
    assert "Joining | Join the cluster" in made.changed
    nodes = {node["metadata"]["name"]: node for node in kubectl(project, "get", "nodes")["items"]}
    assert sorted(nodes) == [CONTROL_PLANE, WORKER]
    for name, node in nodes.items():
        server = project.server(name)
        addresses = {address["type"]: address["address"] for address in node["status"]["addresses"]}
        assert node["spec"]["providerID"] == f"hcloud://{server.id}"
        assert [addresses["InternalIP"]] == [private.ip for private in server.private_net or []]
        assert node["spec"].get("taints", []) == ([CONTROL_PLANE_TAINT] if name == CONTROL_PLANE else [])


def kubectl(project: Project, *arguments: str) -> dict[str, Any]:
    command = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", *arguments, "--output=json")
    listed: dict[str, Any] = json.loads(project.ssh(CONTROL_PLANE, " ".join(command)))
    return listed


def test_the_verification_suites_pass_over_ssh(project: Project, made: Run) -> None:
    run = project.verify("-rs")
    assert run.exit_code == 0, run.output
    skipped = [line for line in run.output.splitlines() if line.startswith("SKIPPED")]
    # Some other checks do not apply here, such as swap; if none was skipped, the next line would prove
    # nothing.
    assert skipped
    assert [line for line in skipped if "cloud_controller" in line or "load_balancers" in line] == []


def test_a_second_run_of_both_writes_nothing_and_changes_no_host(project: Project, made: Run) -> None:
    project.api.calls.clear()
    run = project.servers("-y")
    assert run.exit_code == 0, run.output
    assert len(project.api.calls) <= 8
    assert project.converge().changed == []
    assert writes(project) == []


def test_administrator_rights_from_an_older_cloud_controller_manifest_are_revoked(
    project: Project, made: Run
) -> None:
    name = "system:hcloud-cloud-controller-manager"
    account = "--serviceaccount=kube-system:hcloud-cloud-controller-manager"
    kubectl(project, "create", "clusterrolebinding", name, "--clusterrole=cluster-admin", account)
    removed = "Remove cluster-admin rights from the cloud controller"
    assert [operation.rpartition(" | ")[2] for operation in project.converge().changed] == [removed]
    bindings = kubectl(project, "get", "clusterrolebindings")["items"]
    assert [binding["roleRef"]["name"] for binding in bindings if name in binding["metadata"]["name"]] == [
        name
    ]
    assert project.converge().changed == []


def test_only_the_allowed_ports_answer_from_outside(project: Project, made: Run) -> None:
    assert open_ports(project.address(CONTROL_PLANE)) == {22, 6443}
    # All servers share one firewall; a worker has no API server.
    assert open_ports(project.address(WORKER)) == {22}


def open_ports(address: str) -> set[int]:
    """Return the ports that a container outside the servers' private network can connect to."""
    attempts = " ".join(f"try {port} &" for port in PORTS)
    script = (
        f"try() {{ timeout 3 bash -c ': < /dev/tcp/{address}/'$1 2> /dev/null && echo $1; }}; {attempts} wait"
    )
    listed = docker(
        *("run", "--rm", f"--network={layout.NETWORK}", f"--label={layout.LABEL}=host"),
        *("--entrypoint=bash", appliance_image(), "-c", script),
    )
    return {int(port) for port in listed.split()}


def test_adding_a_worker_changes_only_it_and_one_control_plane(project: Project, made: Run) -> None:
    project.describe(worker_pools={"worker": {"count": 2}})
    project.api.calls.clear()
    run = project.servers("-y")
    assert run.exit_code == 0, run.output
    assert writes(project) == ["POST /servers"]
    joined = project.converge()
    changed_hosts = {host for operation in joined.operations for host in operation["success"]}
    assert changed_hosts == {NEW_WORKER, CONTROL_PLANE}
    assert project.converge().changed == []


def test_a_smaller_count_only_prints_what_to_remove_and_how(project: Project, made: Run) -> None:
    project.describe(worker_pools={"worker": {"count": 1}})
    project.api.calls.clear()
    run = project.servers("-y")
    assert run.exit_code == 0, run.output
    assert f"hcloud server delete {NEW_WORKER}" in run.output
    assert writes(project) == []


def test_no_token_is_in_any_output_or_on_any_disk(project: Project, made: Run) -> None:
    assert project.api.token not in made.output
    holders = [path for path in project.folder.rglob("*") if path.is_file() and _holds_token(project, path)]
    assert holders == []


def _holds_token(project: Project, path: Path) -> bool:
    return project.api.token.encode() in path.read_bytes()


def test_destroy_requires_the_clusters_name_and_leaves_nothing(project: Project, made: Run) -> None:
    project.api.calls.clear()
    refused = project.destroy()
    assert refused.exit_code == 1
    assert NEW_WORKER in refused.output
    assert writes(project) == []
    run = project.destroy(f"--data=confirm={NAME}")
    assert run.exit_code == 0, run.output
    for kind in KINDS:
        assert getattr(project.client, kind).get_all() == [], kind
    assert labelled("ps", "--all", "--quiet", labels={layout.LABEL: "hcloud"}) == []
    assert not (project.folder / ".kubeadm-deploys" / NAME).exists()
