"""A simulated machine: its files, packages and units, and what runs on it because of them."""

import hashlib
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import yaml

from kubeadm_deploys.documents.node_kubelet import FIELDS_FILE, UNIT_FILE
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS

ADMIN_CONF = "/etc/kubernetes/admin.conf"
SUPER_ADMIN_CONF = "/etc/kubernetes/super-admin.conf"
KUBELET_CONF = "/etc/kubernetes/kubelet.conf"
BOOTSTRAP_CONF = "/etc/kubernetes/bootstrap-kubelet.conf"
CA = "/etc/kubernetes/pki/ca.crt"
PKI = "/etc/kubernetes/pki"
NEW_CERTIFICATE = f"{PKI}/kubeadm-deploys-new/apiserver.crt"
"""A new certificate of the API server while its key is already in place."""
KUBELET_CONFIG = "/var/lib/kubelet/config.yaml"
OLD = ".kubeadm-deploys-old"
"""Ends the name of the file from before while a file of the kubelet's configuration is exchanged."""
KUBELET_FLAGS = "/var/lib/kubelet/kubeadm-flags.env"
CLIENT = "/var/lib/kubelet/pki/kubelet-client-current.pem"
HOSTS = "/etc/hosts"
LOCK = "/run/kubeadm-deploys/lock"

FETCHED = "sha256:"
"""Prefix of a file's content of which only the checksum matters."""

ROTATING = "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem"

NEW_ETCD = "    - --initial-cluster-state=new\n"
"""In the manifest of an init's etcd: it makes a new cluster if it has no data; a join's etcd does not."""

CLUSTER_FILES = (
    *(
        f"/etc/kubernetes/{name}"
        for name in (
            *("admin.conf", "super-admin.conf", "kubelet.conf", "bootstrap-kubelet.conf"),
            *("controller-manager.conf", "scheduler.conf", "pki", "tmp", "manifests/*"),
        )
    ),
    *("/var/lib/kubelet/*", "/var/lib/cni", "/etc/cni/net.d/*calico*", f"{FIELDS_FILE}*", UNIT_FILE),
)
"""Simulated files that only a cluster leaves on a machine; see scripts/library/cluster-traces.sh."""

SECONDS_BEFORE = 1000
"""Seconds for which a machine has run when a history begins."""


ETCD = {36: "3.6.8-0", 37: "3.7.0-0"}
"""The image tags of kubeadm's etcd by Kubernetes' minor release."""


def etcd_image(release: str) -> str:
    """Return the image of the etcd that kubeadm runs for a release of Kubernetes."""
    minor = int(release.removeprefix("v").split(".")[1])
    return f"registry.k8s.io/etcd:{ETCD[min(max(minor, min(ETCD)), max(ETCD))]}"


def manifest(name: str) -> str:
    """Return the path of a static pod's manifest."""
    return f"/etc/kubernetes/manifests/{name}.yaml"


@dataclass(kw_only=True)
class EtcdData:
    """The data of one etcd member; ``revision`` is the last write that it has seen."""

    cluster: int
    member: int
    revision: int = 0


