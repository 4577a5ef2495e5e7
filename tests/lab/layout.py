"""Names and addresses that all parts of the lab share."""

import os
from pathlib import Path

LABEL = "kubeadm-deploys"
"""Label key on every docker object of the lab; the value is its kind: host, mirror, network, image."""

NETWORK = "kubeadm-deploys"
SUBNET = "10.213.0.0/24"
GATEWAY = "10.213.0.1"
MIRROR_CONTAINER = "kubeadm-deploys-mirror"
MIRROR_ADDRESS = "10.213.0.2"
LOAD_BALANCER_ADDRESS = "10.213.0.3"
PROXY_ADDRESS = "10.213.0.249"
OFFICIAL_HOSTS_ADDRESS = "10.213.0.250"
"""These two are far from the first ones, which docker gives to containers that ask for none."""
MIRROR_URL = f"http://{MIRROR_ADDRESS}"


def cache_folder() -> Path:
    """Return the folder, outside the checkout, for files that are slow to build."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "kubeadm-deploys"
