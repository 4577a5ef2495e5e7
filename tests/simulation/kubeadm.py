"""kubeadm on simulated machines, and their cleaning, step by step: a kill may come after any step.

Source: kubeadm's cmd/init.go, cmd/join.go and cmd/phases of 1.36, and phases of 1.37.
"""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from tests.simulation import pki
from tests.simulation.cluster import CONTROL_PLANE_MARKS, Cluster, NodeObject
from tests.simulation.machine import (
    ADMIN_CONF,
    BOOTSTRAP_CONF,
    CA,
    CLIENT,
    CLUSTER_FILES,
    KUBELET_CONF,
    KUBELET_CONFIG,
    KUBELET_FLAGS,
    NEW_ETCD,
    PKI,
    ROTATING,
    SUPER_ADMIN_CONF,
    EtcdData,
    Machine,
    etcd_image,
    manifest,
)
from tests.simulation.world import OPTIONS, Failed, World, new_data

Steps = Iterator[str]

CONFS = ("controller-manager.conf", "scheduler.conf")

CLUSTER_INFO_READERS = "kubeadm:bootstrap-signer-clusterinfo"
"""The binding that lets a machine without credentials read cluster-info."""

ADDONS = {"coredns": "kube-dns", "kube-proxy": "kube-proxy's binding"}
"""The add-ons, with the object of each that init creates last."""

_KEYS = (
    "ca.key",
    "sa.key",
    "sa.pub",
    "front-proxy-ca.crt",
    "front-proxy-ca.key",
    "etcd/ca.crt",
    "etcd/ca.key",
)
_MOVED_AWAY_BY_RESET = (
    ADMIN_CONF,
    KUBELET_CONF,
    BOOTSTRAP_CONF,
    *(f"/etc/kubernetes/{name}" for name in CONFS),
)


