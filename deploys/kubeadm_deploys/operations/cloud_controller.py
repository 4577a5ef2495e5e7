"""The Secret from which Hetzner's cloud controller manager and CSI driver know the project."""

import base64
import json
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.facts.cloud_controller import OLD_BINDING, CloudAdministrator, CloudSecret
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.hetzner.cloud import HetznerCloud
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.text import sha256


@operation()
@fails_clearly
def secret_applied(*, topology: Topology, cloud: HetznerCloud) -> Generator[StringCommand, None, None]:
    """Keep the token and the network in the cluster; without a token what is there stays.

    + topology: the cluster; its leader does it
    + cloud: the cluster's place in a Hetzner project
    """
    election = ask_leader(host.state, topology)
    if host.name != election.leader:
        host.noop("another control plane does it")
        return
    if not (host.state.is_executing or election.api_answers):
        # The plan wants to know only that there is something to do.
        yield StringCommand(f"{KUBECTL} apply")
        return
    found = read(host, CloudSecret)
    if not cloud.token or (found.token_sha256, found.network) == (sha256(cloud.token), cloud.network):
        host.noop("the cluster has it already")
        return
    # Only stdin is in no log, no list of processes and no file.
    yield StringCommand(
        f"{KUBECTL} apply --server-side --force-conflicts --field-manager kubeadm-deploys --filename -",
        _stdin=secret(cloud),
    )


@operation()
@fails_clearly
def old_rights_removed(*, topology: Topology) -> Generator[StringCommand, None, None]:
    """Take from the cloud controller the rights of an administrator that an older manifest gave it.

    + topology: the cluster; its leader does it
    """
    election = ask_leader(host.state, topology)
    if host.name != election.leader:
        host.noop("another control plane does it")
        return
    if not (host.state.is_executing or election.api_answers):
        host.noop("a cluster that is made anew has none")
        return
    if read(host, CloudAdministrator):
        yield StringCommand(f"{KUBECTL} delete clusterrolebinding --ignore-not-found {OLD_BINDING}")
    else:
        host.noop("it has them no more")


def secret(cloud: HetznerCloud) -> str:
    """The Secret with the keys that both manifests read."""
    values = {"token": cloud.token, "network": cloud.network}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hcloud", "namespace": "kube-system"},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
    )
