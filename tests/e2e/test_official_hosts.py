"""Without a mirror: the official names, with TLS, tokens and redirects as theirs, and everything else closed.

The tests run in the order of the machines' life and share them.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import ROOT, Cluster, Run, docker_hosts
from tests.e2e.room import places
from tests.lab import hosts, layout, mirror
from tests.lab.official_hosts import (
    CLOSED,
    DOCKER,
    DOCKER_TARGET,
    DOCKER_TOKENS,
    FIRST,
    KUBERNETES_BLOBS_TARGET,
    KUBERNETES_IMAGES,
    KUBERNETES_MANIFESTS_TARGET,
    NAMES,
    PACKAGES,
    PACKAGES_TARGET,
    QUAY,
    QUAY_TARGET,
    RELEASES,
    RELEASES_TARGET,
    OfficialHosts,
    official_hosts,
)
from tests.support.certificates import Authority

PREFLIGHT = ROOT / "deploys/preflight.py"

DATA = {"mirror": ""}
"""The product's default in place of the lab's value; the checksums and the apt key remain the lab's."""

OF_HETZNER = "--data=cloud_provider=hetzner"
"""With this, a control plane also pulls from docker's registry."""

BEHIND = {name: name for name in FIRST}
"""The hosts that machines ask first, by themselves."""
TARGETS = {
    PACKAGES_TARGET: PACKAGES,
    RELEASES_TARGET: RELEASES,
    KUBERNETES_MANIFESTS_TARGET: KUBERNETES_IMAGES,
    QUAY_TARGET: QUAY,
    DOCKER_TARGET: DOCKER,
}
"""Hosts to which these redirect."""
FURTHER = {KUBERNETES_BLOBS_TARGET: KUBERNETES_IMAGES, DOCKER_TOKENS: DOCKER}
"""Hosts that are asked after or before those."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The CA that the machines trust."""
    return Authority("lab")


@pytest.fixture(scope="module")
def official(lab: None, authority: Authority) -> Iterator[OfficialHosts]:
    if not mirror.settings():
        pytest.skip("this machine reaches the official hosts, from which all other tests download too")
    with official_hosts(certificate=authority.issue_for_server(NAMES)) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(
    official: OfficialHosts, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Start bare hosts for one control plane and one worker; a later test adds a worker."""
    folder = tmp_path_factory.mktemp("official")
    takes = places(control_planes=1, workers=2)
    with docker_hosts("official", folder=folder, takes=takes, debian=(12, 13), data=DATA) as made:
        for host in made.hosts:
            give_access(made, host.name, authority)
        yield made


def give_access(cluster: Cluster, host: str, authority: Authority) -> None:
    """Let a machine reach nothing but the lab's network, and the official names there."""
    cluster.shell(
        host,
        f"echo '{layout.OFFICIAL_HOSTS_ADDRESS} {' '.join(NAMES)}' >> /etc/hosts; "
        f"echo '{authority.certificate}' > /usr/local/share/ca-certificates/lab.crt; update-ca-certificates; "
        "ip rule add not to 10.0.0.0/8 pref 100 type unreachable; "
        # A node answers its pods for their gateway, 169.254.1.1, only if it has a route to it.
        "ip rule add to 169.254.1.1 pref 99 lookup main",
    )


def preflight(cluster: Cluster) -> Run:
    return cluster.pyinfra("-y", OF_HETZNER, deploy=PREFLIGHT)


def test_bare_machines_pass_preflight(cluster: Cluster, official: OfficialHosts) -> None:
    run = preflight(cluster)
    assert run.exit_code == 0, run.output
    assert official.asked == {*NAMES} - {CLOSED}


def refused(name: str, first: str) -> str:
    return f"{first} answers 403{f' (from {name})' if name != first else ''}"


def silent(name: str, first: str) -> str:
    return f"{name}{f' for {first}' if name != first else ''} (Operation timed out"


@pytest.mark.parametrize("blocked", [BEHIND, TARGETS, FURTHER], ids=["first", "targets", "further"])
@pytest.mark.parametrize(
    ("fault", "words_of", "fix"),
    [
        ("refused", refused, "use another public address if this one is blocked"),
        ("silent", silent, "allow the connection, or set mirror"),
    ],
    ids=["refused", "silent"],
)
def test_each_host_that_cannot_be_used_is_named(
    cluster: Cluster,
    official: OfficialHosts,
    blocked: dict[str, str],
    fault: str,
    words_of: Callable[[str, str], str],
    fix: str,
) -> None:
    official.fault(fault, *blocked)
    run = preflight(cluster)
    assert run.exit_code == 1
    for name, first in blocked.items():
        assert words_of(name, first) in words(run)
    assert fix in words(run)
    assert "no changes were made" in words(run)


def words(run: Run) -> str:
    """Return the output without its line breaks."""
    return " ".join(run.output.split())


def test_a_cluster_is_made_and_a_second_run_changes_nothing(
    cluster: Cluster, official: OfficialHosts
) -> None:
    official.fault("none")
    cluster.converge()
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
    assert cluster.converge().changed == []


def test_a_worker_joins(cluster: Cluster, authority: Authority) -> None:
    hosts.up(cluster=cluster.name, control_planes=1, workers=2, debian=(12, 13), data=DATA)
    new = cluster.hosts[-1].name
    give_access(cluster, new, authority)
    cluster.converge()
    assert new in cluster.ready_nodes


def test_an_image_of_dockers_registry_is_pulled_with_its_token(cluster: Cluster) -> None:
    image = "docker.io/hetznercloud/hcloud-cloud-controller-manager:v1.35.0"
    crictl = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock"
    assert "up to date" in cluster.shell(cluster.worker, f"{crictl} pull {image}")


def test_the_closed_host_was_not_asked(cluster: Cluster, official: OfficialHosts) -> None:
    assert official.asked == {*NAMES} - {CLOSED}
    # It would have been seen.
    fails = f"! curl --silent https://{CLOSED}/release/stable-1.txt"
    assert cluster.shell(cluster.control_plane, fails) == ""
    assert CLOSED in official.asked