@dataclass(kw_only=True)
class Machine:
    """A machine; ``down_until`` is when it is up again after a reboot, infinity if it is dead.

    ``files`` are contents by path, ``etcd`` is the data in /var/lib/etcd, ``saved`` data that was moved aside
    there. ``etcd_wrote`` is whether the running etcd has written since its start, before which it does not answer its clients.
    ``registered`` is whether the running kubelet has registered its node, which it does once after its
    start. ``docker`` is the number of Docker's containers, None without Docker. ``foreign`` says why the
    machine is foreign, "" if it is not. ``greeting`` is what its login shell prints before each command's
    output. ``kubelet`` and ``containerd`` are the releases that run, which may be older than the installed ones.
    ``failing`` are the releases of containerd that do not start on it. ``own_fields`` are those with which its kubelet has
    started, in addition to the cluster's.
    """

    name: str
    ip: str
    machine_id: str
    files: dict[str, str] = field(default_factory=lambda: {HOSTS: "127.0.0.1 localhost\n"})
    packages: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    programs: dict[str, str] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)
    sysctls: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    active: set[str] = field(default_factory=set)
    etcd: EtcdData | None = None
    saved: list[EtcdData] = field(default_factory=list)
    etcd_wrote: bool = False
    registered: bool = False
    stale_containerd: bool = False
    stale_kubelet: bool = False
    own_fields: dict[str, Any] = field(default_factory=dict)
    pods: bool = False
    docker: int | None = None
    foreign: str = ""
    greeting: tuple[str, ...] = ()
    down_until: float = 0
    booted: float = -SECONDS_BEFORE
    kubeadm_until: float = 0
    kubelet: str = ""
    containerd: str = ""
    failing: set[str] = field(default_factory=set)

    def is_up(self, now: float) -> bool:
        """Return whether it can be reached."""
        return now >= self.down_until

    @property
    def is_dead(self) -> bool:
        """Whether it never comes back."""
        return self.down_until == float("inf")

    def uptime(self, now: float) -> float:
        """Return the seconds since its last boot."""
        return now - self.booted

    def has(self, *paths: str) -> bool:
        """Return whether all these files exist."""
        return all(path in self.files for path in paths)

    def has_manifest(self, name: str) -> bool:
        """Return whether a static pod's manifest exists."""
        return manifest(name) in self.files

    def remove(self, *patterns: str) -> None:
        """Delete files and folders like ``rm --recursive`` with shell patterns."""
        matching = [
            path
            for path in self.files
            if any(fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}/*") for pattern in patterns)
        ]
        for path in matching:
            del self.files[path]

    def sha256(self, path: str) -> str:
        """Return the checksum of a file."""
        content = self.files[path]
        if content.startswith(FETCHED):
            return content.removeprefix(FETCHED)
        return hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()

    def reboots(self, *, now: float, seconds: float) -> None:
        """Go down for ``seconds``, and lose everything below /run."""
        self.down_until = now + seconds
        self.booted = self.down_until
        self.remove("/run/*")
        self.active = set(self.enabled)
        self.registered = self.etcd_wrote = False
        self.stale_containerd = self.stale_kubelet = False
        self.kubeadm_until = 0
        self.kubelet_starts()
        self.containerd_starts()

    def containerd_starts(self) -> bool:
        """Run the installed containerd, and return whether it starts."""
        release = self.programs.get("containerd", "")
        if release in self.failing:
            self.active.discard("containerd")
            return False
        self.containerd = release
        return True

    def kubelet_starts(self) -> None:
        """Run the installed kubelet, which registers its node."""
        self.kubelet = self.packages.get("kubelet", "").partition("-")[0]
        self.registered = self.stale_kubelet = False
        self.own_fields = self.own_fields_on_disk

    @property
    def own_fields_on_disk(self) -> dict[str, Any]:
        """The fields with which a new kubelet would start, in addition to the cluster's."""
        if not self.has(FIELDS_FILE, UNIT_FILE):
            return {}
        found = yaml.safe_load(self.files[FIELDS_FILE])
        return {key: value for key, value in found.items() if key not in ("apiVersion", "kind")}

    @property
    def half_changed(self) -> list[str]:
        """The files of its kubelet's configuration whose exchange has not ended."""
        return [file for file in (KUBELET_CONFIG, FIELDS_FILE) if self.has(f"{file}{OLD}")]

    @property
    def wrong_kubelet_config(self) -> bool:
        """Whether a new kubelet would not run, because of a value that kubeadm accepts and it does not."""
        # The folder that the unit names has to exist.
        if UNIT_FILE in self.files and not any(path.startswith(FIELDS_FILE) for path in self.files):
            return True
        return self.own_fields_on_disk.get("maxPods") == -5 or "maxPods: -5" in self.files.get(
            KUBELET_CONFIG, ""
        )

    @property
    def kubelet_crashes(self) -> bool:
        """Whether the kubelet ends again and again since the machine booted; pods outlive only other restarts."""
        return self.wrong_kubelet_config and not self.stale_kubelet

    @property
    def kubelet_runs(self) -> bool:
        """Whether the kubelet has everything that it needs to keep running and start static pods."""
        started = "kubelet" in self.packages and "kubelet" in self.active and "containerd" in self.active
        return (
            started
            and not self.kubelet_crashes
            and self.has(KUBELET_CONFIG)
            and (self.has(KUBELET_CONF, CLIENT) or self.has(BOOTSTRAP_CONF))
        )

    @property
    def etcd_minor(self) -> int:
        """The minor release of etcd 3 in the manifest, 0 without one."""
        match = re.search(r"etcd:3\.(\d+)\.", self.files.get(manifest("etcd"), ""))
        return int(match[1]) if match else 0

    @property
    def lacks_manifests(self) -> tuple[str, ...]:
        """The static pods of a control plane without a manifest."""
        return tuple(name for name in MANIFESTS if not self.has_manifest(name))