def documents(text: str) -> dict[str, Any]:
    """Return kubeadm's documents by kind."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {document["kind"]: document for document in yaml.load_all(text, Loader=loader)}


def init(
    world: World,
    machine: Machine,
    *,
    documents: dict[str, Any],
    ignored: frozenset[str],
    addons: bool = True,
) -> Steps:
    """Run ``kubeadm init``."""
    configuration = documents["ClusterConfiguration"]
    _require(machine, "kubeadm")
    for name in MANIFESTS:
        check = f"FileAvailable--etc-kubernetes-manifests-{name}.yaml"
        if machine.has_manifest(name) and check not in ignored:
            raise Failed(f"[ERROR {check}]: {manifest(name)} already exists")
    if machine.kubelet_runs and "Port-10250" not in ignored:
        raise Failed("[ERROR Port-10250]: Port 10250 is in use")
    yield "preflight"
    number = pki.number_of(machine.files.get(CA, "")) or world.number()
    _write_pki(machine, number)
    yield "certs"
    endpoint = configuration["controlPlaneEndpoint"]
    for path in (ADMIN_CONF, SUPER_ADMIN_CONF):
        machine.files.setdefault(
            path, kubeconfig(number, f"https://{endpoint}", name=configuration["clusterName"])
        )
    for name in CONFS:
        machine.files.setdefault(f"/etc/kubernetes/{name}", kubeconfig(number, f"https://{machine.ip}:6443"))
    machine.files.setdefault(KUBELET_CONF, kubeconfig(number, f"https://{machine.ip}:6443"))
    yield "kubeconfig"
    machine.files[manifest("etcd")] = static_pod("etcd", configuration) + NEW_ETCD
    yield "etcd"
    for name in MANIFESTS[1:]:
        machine.files[manifest(name)] = static_pod(name, configuration)
    yield "control-plane"
    start_kubelet(world, machine, number, configuration=documents["KubeletConfiguration"])
    yield "kubelet-start"
    world.settle()
    yield "etcd has data"
    served = world.serves(machine)
    if served is None:
        raise Failed("[kubelet-check] The API server is not healthy after 4m0s")
    world.settle()
    yield "wait-control-plane"
    world.write(served)
    made_with = dict(configuration)
    served.objects.setdefault("kubeadm-config", made_with)
    served.objects.setdefault("kubelet-config", documents["KubeletConfiguration"])
    served.objects["admin-rights"] = True
    yield "upload-config"
    mark_control_plane(served, machine, documents["InitConfiguration"])
    yield "mark-control-plane"
    for token in documents["InitConfiguration"].get("bootstrapTokens", ()):
        served.tokens[f"bootstrap-token-{token['token'].partition('.')[0]}"] = (
            token["token"],
            token["description"],
        )
    served.objects["cluster-info"] = True
    yield "bootstrap-token cluster-info"
    served.objects[CLUSTER_INFO_READERS] = True
    yield "bootstrap-token"
    finalize_kubelet(machine)
    yield "kubelet-finalize"
    for addon in ADDONS if addons else ():
        yield from _create_addon(served, addon, documents=documents)
        yield f"addon {addon}"


def join(world: World, machine: Machine, *, documents: dict[str, Any], ignored: frozenset[str]) -> Steps:
    """Run ``kubeadm join``, as a worker or a control plane."""
    configuration = documents["JoinConfiguration"]
    control_plane = "controlPlane" in configuration
    _require(machine, "kubeadm")
    taken = [KUBELET_CONF, BOOTSTRAP_CONF, *([] if control_plane else [CA])]
    taken += [manifest(name) for name in MANIFESTS] if control_plane else []
    if existing := [path for path in taken if path in machine.files]:
        raise Failed(f"[ERROR FileAvailable]: {existing[0]} already exists")
    yield "preflight"
    discovery = configuration["discovery"]["bootstrapToken"]
    server = f"https://{discovery['apiServerEndpoint']}"
    cluster = world.api(machine, server)
    if cluster is None or not world.token_is_valid(cluster, discovery["token"]):
        raise Failed(f"couldn't validate the identity of the API Server: {server} or its token")
    if "cluster-info" not in cluster.objects:
        raise Failed('couldn\'t validate the identity of the API Server: configmaps "cluster-info" not found')
    if CLUSTER_INFO_READERS not in cluster.objects:
        raise Failed(
            'couldn\'t validate the identity of the API Server: configmaps "cluster-info" is forbidden'
        )
    if control_plane:
        if not all(f"{PKI}/{key}" in machine.files for key in _KEYS):
            raise Failed("[ERROR]: one or more certificates are missing: ca.key")
        for path, target in (
            (ADMIN_CONF, server),
            *((f"/etc/kubernetes/{name}", f"https://{machine.ip}:6443") for name in CONFS),
        ):
            machine.files.setdefault(path, kubeconfig(cluster.authority, target, name=cluster.name))
        yield "control-plane-prepare kubeconfig"
        for name in MANIFESTS[1:]:
            machine.files[manifest(name)] = static_pod(name, cluster.objects["kubeadm-config"])
        yield "control-plane-prepare"
        if not world.has_quorum(cluster):
            raise Failed("etcd cluster is not healthy")
        yield "check-etcd"
    own = f"https://{machine.ip}:6443" if control_plane else server
    machine.files[BOOTSTRAP_CONF] = f"    server: {own}\n{cluster.ca}\n    token: {discovery['token']}\n"
    machine.files.setdefault(CA, cluster.ca)
    yield "kubelet-start bootstrap"
    if machine.name in cluster.nodes and world.is_ready(cluster, machine.name):
        raise Failed(f'a Node with name "{machine.name}" and status "Ready" already exists in the cluster')
    machine.files[KUBELET_CONFIG] = json.dumps(cluster.objects["kubelet-config"])
    machine.files[KUBELET_FLAGS] = f'KUBELET_KUBEADM_ARGS="--node-ip={machine.ip}"\n'
    world.kubelet_started(machine)
    world.settle()
    yield "kubelet-start"
    if control_plane:
        yield from _join_etcd(world, machine, cluster)
    world.settle()
    if KUBELET_CONF not in machine.files:
        machine.remove(BOOTSTRAP_CONF)
        raise Failed("failed while waiting for TLS bootstrap")
    yield "TLS bootstrap"
    machine.remove(BOOTSTRAP_CONF)
    yield "kubelet-wait-bootstrap"
    if control_plane:
        if world.api(machine, server) is None:
            raise Failed("error applying control-plane label and taints")
        mark_control_plane(cluster, machine, configuration)
        world.write(cluster)
        yield "mark-control-plane"


def _join_etcd(world: World, machine: Machine, cluster: Cluster) -> Steps:
    world.write(cluster)
    if any(member.ip == machine.ip for member in cluster.members.values()):
        raise Failed("etcdserver: Peer URLs already exists")
    member = world.new_member(cluster, machine, name="", learner=True)
    yield "etcd-join added"
    machine.files[manifest("etcd")] = static_pod("etcd", cluster.objects["kubeadm-config"])
    yield "etcd-join manifest"
    world.settle()
    yield "etcd-join started"
    if not world.answers(cluster, member):
        raise Failed("etcdserver: can only promote a learner member which is in sync with leader")
    world.write(cluster)
    member.learner = False
    yield "etcd-join promoted"


def phase(world: World, machine: Machine, name: str, *, documents: dict[str, Any]) -> Steps:
    """Run one of the ``kubeadm init phase`` commands that finish an init, or store a configuration."""
    cluster = world.kubectl(machine)
    if name == "kubelet-finalize all":
        finalize_kubelet(machine)
    elif name == "upload-config kubeadm":
        world.write(cluster)
        cluster.objects["kubeadm-config"] = documents["ClusterConfiguration"]
    elif name == "upload-config kubelet":
        world.write(cluster)
        cluster.objects["kubelet-config"] = documents["KubeletConfiguration"]
    elif (addon := name.removeprefix("addon ")) in ADDONS:
        world.write(cluster)
        yield from _create_addon(cluster, addon, documents=documents)
    else:
        raise AssertionError(f"kubeadm init phase {name} is not known")
    yield name


def _create_addon(cluster: Cluster, addon: str, *, documents: dict[str, Any]) -> Steps:
    cluster.objects.setdefault(addon, documents.get("KubeProxyConfiguration", True))
    yield f"addon {addon}, half"
    cluster.objects[ADDONS[addon]] = True


def clean(world: World, machine: Machine, *, saved: bool) -> Steps:
    """Run the script ``clean-machine``, line by line; see cluster/cleaning.py."""
    if "containerd" in machine.programs:
        machine.active.add("containerd")
    machine.active.discard("kubelet")
    machine.registered = False
    yield "kubeadm reset stops the kubelet"
    if "kubeadm" in machine.packages:
        machine.pods = False
        yield "kubeadm reset stops the pods"
        machine.remove("/etc/kubernetes/manifests/*", "/var/lib/kubelet/*")
        yield "kubeadm reset deletes folders"
        # kubeadm deletes all its kubeconfigs, super-admin.conf too.
        machine.remove(*_MOVED_AWAY_BY_RESET, SUPER_ADMIN_CONF)
        yield "kubeadm reset"
    machine.pods = False
    yield "pods"
    if machine.etcd:
        if saved:
            machine.saved.append(machine.etcd)
        machine.etcd = None
    if not saved:
        machine.saved.clear()
    yield "etcd"
    machine.remove(PKI)
    yield "pki"
    machine.remove(*CLUSTER_FILES)
    yield "files"


def mark_control_plane(cluster: Cluster, machine: Machine, configuration: dict[str, Any]) -> None:
    """Give a control plane's Node object its labels, and its taints unless the configuration sets taints."""
    node = cluster.nodes.get(machine.name)
    if node is None:
        raise Failed(f'nodes "{machine.name}" not found')
    marks = dict(CONTROL_PLANE_MARKS)
    if "taints" in configuration["nodeRegistration"]:
        marks = {mark: value for mark, value in marks.items() if ":" not in mark}
    node.marks |= marks


