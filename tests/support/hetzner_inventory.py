"""Servers as the API returns them, and helpers that the tests of the inventory share.

A test module that uses the fixture imports it and lists it in ``__all__``.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra import logger

from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from tests.support.hetzner_cluster import described, write_key


def server(name: str = "demo-worker-1", *, number: int = 42, **changes: Any) -> dict[str, Any]:
    """Return a server as the API does, without the fields that are the same for all."""
    role = "control-plane" if "control-plane" in name else "worker"
    return {
        "id": number,
        "name": name,
        "status": "running",
        "labels": {
            "kubeadm-deploys/cluster": "demo",
            "kubeadm-deploys/role": role,
            "kubeadm-deploys/pool": name.removeprefix("demo-").rpartition("-")[0],
        },
        "public_net": {
            "ipv4": {"id": 1, "ip": "203.0.113.7", "blocked": False, "dns_ptr": "static.example"},
            "ipv6": {"id": 2, "ip": "2001:db8:0:3f3::/64", "blocked": False, "dns_ptr": []},
            "floating_ips": [],
            "firewalls": [{"id": 3, "status": "applied"}],
        },
        "private_net": [private("10.0.0.3")],
        "location": {"id": 1, "name": "fsn1", "network_zone": "eu-central"},
        "datacenter": {"id": 4, "name": "fsn1-dc14", "location": {"name": "somewhere-else"}},
        **changes,
    }


def private(ip: str, *, network: int = 5, mac: str = "86:00:00:9e:43:53") -> dict[str, Any]:
    return {"network": network, "ip": ip, "alias_ips": [], "mac_address": mac}


def described_as(folder: Path, *, name: str = "demo", **settings: object) -> ClusterDescription:
    return described(write_key(folder), name=name, **settings)


def ssh_says(config: Path, host: str) -> dict[str, str]:
    """Return ssh's own reading of the file for a host."""
    shown = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True)
    return dict(line.partition(" ")[::2] for line in shown.stdout.splitlines())


@pytest.fixture
def clean_logger() -> Iterator[None]:
    filters = list(logger.filters)
    yield
    logger.filters[:] = filters
