"""Answer the readings of a cluster through one of its machines."""

import json
import re

from kubeadm_deploys.documents.kubeadm_documents import TOKEN_DESCRIPTION
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from tests.simulation.answering import Answers, Lines, encoded, image_in
from tests.simulation.commands import Part
from tests.simulation.kubeadm import ADDONS, CLUSTER_INFO_READERS
from tests.simulation.machine import (
    ADMIN_CONF,
    KUBELET_CONF,
    KUBELET_CONFIG,
    ROTATING,
    SUPER_ADMIN_CONF,
    Machine,
    manifest,
)
from tests.simulation.world import OPTIONS, Failed, server_of
from tests.support import cluster_settings


class ClusterReadings(Answers):
    """Readings of etcd and of the API."""

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

    def etcd_log_is_empty(self, machine: Machine, part: Part) -> Lines:
        """facts/etcd.py"""
        if machine.etcd is None:
            raise Failed("sh: 1: cd: can't cd to /var/lib/etcd/member")
        # The log's first entry is the first member.
        return ["written" if self.world.clusters[machine.etcd.cluster].members else "empty"]

    def _refuse_learner(self, machine: Machine) -> None:
        data = machine.etcd
        if data and self.world.clusters[data.cluster].members[data.member].learner:
            raise Failed("rpc error: code = Unavailable desc = etcdserver: rpc not supported for learner")

    def init_remainder(self, machine: Machine, part: Part) -> Lines:
        """facts/cluster_health.py"""
        cluster = self.world.kubectl(machine, config=_config(machine))
        objects = cluster.objects
        missing = [name for name in ("kubeadm-config", "cluster-info") if name not in objects]
        later = any(addon in objects for addon in ADDONS) or ROTATING in machine.files[KUBELET_CONF]
        if "cluster-info" in objects and CLUSTER_INFO_READERS not in objects and not later:
            missing.append("cluster-info")
        return missing + [addon for addon, last in ADDONS.items() if not {addon, last} <= objects.keys()]

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
            return [f"objects {encoded(json.dumps({'kind': 'List', 'items': []}))}"]
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
            f"image:{name} {image_in(machine.files[manifest(name)])}"
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
        pods = {name: encoded(json.dumps(_pod(machine, name))) for name in MANIFESTS}
        return [
            f"objects {encoded(json.dumps(listed))}",
            *(f"manifest:{name} {pods[name]}" for name in MANIFESTS if machine.has_manifest(name)),
        ]

    def named_files(self, machine: Machine, part: Part) -> Lines:
        """lifecycle/backup.py"""
        return [f"file:{path} {encoded(machine.files[path])}" for path in part.words if path in machine.files]

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


def kustomization(machine: Machine, folder: str) -> list[str]:
    """Return what kubectl applies from a folder, as checksums of its files."""
    return [machine.sha256(path) for path in sorted(machine.files) if path.startswith(f"{folder}/")]


def _workload(name: str) -> str:
    return "calico" if name.startswith("calico") else name


def _config(machine: Machine) -> str:
    return SUPER_ADMIN_CONF if SUPER_ADMIN_CONF in machine.files else ADMIN_CONF


def _pod(machine: Machine, name: str) -> object:
    """Return a static pod's manifest with the arguments that name files, whose folders are mounted."""
    arguments = re.findall(r"--[a-z-]*file=/[^\s\"]+", machine.files.get(manifest(name), ""))
    folders = {argument.partition("=")[2].rpartition("/")[0] for argument in arguments}
    mounts = [{"name": folder, "mountPath": folder} for folder in folders]
    image = image_in(machine.files.get(manifest(name), ""))
    return {
        "spec": {
            "volumes": [{"name": folder, "hostPath": {"path": folder}} for folder in folders],
            "containers": [{"image": image, "command": [name, *arguments], "volumeMounts": mounts}],
        }
    }
