"""How a cluster's things are called and labelled in a Hetzner project, and where its local state lives."""

from collections.abc import Mapping
from pathlib import Path

CLUSTER_LABEL = "kubeadm-deploys/cluster"
"""On everything that belongs to a cluster; its value is the cluster's name."""

ROLE_LABEL = "kubeadm-deploys/role"
POOL_LABEL = "kubeadm-deploys/pool"

CONTROL_PLANE = "control-plane"
WORKER = "worker"


def cluster_selector(cluster_name: str) -> str:
    """The label selector of everything that belongs to a cluster."""
    return f"{CLUSTER_LABEL}={cluster_name}"


def belongs_to(labels: Mapping[str, str], cluster_name: str) -> bool:
    """Whether something with these labels belongs to the cluster."""
    return labels.get(CLUSTER_LABEL) == cluster_name


def control_plane_selector(cluster_name: str) -> str:
    """The label selector of a cluster's control planes."""
    return f"{cluster_selector(cluster_name)},{ROLE_LABEL}={CONTROL_PLANE}"


def state_folder(cluster_name: str) -> Path:
    """What is remembered of a cluster on the operator's machine, in the folder that pyinfra is started in."""
    return Path(".kubeadm-deploys") / cluster_name


def recorded_servers(cluster_name: str) -> Path:
    """The API's last answer to the inventory."""
    return state_folder(cluster_name) / "servers.json"
