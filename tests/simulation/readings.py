"""Answer the product's readings from the state of simulated machines, as the scripts would."""

import base64
import json
import re
from collections.abc import Callable, Iterable

from kubeadm_deploys.documents import templates
from kubeadm_deploys.documents.kubeadm_documents import TOKEN_DESCRIPTION
from kubeadm_deploys.documents.node_kubelet import PATHS
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, RESTORE_FOLDER
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.operations import shared_pki
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
    PKI,
    ROTATING,
    SUPER_ADMIN_CONF,
    Machine,
    manifest,
)
from tests.simulation.messages import BASE_TIME
from tests.simulation.world import OPTIONS, PROXY_UNIT, Failed, World, server_of
from tests.support import cluster_settings

Lines = list[str]

SAVED = "/var/lib/etcd/kubeadm-deploys-saved"


class Readings:
    """Answers to readings: for each a method of its name, which returns lines or raises ``Failed``."""

    def __init__(self, world: World) -> None:
        self.world = world

    def answer(self, machine: Machine, part: Part) -> tuple[Lines, float]:
        """Return the lines that a machine prints, and the seconds that it takes.

        Raises:
            Failed: the script fails; an optional second argument is the seconds that it took.
        """
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part.name).lower()
        method: Callable[[Machine, Part], Lines] | None = getattr(self, name, None)
        if method is None:
            raise AssertionError(f"unknown reading {part.name}")
        return method(machine, part), 0.5

    # A single machine.

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
        lines += [f"etcd-image {_image_in(files[path])}" for path in paths if path in files][:1]
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
            lines += [f"admin:certificate-authority-data {templates.sha256(_authority(files[ADMIN_CONF]))}"]
        lines += [f"ca {_base64(files[CA])}"] if CA in files else []
        lines += [f"client {_base64(files[CLIENT])}"] if CLIENT in files else []
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
        return [f"file:{path} {_base64(machine.files[path])}" for path in PATHS if path in machine.files]

    def kubelet_dns(self, machine: Machine, part: Part) -> Lines:
        """sections/kubelet_dns.py"""
        paths = part.words[part.words.index("--") + 1 :]
        return [f"source:/etc/resolv.conf {_base64('nameserver 9.9.9.9')}", *_sums(machine, paths)]

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
            f"hosts:{HOSTS} {_base64(machine.files[HOSTS])}",
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

    # A cluster, through one of its machines.

    def cluster_members(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_members.py"""
        etcd = self.world.etcdctl(machine)
        cluster = self.world.kubectl(machine, config=_config(machine))
        lines = [f"etcd {etcd.members_json}"]
        for name, node in cluster.nodes.items():
            role = " control-plane" if "node-role.kubernetes.io/control-plane" in node.marks else ""
            lines.append(
                f"node:{name} machine={node.machine_id} ready={self.world.is_ready(cluster, name)}{role}"
            )
        own_tokens = (
            name for name, (_, description) in cluster.tokens.items() if description == TOKEN_DESCRIPTION
        )
        return [*lines, *(f"token:{name}" for name in own_tokens)]

    def etcd_members(self, machine: Machine, part: Part) -> Lines:
        """facts/etcd.py"""
        cluster = self.world.etcdctl(machine)
        self._refuse_learner(machine)
        return [cluster.members_json]

    def etcd_health(self, machine: Machine, part: Part) -> Lines:
        """facts/etcd.py: the list of members needs a majority; members that never started have no URL."""
        cluster = self.world.etcdctl(machine)
        self._refuse_learner(machine)
        if not self.world.has_quorum(cluster):
            return []
        return [
            json.dumps(
                [
                    {
                        "endpoint": f"https://{member.ip}:2379",
                        "health": self.world.answers(cluster, member) and not member.learner,
                    }
                    for member in cluster.members.values()
                    if member.name
                ]
            )
        ]

    def etcd_revision(self, machine: Machine, part: Part) -> Lines:
        """facts/etcd.py: a linearizable read"""
        cluster = self.world.etcdctl(machine)
        self._refuse_learner(machine)
        if not self.world.has_quorum(cluster):
            raise Failed("Error: context deadline exceeded", 5.0)
        return [json.dumps({"header": {"revision": cluster.revision}})]

    def etcd_keys(self, machine: Machine, part: Part) -> Lines:
        """facts/etcd.py"""
        cluster = self.world.etcdctl(machine)
        return ["/registry/namespaces/default"] if cluster.revision else []

    def _refuse_learner(self, machine: Machine) -> None:
        data = machine.etcd
        if data and self.world.clusters[data.cluster].members[data.member].learner:
            raise Failed("rpc error: code = Unavailable desc = etcdserver: rpc not supported for learner")

    def init_remainder(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_health.py"""
        cluster = self.world.kubectl(machine, config=_config(machine))
        names = ("kubeadm-config", "cluster-info", "coredns", "kube-proxy")
        return [name for name in names if name not in cluster.objects]

    def cluster_health(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_health.py; DNS pods are not simulated."""
        cluster = self.world.kubectl(machine)
        all_ready = all(self.world.is_ready(cluster, name) for name in cluster.nodes)
        lines = [
            f"Node|{name}|{self.world.is_ready(cluster, name)}||||{'true' if node.unschedulable else ''}|1||||"
            for name, node in cluster.nodes.items()
        ]
        for kind, name in (("DaemonSet", "calico-node"), ("DaemonSet", "kube-proxy")):
            if _workload(name) in cluster.objects:
                count = len(cluster.nodes)
                lines.append(f"{kind}|{name}||||||1|1|{count}|{count}|{count if all_ready else count - 1}")
        for name in ("calico-kube-controllers", "coredns"):
            if _workload(name) in cluster.objects:
                lines.append(f"Deployment|{name}||||||1|1|1|1|{1 if self._any_ready(machine) else ''}")
        return lines

    def _any_ready(self, machine: Machine) -> bool:
        cluster = self.world.kubectl(machine)
        return any(self.world.is_ready(cluster, name) for name in cluster.nodes)

    def nodes_ready(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_health.py"""
        cluster = self.world.kubectl(machine)
        seconds, *names = part.words
        late = [name for name in names if name not in cluster.nodes or not self.world.is_ready(cluster, name)]
        if late:
            raise Failed(f"error: timed out waiting for the condition on nodes/{late[0]}", float(seconds))
        return []

    def workloads_available(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_health.py"""
        cluster = self.world.kubectl(machine)
        if not all(self.world.is_ready(cluster, name) for name in cluster.nodes):
            raise Failed("error: timed out waiting for the condition", float(part.words[0]))
        return []

    def node_marks(self, machine: Machine, part: Part) -> Lines:
        """sections/node_labels.py"""
        return self.world.kubectl(machine).node_marks()

    def cluster_settings(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_settings.py"""
        try:
            cluster = self.world.kubectl(machine)
        except Failed as error:
            return self._settings_of_files(machine, str(error.args[0]))
        objects = cluster.objects
        if "kubeadm-config" not in objects:
            return [f"objects {_base64(json.dumps({'kind': 'List', 'items': []}))}"]
        calico = str(objects.get("calico", ""))
        kube_proxy = objects.get("kube-proxy")
        lines = cluster_settings.answer(
            cluster=objects["kubeadm-config"],
            kubelet=objects["kubelet-config"],
            kube_proxy=kube_proxy if isinstance(kube_proxy, dict) else None,
            record=objects.get("kubeadm-deploys"),
            calico=calico,
        )
        return lines if calico else lines[:1]

    def _settings_of_files(self, machine: Machine, error: str) -> Lines:
        images = [machine.files[manifest(name)] for name in MANIFESTS[1:] if machine.has_manifest(name)]
        if not images:
            raise Failed(error)
        name = re.search(r"^  name: *(.*)$", machine.files.get(ADMIN_CONF, ""), re.MULTILINE)
        files = {
            "kubernetesVersion": images[0].rpartition(":v")[2].strip(),
            "serviceSubnet": OPTIONS.service_subnet if machine.has_manifest("kube-apiserver") else "",
            "podSubnet": OPTIONS.pod_subnet if machine.has_manifest("kube-controller-manager") else "",
            "clusterName": name[1] if name and machine.has_manifest("kube-controller-manager") else "",
            "controlPlaneEndpoint": server_of(machine.files.get(ADMIN_CONF, "")).removeprefix("https://"),
            "dnsDomain": OPTIONS.dns_domain if KUBELET_CONFIG in machine.files else "",
        }
        return [f"silent {error}", *(f"file:{field} {value}" for field, value in files.items())]

    def node_statuses(self, machine: Machine, part: Part) -> Lines:
        """facts/node_status.py"""
        cluster = self.world.kubectl(machine)
        items = [
            {
                "metadata": {"name": name, "labels": node.labels, "annotations": node.annotations},
                "spec": {
                    "taints": node.taints,
                    **({"unschedulable": True} if node.unschedulable else {}),
                },
                "status": {
                    "conditions": [{"type": "Ready", "status": str(self.world.is_ready(cluster, name))}],
                    "nodeInfo": {
                        "kubeletVersion": f"v{node.kubelet}",
                        "containerRuntimeVersion": f"containerd://{node.containerd}",
                    },
                },
            }
            for name, node in cluster.nodes.items()
        ]
        return [json.dumps({"items": items})]

    def etcd_status(self, machine: Machine, part: Part) -> Lines:
        """facts/node_status.py"""
        cluster = self.world.etcdctl(machine)
        assert machine.etcd
        own = cluster.members[machine.etcd.member]
        status = {
            "version": "3.6.8",
            "leader": own.id if self.world.has_quorum(cluster) else 0,
            "header": {"member_id": own.id},
            **({"isLearner": True} if own.learner else {}),
        }
        return [json.dumps([{"Status": status}])]

    def own_etcd(self, machine: Machine, part: Part) -> Lines:
        """facts/own_etcd.py: metrics, and what members tell each other, which are served without a majority, too."""
        if not self.world.runs_etcd(machine) or machine.etcd is None:
            raise Failed("curl: (7) Failed to connect to 127.0.0.1 port 2381: Connection refused")
        cluster = self.world.clusters[machine.etcd.cluster]
        members = [
            {"id": member["ID"], **{key: value for key, value in member.items() if key != "ID"}}
            for member in json.loads(cluster.members_json)["members"]
        ]
        return [
            f"peer https://{machine.ip}:2380",
            f"etcd_server_has_leader {int(self.world.has_quorum(cluster))}",
            f"etcd_server_proposals_applied_total {float(machine.etcd.revision):e}",
            f"etcd_debugging_mvcc_current_revision {machine.etcd.revision}",
            "HTTP/1.1 200 OK",
            f"X-Etcd-Cluster-Id: {cluster.number:x}",
            json.dumps(members),
        ]

    def upgrade_state(self, machine: Machine, part: Part) -> Lines:
        """facts/upgrade_state.py"""
        lines = [
            f"image:{name} {_image_in(machine.files[manifest(name)])}"
            for name in MANIFESTS
            if machine.has_manifest(name)
        ]
        return [*lines, "compared", "free 50000", *(["etcd 100"] if machine.etcd else [])]

    def whole_workloads(self, machine: Machine, part: Part) -> Lines:
        """facts/upgrade_state.py; pods are not simulated."""
        self.world.kubectl(machine)
        return ["Deployment|kube-system/coredns|2|2"]

    def controller_leases(self, machine: Machine, part: Part) -> Lines:
        """facts/upgrade_state.py; both run wherever an API server serves."""
        self.world.kubectl(machine)
        return [f"{name}|{self.world.now}" for name in ("kube-controller-manager", "kube-scheduler")]

    def kubelet_through_api(self, machine: Machine, part: Part) -> Lines:
        """facts/upgrade_state.py"""
        cluster = self.world.kubectl(machine)
        name = part.text.rpartition("/nodes/")[2].partition("/")[0]
        if not self.world.is_ready(cluster, name):
            raise Failed("Error from server (ServiceUnavailable)")
        return ["ok"]

    def backup_settings(self, machine: Machine, part: Part) -> Lines:
        """facts/backup_settings.py; of the static pods' arguments, only those with files are simulated."""
        objects = self.world.kubectl(machine).objects
        listed = cluster_settings.objects(
            cluster=objects["kubeadm-config"],
            kubelet=objects["kubelet-config"],
            kube_proxy=objects["kube-proxy"] if isinstance(objects["kube-proxy"], dict) else None,
            record=objects.get("kubeadm-deploys"),
        )
        pods = {name: _base64(json.dumps(_pod(machine, name))) for name in MANIFESTS}
        return [
            f"objects {_base64(json.dumps(listed))}",
            *(f"manifest:{name} {pods[name]}" for name in MANIFESTS if machine.has_manifest(name)),
        ]

    def named_files(self, machine: Machine, part: Part) -> Lines:
        """lifecycle/backup.py"""
        return [f"file:{path} {_base64(machine.files[path])}" for path in part.words if path in machine.files]

    def kustomization_differs(self, machine: Machine, part: Part) -> Lines:
        """facts/kustomization.py"""
        cluster = self.world.kubectl(machine)
        if cluster.objects.get("calico"):
            applied = cluster.objects.get("calico files")
            return ["same" if applied == kustomization(machine, part.words[0]) else "differs"]
        return ["differs"]

    def load_balancer_addresses(self, machine: Machine, part: Part) -> Lines:
        """cni/calico/addresses.py"""
        self.world.kubectl(machine)
        return []

    # Readings of files that go to other machines or the operator.

    def admin_conf(self, machine: Machine, part: Part) -> Lines:
        """sections/readiness.py"""
        if ADMIN_CONF not in machine.files:
            raise Failed(f"cat: {ADMIN_CONF}: No such file or directory")
        config = machine.files[ADMIN_CONF]
        own = {"server": server_of(config), "certificate-authority-data": _authority(config)}
        document = {
            "clusters": [{"name": "kubernetes", "cluster": own}],
            "users": [{"name": "kubernetes-admin", "user": {}}],
            "contexts": [],
        }
        return [json.dumps(document)]

    def shared_pki(self, machine: Machine, part: Part) -> Lines:
        """operations/shared_pki.py"""
        missing = [file for file in shared_pki.FILES if f"{PKI}/{file}" not in machine.files]
        if missing:
            raise Failed(f"missing or empty in {PKI}: {' '.join(missing)}")
        return [f"{file} {_base64(machine.files[f'{PKI}/{file}'])}" for file in shared_pki.FILES]


def kustomization(machine: Machine, folder: str) -> list[str]:
    """Return what kubectl applies from a folder, as checksums of its files."""
    return [machine.sha256(path) for path in sorted(machine.files) if path.startswith(f"{folder}/")]


def _workload(name: str) -> str:
    return "calico" if name.startswith("calico") else name


def _config(machine: Machine) -> str:
    return SUPER_ADMIN_CONF if SUPER_ADMIN_CONF in machine.files else ADMIN_CONF


def _sums(machine: Machine, paths: Iterable[str]) -> Lines:
    return [f"file:{path} {machine.sha256(path)}" for path in paths if path in machine.files]


def _authority(config: str) -> str:
    """Return the CA certificate of a kubeconfig in the file's encoding."""
    return _base64(config[config.index("-----BEGIN") :].strip() + "\n")


def _image_in(text: str) -> str:
    """Return the image in a static pod's manifest, empty without one."""
    return text.rpartition("image: ")[2].partition("\n")[0]


def _pod(machine: Machine, name: str) -> object:
    """Return a static pod's manifest with the arguments that name files, whose folders are mounted."""
    arguments = re.findall(r"--[a-z-]*file=/[^\s\"]+", machine.files.get(manifest(name), ""))
    folders = {argument.partition("=")[2].rpartition("/")[0] for argument in arguments}
    mounts = [{"name": folder, "mountPath": folder} for folder in folders]
    image = _image_in(machine.files.get(manifest(name), ""))
    return {
        "spec": {
            "volumes": [{"name": folder, "hostPath": {"path": folder}} for folder in folders],
            "containers": [{"image": image, "command": [name, *arguments], "volumeMounts": mounts}],
        }
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()
