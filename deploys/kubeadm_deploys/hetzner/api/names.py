"""Names and labels of a cluster's resources in a Hetzner project, and the paths of its local state."""

from collections.abc import Mapping
from pathlib import Path

CLUSTER_LABEL = "kubeadm-deploys/cluster"
"""On every resource of a cluster; the value is the cluster's name."""

ROLE_LABEL = "kubeadm-deploys/role"
POOL_LABEL = "kubeadm-deploys/pool"

CONTROL_PLANE = "control-plane"
WORKER = "worker"


def cluster_selector(cluster_name: str) -> str:
    """Return the label selector for every resource of a cluster."""
    return f"{CLUSTER_LABEL}={cluster_name}"


def belongs_to(labels: Mapping[str, str], cluster_name: str) -> bool:
    """Return whether a resource with these labels belongs to the cluster."""
    return labels.get(CLUSTER_LABEL) == cluster_name


def control_plane_selector(cluster_name: str) -> str:
    """Return the label selector for a cluster's control planes."""
    return f"{cluster_selector(cluster_name)},{ROLE_LABEL}={CONTROL_PLANE}"


def state_folder(cluster_name: str) -> Path:
    """Return a cluster's state folder on the operator's machine, relative to where pyinfra is started."""
    return Path(".kubeadm-deploys") / cluster_name


def recorded_servers(cluster_name: str) -> Path:
    """Return the path of the API's last answer to the inventory."""
    return state_folder(cluster_name) / "servers.json"
