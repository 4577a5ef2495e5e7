"""``kubeadm upgrade`` on simulated machines, step by step: a kill may come after any step.

Source: kubeadm's cmd/upgrade/apply.go and node.go, phases/upgrade/staticpods.go.
"""

import re
from collections.abc import Iterator

from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from tests.simulation.machine import KUBELET_CONF, KUBELET_CONFIG, Machine, etcd_image, manifest
from tests.simulation.world import Failed, World

Steps = Iterator[str]


def upgrade(world: World, machine: Machine, verb: str, *arguments: str) -> Steps:
    """Run ``kubeadm upgrade apply`` or ``kubeadm upgrade node``."""
    control_plane = machine.has_manifest("kube-apiserver")
    if not control_plane and verb == "apply":
        raise Failed("couldn't create a Kubernetes client")
    cluster = world.kubectl(machine) if control_plane else world.cluster_of_kubelet(machine)
    if cluster is None or KUBELET_CONF not in machine.files:
        raise Failed("couldn't create a Kubernetes client, or the connection was refused")
    own = machine.packages["kubeadm"].partition("-")[0]
    configured = str(cluster.objects["kubeadm-config"]["kubernetesVersion"])
    version = next(word for word in arguments if word.startswith("v")) if verb == "apply" else configured
    if verb == "apply" and "--yes" not in arguments:
        raise Failed("aborted: nobody answers kubeadm's question")
    if own != version.removeprefix("v"):
        raise Failed(f"kubeadm {own} does not upgrade to {version}")
    if abs(_minor(version) - _minor(configured)) > 1:
        raise Failed(f"{version} is too high; kubeadm can upgrade only 1 minor version at a time")
    yield "preflight"
    if control_plane:
        folder = f"/etc/kubernetes/tmp/kubeadm-backup-manifests-{world.now:09.1f}"
        for name in MANIFESTS:
            path = manifest(name)
            new = machine.files[path]
            if name == "etcd":
                new = re.sub(r"registry.k8s.io/etcd:\S+", etcd_image(version), new)
            else:
                new = re.sub(r":v[\d.]+", f":{version}", new)
                if new == machine.files[path]:
                    continue
            machine.files[f"{folder}/{name}.yaml"] = machine.files.pop(path)
            yield f"{name} moved away"
            machine.files[path] = new
            yield f"{name} moved in"
    if verb == "apply":
        world.write(cluster)
        cluster.objects["kubeadm-config"] = {
            **cluster.objects["kubeadm-config"],
            "kubernetesVersion": version,
        }
        yield "upload-config"
    machine.files[KUBELET_CONFIG] = "clusterDomain: cluster.local\n"
    yield "kubelet-config"
    yield "addon"


def _minor(version: str) -> int:
    return int(version.removeprefix("v").split(".")[1])
