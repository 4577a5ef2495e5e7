"""Answer the readings of single machines."""

import re
from collections.abc import Iterable

from kubeadm_deploys.documents import templates
from kubeadm_deploys.documents.node_kubelet import PATHS
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, RESTORE_FOLDER
from kubeadm_deploys.model import artifacts
from tests.simulation.answering import Answers, Lines, authority_of, encoded, image_in
from tests.simulation.commands import Part
from tests.simulation.machine import (
    ADMIN_CONF,
    BOOTSTRAP_CONF,
    CA,
    CLIENT,
    CLUSTER_FILES,
    HOSTS,
    KUBELET_CONF,
    KUBELET_CONFIG,
    KUBELET_FLAGS,
    NEW_CERTIFICATE,
    ROTATING,
    Machine,
    manifest,
)
from tests.simulation.messages import BASE_TIME
from tests.simulation.world import PROXY_UNIT, server_of

SAVED = "/var/lib/etcd/kubeadm-deploys-saved"


class MachineReadings(Answers):
    """Readings of a machine."""

    def kubeadm_node(self, machine: Machine, part: Part) -> Lines:
        """facts/kubeadm_node.py"""
        files = machine.files
        lines = [f"machine-id {machine.machine_id}"]
        lines += [f"unit:{PROXY_UNIT}"] if f"/etc/systemd/system/{PROXY_UNIT}.service" in files else []
        lines += ["kubeadm-runs"] if machine.kubeadm_until > self.world.now else []
        lines += ["have:etcd"] if machine.etcd else []
        lines += ["saved-etcd"] if machine.saved else []
        if f"{RESTORE_FOLDER}/record" in files:
            lines += [f"restoring {files[f'{RESTORE_FOLDER}/record']}"]
        lines += [f"aside:{name}" for name in MANIFESTS if f"{RESTORE_FOLDER}/manifests/{name}.yaml" in files]
        lines += ["unpacked"] if f"{RESTORE_FOLDER}/unpacked" in files else []
        paths = (manifest("etcd"), f"{RESTORE_FOLDER}/manifests/etcd.yaml")
        lines += [f"etcd-image {image_in(files[path])}" for path in paths if path in files][:1]
        cluster = self.world.clusters[machine.etcd.cluster] if machine.etcd else None
        if machine.etcd and cluster and self.world.runs_etcd(machine) and self.world.has_quorum(cluster):
            lines += [f"etcd-cluster {machine.etcd.cluster}"]
        names = ("kubelet.conf", "bootstrap-kubelet.conf", "admin.conf", "super-admin.conf")
        for name in (*names, "pki/ca.key", "pki/etcd/ca.crt"):
            lines += [f"have:{name}"] if f"/etc/kubernetes/{name}" in files else []
        lines += [f"have:manifests/{name}.yaml" for name in MANIFESTS if machine.has_manifest(name)]
        lines += self._backup(machine)
        lines += ["half-certificate"] if NEW_CERTIFICATE in files else []
        if KUBELET_CONF in files:
            lines += ["rotating"] if ROTATING in files[KUBELET_CONF] else []
            lines += [f"server {server_of(files[KUBELET_CONF])}"]
        if ADMIN_CONF in files:
            match = re.search(r"^  name: *(.*)$", files[ADMIN_CONF], re.MULTILINE)
            lines += [f"cluster-name {match[1] if match else ''}"]
            # The client's certificate and key are left out: they are not read.
            lines += [f"admin:certificate-authority-data {templates.sha256(authority_of(files[ADMIN_CONF]))}"]
        lines += [f"ca {encoded(files[CA])}"] if CA in files else []
        lines += [f"client {encoded(files[CLIENT])}"] if CLIENT in files else []
        if machine.has_manifest("kube-apiserver"):
            lines += [f"api {self._readyz(machine)}"]
        return lines

    def _backup(self, machine: Machine) -> Lines:
        # The newest is the last one.
        folders = [path.rpartition("/")[0] for path in machine.files if "/kubeadm-backup-manifests" in path]
        last = [name for name in MANIFESTS if folders and f"{folders[-1]}/{name}.yaml" in machine.files][-1:]
        return [f"backup:{name} {folders[-1]}/{name}.yaml" for name in last if not machine.has_manifest(name)]

    def _readyz(self, machine: Machine) -> str:
        if self.world.serves(machine):
            return "ok"
        if self.world.runs_etcd(machine):
            return "not ready: etcd etcd-readiness "
        return "not ready: curl: (7) Failed to connect to 127.0.0.1 port 6443: Connection refused "

    def machine(self, machine: Machine, part: Part) -> Lines:
        """facts/machine.py"""
        now = BASE_TIME + self.world.now
        names = (*(["member"] if machine.etcd else []), *machine.files.get("etcd-entries", "").split())
        image = machine.files.get(manifest("kube-apiserver"), "")
        return [
            f"started {now:.9f}",
            "os debian 12",
            "architecture amd64",
            "systemd yes",
            f"hostname {machine.name}",
            f"machine-id {machine.machine_id}",
            f"address:{machine.ip} eth0",
            "mtu:eth0 1500",
            *(f"listener {port} {program}" for port, program in self._listeners(machine)),
            *([] if machine.docker is None else [f"docker {machine.docker}"]),
            *(f"etcd-entry:{name}" for name in names),
            *([f"kubelet {machine.packages['kubelet']}"] if "kubelet" in machine.packages else []),
            f"api-server {image.rpartition(':v')[2].strip()}",
            f"finished {now:.9f}",
        ]

    def _listeners(self, machine: Machine) -> list[tuple[int, str]]:
        listeners = [(10250, "kubelet")] if machine.kubelet_runs else []
        if machine.pods:
            ports = {"etcd": (2379, 2380), "kube-apiserver": (6443,), "kube-controller-manager": (10257,)}
            for name, pod_ports in (ports | {"kube-scheduler": (10259,)}).items():
                listeners += [(port, name[:15]) for port in pod_ports if machine.has_manifest(name)]
        listeners += [(6443, "haproxy")] if PROXY_UNIT in machine.active else []
        listeners += [(2379, "etcd"), (2380, "etcd")] if machine.foreign == "etcd" else []
        return listeners

    def downloads(self, machine: Machine, part: Part) -> Lines:
        """facts/downloads.py: every download is available."""
        _, *urls = part.words
        return [f"probe:{url} 0 200 {url} - " for url in urls]

    def cloud_init(self, machine: Machine, part: Part) -> Lines:
        """sections/cloud_init.py"""
        flags = machine.files.get(KUBELET_FLAGS, "").strip()
        joined = KUBELET_CONF in machine.files and KUBELET_FLAGS in machine.files
        return [f"hostname {machine.name}", "interface eth0", *([f"kubelet_flags {flags}"] if joined else [])]

    cloud_init_in_time = cloud_init

    def bridged_traffic(self, machine: Machine, part: Part) -> Lines:
        """sections/bridged_traffic.py"""
        return [
            "module:overlay loaded",
            *(["module:br_netfilter loaded"] if "br_netfilter" in machine.modules else []),
            *(f"sysctl:{key} 1" for key in sorted(machine.sysctls)),
            "container none",
            *_sums(machine, part.words),
        ]

    def swap(self, machine: Machine, part: Part) -> Lines:
        """sections/swap.py"""
        return ["container none"]

    def machine_proxies(self, machine: Machine, part: Part) -> Lines:
        """sections/machine_proxies.py: containerd runs without proxies."""
        running = ["running"] if "containerd" in machine.active else []
        return [*running, *_sums(machine, part.words)]

    def container_runtime(self, machine: Machine, part: Part) -> Lines:
        """sections/container_runtime.py"""
        plugins = {name: machine.programs[name] for name in artifacts.CNI_PLUGINS if name in machine.programs}
        active = "containerd" in machine.active
        return [
            "architecture amd64",
            "container none",
            "curl present",
            *(
                f"version:{name} {machine.programs[name]}"
                for name in ("containerd", "containerd-shim-runc-v2", "ctr", "runc")
                if name in machine.programs
            ),
            *(f"plugin:{name} {release}" for name, release in plugins.items()),
            f"active {'active' if active else 'inactive'}",
            f"enabled {'enabled' if 'containerd' in machine.enabled else 'disabled'}",
            *(["running /usr/local/bin/containerd"] if active else []),
            *(["systemd_cgroup true"] if active and "cri-tools" in machine.packages else []),
            *(["stale /etc/containerd/config.toml"] if active and machine.stale_containerd else []),
            *_sums(machine, part.words[1:]),
        ]

    def images(self, machine: Machine, part: Part) -> Lines:
        """sections/images.py"""
        return sorted(machine.images)

    def kube_packages(self, machine: Machine, part: Part) -> Lines:
        """sections/kube_packages.py"""
        lines = [f"package:{name} {release}" for name, release in machine.packages.items()]
        lines += [f"held:{name}" for name in sorted(machine.held)]
        lines += ["kubelet:enabled"] if "kubelet" in machine.enabled else []
        lines += ["kubelet:active"] if "kubelet" in machine.active and not machine.kubelet_crashes else []
        lines += ["kubelet:half-changed"] if machine.half_changed else []
        has_node = machine.has(KUBELET_CONF, CA, KUBELET_CONFIG, CLIENT)
        return [*lines, *(["kubelet:has-node"] if has_node else []), *_sums(machine, part.words[2:])]

    def node_kubelet_files(self, machine: Machine, part: Part) -> Lines:
        """sections/node_kubelet_configuration.py"""
        return [f"file:{path} {encoded(machine.files[path])}" for path in PATHS if path in machine.files]

    def kubelet_dns(self, machine: Machine, part: Part) -> Lines:
        """sections/kubelet_dns.py"""
        paths = part.words[part.words.index("--") + 1 :]
        return [f"source:/etc/resolv.conf {encoded('nameserver 9.9.9.9')}", *_sums(machine, paths)]

    def control_plane_files(self, machine: Machine, part: Part) -> Lines:
        """sections/control_plane_files.py; all files have the mode that they are given by default."""
        modes = [f"mode:{path} 0600" for path in part.words if path in machine.files]
        return [*_sums(machine, part.words), *modes]

    def local_proxy(self, machine: Machine, part: Part) -> Lines:
        """endpoints/local_proxy.py"""
        return [
            *(["installed"] if "haproxy" in machine.packages else []),
            f"active {'active' if PROXY_UNIT in machine.active else 'inactive'}",
            f"enabled {'enabled' if PROXY_UNIT in machine.enabled else 'disabled'}",
            *(["idle-service"] if "haproxy.service" in machine.enabled else []),
            *_sums(machine, part.words[1:]),
        ]

    def cni_files(self, machine: Machine, part: Part) -> Lines:
        """cni/calico/network.py"""
        return [
            *_sums(machine, part.words),
            *(f"release:{path} " for path in part.words),
        ]

    def api_endpoint(self, machine: Machine, part: Part) -> Lines:
        """facts/endpoint_name.py"""
        joined = KUBELET_CONF in machine.files and BOOTSTRAP_CONF not in machine.files
        return [
            f"hosts:{HOSTS} {encoded(machine.files[HOSTS])}",
            *(["joined"] if joined else []),
            *(["serves"] if joined and machine.has_manifest("kube-apiserver") else []),
        ]

    def cluster_traces(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_traces.py"""
        lines = ["file /var/lib/etcd/member"] if machine.etcd else []
        probe = Machine(name="", ip="", machine_id="", files=dict(machine.files))
        probe.remove(*CLUSTER_FILES)
        lines += [f"file {path}" for path in machine.files if path not in probe.files]
        endpoint, *paths = part.words
        for path in paths:
            exists = any(file == path or file.startswith(f"{path}/") for file in machine.files)
            if exists or (path == SAVED and machine.saved):
                lines.append(f"file {path}")
        return lines + (["name in /etc/hosts"] if endpoint in machine.files[HOSTS].split() else [])


def _sums(machine: Machine, paths: Iterable[str]) -> Lines:
    return [f"file:{path} {machine.sha256(path)}" for path in paths if path in machine.files]