def finalize_kubelet(machine: Machine) -> None:
    """Make the kubelet's kubeconfig use the certificate that the kubelet renews."""
    if KUBELET_CONF in machine.files and ROTATING not in machine.files[KUBELET_CONF]:
        machine.files[KUBELET_CONF] += f"    {ROTATING}\n"


def start_kubelet(world: World, machine: Machine, number: int, *, configuration: dict[str, Any]) -> None:
    """Do init's kubelet-start; the kubelet also stores its kubeconfig's certificate, to renew it."""
    machine.files[KUBELET_CONFIG] = json.dumps(configuration)
    machine.files[KUBELET_FLAGS] = f'KUBELET_KUBEADM_ARGS="--node-ip={machine.ip}"\n'
    machine.files.setdefault(CLIENT, pki.certificate(number, f"system:node:{machine.name}"))
    world.kubelet_started(machine)


def kubeconfig(number: int, server: str, *, name: str = "kubernetes") -> str:
    """Return the parts of a kubeconfig that are read."""
    return (
        f"clusters:\n- cluster:\n    server: {server}\n  name: {name}\n{pki.authority(number).certificate}\n"
    )


_COMPONENTS = {
    "kube-apiserver": "apiServer",
    "kube-controller-manager": "controllerManager",
    "kube-scheduler": "scheduler",
}


