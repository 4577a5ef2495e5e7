"""What cloud-init finds in a new server."""

import json

from tests.lab.hetzner.backend import Machine

_SEED = "/var/lib/cloud/seed/nocloud"


def seed(server: Machine) -> dict[str, str]:
    """Files, by their paths, of cloud-init's data source NoCloud: who the server is, and what its user wants of it."""
    metadata = {
        "instance-id": str(server.id),
        "local-hostname": server.name,
        "public-keys": list(server.ssh_keys),
    }
    return {
        # JSON is YAML.
        f"{_SEED}/meta-data": json.dumps(metadata),
        # Empty when there are none: a cloud-config with nothing in it counts as a broken one.
        f"{_SEED}/user-data": server.user_data,
    }
