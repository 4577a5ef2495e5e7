"""cloud-init's data in a new server."""

import json

from tests.lab.hetzner.backend import Machine

_SEED = "/var/lib/cloud/seed/nocloud"


def seed(server: Machine) -> dict[str, str]:
    """Return cloud-init's files for the data source NoCloud, by path: the server's metadata and user data."""
    metadata = {
        "instance-id": str(server.id),
        "local-hostname": server.name,
        "public-keys": list(server.ssh_keys),
    }
    return {
        # JSON is YAML.
        f"{_SEED}/meta-data": json.dumps(metadata),
        # If there is no user data: empty, because an empty cloud-config is an error.
        f"{_SEED}/user-data": server.user_data,
    }
