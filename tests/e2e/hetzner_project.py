"""A user's project folder for Hetzner, and the command lines that a user runs in it."""

import pprint
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hcloud import Client
from hcloud.servers import BoundServer

from tests.e2e.conftest import ROOT, Run, completed, run_command
from tests.lab import host, mirror
from tests.lab.hetzner.server import Api
from tests.lab.images import host_image
from tests.lab.machine import require
from tests.lab.mirror import apt
from tests.lab.probe import probe


@dataclass(kw_only=True)
class Project:
    """A folder with the inventory, its description and an SSH key, and the API that it uses."""

    folder: Path
    api: Api
    name: str
    hetzner: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def create(self) -> None:
        """Write the files that a user has before the first run."""
        require(command="ssh-keygen", package="openssh-client")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        (self.folder / "inventories/group_data").mkdir(parents=True)
        shutil.copy(ROOT / "inventories/hetzner.py", self.folder / "inventories")
        shutil.copy(ROOT / "config.py", self.folder)
        self.describe(ssh_key=f"{self._key}.pub")

    def describe(self, **changed: Any) -> None:
        """Write the description, and keep these changed settings for later calls."""
        self.hetzner |= changed
        values = {"cluster_name": self.name, **self.options, "hetzner": self.hetzner}
        text = "".join(f"{name} = {pprint.pformat(value)}\n" for name, value in values.items())
        (self.folder / "inventories/group_data/hetzner.py").write_text(text)

    def servers(self, *arguments: str) -> Run:
        """Run the servers deploy."""
        return self._pyinfra(*arguments, "@local", str(ROOT / "deploys/servers.py"))

    def destroy(self, *arguments: str) -> Run:
        """Run the deploy that deletes everything with the cluster's label."""
        return self._pyinfra("-y", *arguments, "@local", str(ROOT / "deploys/destroy_servers.py"))

    def cluster(self, *arguments: str) -> Run:
        """Run cluster.py on the inventory."""
        return self._pyinfra(*arguments, "inventories/hetzner.py", str(ROOT / "deploys/cluster.py"))

    def converge(self) -> Run:
        """Run cluster.py for real, and assert success."""
        run = self.cluster("-y", "--json")
        assert run.exit_code == 0, run.output
        return run

    def verify(self, *arguments: str) -> Run:
        """Run the verification suites over SSH."""
        return run_command(
            *("-m", "pytest", "--pyargs", "kubeadm_deploys.verification", "-p", "no:cacheprovider"),
            *("--inventory", "inventories/hetzner.py", *arguments),
            environment=self._environment,
            folder=self.folder,
            program=(str(ROOT / ".venv/bin/python"),),
        )

    @property
    def client(self) -> Client:
        """A separate client of the API."""
        return Client(token=self.api.token, api_endpoint=self.api.url)

    def server(self, name: str) -> BoundServer:
        """Return a server as the API describes it."""
        server = self.client.servers.get_by_name(name)
        assert server, f"the API has no server {name}"
        return server

    def address(self, name: str) -> str:
        """Return a server's public IPv4 address."""
        public = self.server(name).public_net
        assert public and public.ipv4, f"{name} has no public IPv4 address"
        return str(public.ipv4.ip)

    def ssh(self, name: str, command: str) -> str:
        """Run a command on a server as its user does, trusting the host key that the first run stored."""
        known_hosts = self.folder / f".kubeadm-deploys/{self.name}/known_hosts/{self.server(name).id}"
        done = completed(
            [
                *("ssh", "-F", "none", "-i", self._key, "-o", f"UserKnownHostsFile={known_hosts}"),
                *("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"),
                *(f"root@{self.address(name)}", command),
            ]
        )
        assert done.returncode == 0, f"{command!r} on {name}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def _key(self) -> str:
        return str(self.folder / "id_ed25519")

    @property
    def _environment(self) -> Mapping[str, str]:
        return {"HCLOUD_TOKEN": self.api.token, "HCLOUD_ENDPOINT": self.api.url}

    def _pyinfra(self, *arguments: str) -> Run:
        return run_command(*arguments, environment=self._environment, folder=self.folder)


def lab_options(*, cluster: str) -> dict[str, Any]:
    """Return the options that servers in docker need, as a user writes them into the description."""
    settings = mirror.settings()
    image = host_image(debian=12, mirror_key=apt.public_key() if settings else None)
    return {**host.lab_data(cluster=cluster, machine=probe(image=image)), **settings}