def static_pod(name: str, configuration: dict[str, Any]) -> str:
    """Return the parts of a manifest that are read."""
    release = str(configuration.get("kubernetesVersion") or f"v{OPTIONS.kubernetes_version}")
    extras = configuration.get(_COMPONENTS.get(name, "")) or {}
    arguments = [f"--{each['name']}={each['value']}" for each in extras.get("extraArgs") or ()]
    folders = [{"path": each["hostPath"]} for each in extras.get("extraVolumes") or ()]
    command = json.dumps([name, *arguments])
    image = etcd_image(release) if name == "etcd" else f"registry.k8s.io/{name}:{release}"
    volumes = json.dumps([{"hostPath": folder} for folder in folders])
    return f"spec:\n  volumes: {volumes}\n  containers:\n  - command: {command}\n    image: {image}\n"


def _write_pki(machine: Machine, number: int) -> None:
    machine.files.setdefault(CA, pki.authority(number).certificate)
    for key in _KEYS:
        machine.files.setdefault(f"{PKI}/{key}", f"{key} of {number}\n")


def _require(machine: Machine, program: str) -> None:
    if program not in machine.packages:
        raise Failed(f"sh: 1: {program}: not found")
    if "containerd" not in machine.active:
        raise Failed("[ERROR CRI]: could not connect to the container runtime")


def make_member(world: World, cluster: Cluster, machine: Machine, *, control_plane: bool) -> None:
    """Make a machine a node of a cluster, in the state long after its join."""
    number, endpoint = cluster.authority, f"https://{cluster.endpoint}"
    machine.files |= {
        CA: cluster.ca,
        KUBELET_CONF: kubeconfig(number, f"https://{machine.ip}:6443" if control_plane else endpoint)
        + f"    {ROTATING}\n",
    }
    if control_plane:
        _write_pki(machine, number)
        machine.files[ADMIN_CONF] = kubeconfig(number, endpoint, name=cluster.name)
        if not cluster.members:
            # Only an init writes it.
            machine.files[SUPER_ADMIN_CONF] = machine.files[ADMIN_CONF]
        for name in CONFS:
            machine.files[f"/etc/kubernetes/{name}"] = kubeconfig(number, f"https://{machine.ip}:6443")
        for name in MANIFESTS:
            machine.files[manifest(name)] = static_pod(name, cluster.objects.get("kubeadm-config", {}))
        member = world.new_member(cluster, machine, name=machine.name, learner=False)
        machine.etcd = new_data(cluster, member)
    start_kubelet(world, machine, number, configuration=cluster.objects.get("kubelet-config", {}))
    machine.containerd = machine.programs.get("containerd", "")
    machine.registered = True
    marks = dict(CONTROL_PLANE_MARKS) if control_plane else {}
    cluster.nodes[machine.name] = NodeObject(
        machine_id=machine.machine_id, marks=marks, kubelet=machine.kubelet, containerd=machine.containerd
    )


def foreign_etcd(machine: Machine, number: int) -> None:
    """Give a machine the data of a foreign etcd."""
    machine.etcd = EtcdData(cluster=number, member=0)
