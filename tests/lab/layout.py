"""Names and addresses that every part of the lab agrees on."""

import os
from pathlib import Path

LABEL = "kubeadm-deploys"
"""Label key on every docker object of the lab; its value is the kind: host, mirror, network, image."""

NETWORK = "kubeadm-deploys"
SUBNET = "10.213.0.0/24"
GATEWAY = "10.213.0.1"
MIRROR_CONTAINER = "kubeadm-deploys-mirror"
MIRROR_ADDRESS = "10.213.0.2"
LOAD_BALANCER_ADDRESS = "10.213.0.3"
MIRROR_URL = f"http://{MIRROR_ADDRESS}"


def cache_folder() -> Path:
    """Folder outside the checkout that keeps what is slow to make."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kubeadm-deploys"
