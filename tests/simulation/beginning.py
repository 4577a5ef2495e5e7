"""Make the world at the beginning of a history: its machines in their initial states."""

import json
import re
from typing import Any

from packaging.version import Version

from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.documents.kubeadm_documents import TOKEN_DESCRIPTION, init_document, join_document
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.sections import bridged_traffic, container_runtime, kube_packages
from kubeadm_deploys.sections.images import node_images
from tests.simulation import kubeadm
from tests.simulation.cluster import Cluster
from tests.simulation.history import Host
from tests.simulation.machine import (
    HOSTS,
    KUBELET_CONF,
    PKI,
    ROTATING,
    EtcdData,
    Machine,
    etcd_image,
    manifest,
)
from tests.simulation.world import OPTIONS, RELEASES, World
from tests.support import cluster_settings

_TOKEN = "abcdef.0123456789abcdef"

OLDER_CONTAINERD = "2.2.3"
"""containerd of members with an older release of Kubernetes."""

BACKUP = "/etc/kubernetes/tmp/kubeadm-backup-manifests-2026-11-28-10-00-00"
"""Where kubeadm moved a manifest before rewriting it."""


def begin(hosts: tuple[Host, ...]) -> World:
    """Return a world with these machines, and with a cluster if one of them is a member."""
    world = World(machines={host.name: machine_of(host) for host in hosts})
    by_name = {host.name: host for host in hosts}
    members = [host for host in hosts if host.is_member]
    own_cluster = _cluster(world, members) if any(host.control_plane for host in members) else None
    for host in hosts:
        machine = world.machines[host.name]
        if host.begins != "bare":
            prepare(machine, control_plane=host.control_plane)
        if own_cluster and host.is_member:
            _resolve(machine, own_cluster, hosts)
            kubeadm.make_member(world, own_cluster, machine, control_plane=host.control_plane)
    for host in hosts:
        _make_strange(world, world.machines[host.name], host)
    for name in dict.fromkeys(host.begins for host in hosts if host.begins.startswith("member of ")):
        _another_cluster(world, [host for host in hosts if host.begins == name])
    for host in hosts:
        if host.begins.startswith("half"):
            _begin_half(world, world.machines[host.name], by_name[host.name], own_cluster, hosts)
    if own_cluster:
        own_cluster.acknowledged = own_cluster.revision = 1
        world.write(own_cluster)
    for host in hosts:
        if host.is_member:
            _change_member(world, world.machines[host.name], host.begins.partition(", ")[2])
    return world


def machine_of(host: Host) -> Machine:
    """Return the machine of a host, with nothing on it."""
    number = int(host.name.rpartition("-")[2])
    ip = f"10.0.{0 if host.control_plane else 1}.{number}"
    greeting = tuple(host.greeting.splitlines())
    return Machine(name=host.name, ip=ip, machine_id=f"id-{host.name}", greeting=greeting)


def prepare(machine: Machine, *, control_plane: bool) -> None:
    """Prepare a machine as the sections before kubeadm do."""
    machine.programs |= dict.fromkeys(
        ("containerd", "containerd-shim-runc-v2", "ctr"), OPTIONS.release("containerd")
    )
    machine.programs |= {"runc": OPTIONS.release("runc")}
    machine.programs |= dict.fromkeys(artifacts.CNI_PLUGINS, OPTIONS.release("cni_plugins"))
    kubernetes = (*kube_packages.HELD_PACKAGES, *kube_packages.TOOLS)
    machine.packages |= dict.fromkeys(kubernetes, f"{OPTIONS.kubernetes_version}-1.1")
    machine.held |= set(kube_packages.HELD_PACKAGES)
    machine.images |= set(node_images(options=OPTIONS, control_plane=control_plane))
    machine.modules |= {"overlay", "br_netfilter"}
    machine.sysctls |= set(bridged_traffic.SYSCTLS)
    machine.files |= bridged_traffic._FILES
    machine.files |= container_runtime.configuration_files(OPTIONS)
    machine.files |= kube_packages.apt_files(OPTIONS)
    machine.enabled |= {"containerd", "kubelet"}
    machine.active |= {"containerd", "kubelet"}


def _cluster(world: World, members: list[Host]) -> Cluster:
    cluster = world.new_cluster(name="kubernetes", endpoint=f"{OPTIONS.endpoint}:6443")
    cluster.objects |= _objects(name="kubernetes", endpoint=cluster.endpoint)
    return cluster


def _objects(*, name: str, endpoint: str) -> dict[str, Any]:
    """Return the objects of a cluster that was made with our defaults."""
    return {
        "kubeadm-config": {**cluster_settings.CLUSTER, "clusterName": name, "controlPlaneEndpoint": endpoint},
        "kubelet-config": cluster_settings.KUBELET,
        "kube-proxy": cluster_settings.KUBE_PROXY,
        "cluster-info": True,
        kubeadm.CLUSTER_INFO_READERS: True,
        "coredns": True,
        **dict.fromkeys(kubeadm.ADDONS.values(), True),
        "admin-rights": True,
        "calico": f"quay.io/calico/node:v{OPTIONS.calico_version}",
        "kubeadm-deploys": {"nodes": "{}", "releases": json.dumps(RELEASES)},
    }


def _resolve(machine: Machine, cluster: Cluster, hosts: tuple[Host, ...]) -> None:
    """Resolve the endpoint to the machine itself if it serves the API, else to the first one that does."""
    first = next(host for host in hosts if host.control_plane and host.is_member)
    serves = machine.name.startswith("cp-") and any(h.name == machine.name and h.is_member for h in hosts)
    address = machine.ip if serves else machine_of(first).ip
    name = cluster.endpoint.partition(":")[0]
    machine.files[HOSTS] = hosts_file.with_name(machine.files[HOSTS], name=name, address=address)


def _make_strange(world: World, machine: Machine, host: Host) -> None:
    if host.begins == "docker":
        machine.docker, machine.foreign = 2, "docker"
    elif host.begins == "etcd":
        other = world.new_cluster(name="", endpoint="", foreign=True)
        member = world.new_member(other, machine, name="their-etcd", learner=False)
        machine.etcd = EtcdData(cluster=other.number, member=member.id)
        machine.foreign = "etcd"
    elif host.begins.startswith("foreign"):
        other = world.new_cluster(name="production", endpoint="api.production.internal:6443", foreign=True)
        name = "api.production.internal"
        machine.files[HOSTS] = hosts_file.with_name(machine.files[HOSTS], name=name, address=machine.ip)
        kubeadm.make_member(world, other, machine, control_plane=host.begins.endswith("control plane"))
        other.objects |= _objects(name=other.name, endpoint=other.endpoint)
        machine.foreign = host.begins


def _change_member(world: World, machine: Machine, what: str) -> None:
    """Turn a member into one of the unusual members that ``Host`` lists."""
    verb, _, name = what.partition(" ")
    if what == "kubeconfig made anew":
        machine.files[KUBELET_CONF] = machine.files[KUBELET_CONF].replace(
            ROTATING, "client-certificate-data: AA"
        )
    elif what == "moved":
        for member in (member for cluster in world.own_clusters() for member in cluster.members.values()):
            if member.ip == machine.ip:
                member.ip = f"192.168.0.{machine.ip.rpartition('.')[2]}"
    elif verb == "at":
        _make_older(world, machine, name)
    elif verb in ("lacks", "renamed"):
        text = machine.files.pop(manifest(name))
        if verb == "renamed":
            machine.files[f"{BACKUP}/{name}.yaml"] = text
    else:
        assert not what, f"unknown kind of member: {what}"


def _make_older(world: World, machine: Machine, release: str) -> None:
    """Give a member, and its cluster, an older release of Kubernetes, with a containerd of that time."""
    options = OPTIONS.model_copy(
        update={"kubernetes_version": Version(release), "containerd_version": Version(OLDER_CONTAINERD)}
    )
    packages = (*kube_packages.HELD_PACKAGES, *kube_packages.TOOLS)
    machine.packages |= dict.fromkeys(packages, f"{release}-1.1")
    machine.files |= kube_packages.apt_files(options)
    machine.files |= container_runtime.configuration_files(options)
    machine.programs |= dict.fromkeys(("containerd", "containerd-shim-runc-v2", "ctr"), OLDER_CONTAINERD)
    machine.kubelet, machine.containerd = release, OLDER_CONTAINERD
    for name in MANIFESTS:
        if machine.has_manifest(name):
            text = machine.files[manifest(name)]
            text = re.sub(r"registry.k8s.io/etcd:\S+", etcd_image(release), text)
            machine.files[manifest(name)] = re.sub(r":v[\d.]+", f":v{release}", text)
    for cluster in world.own_clusters():
        cluster.objects["kubeadm-config"] = {
            **cluster.objects["kubeadm-config"],
            "kubernetesVersion": f"v{release}",
        }
        record = {**RELEASES, "containerd": OLDER_CONTAINERD}
        cluster.objects["kubeadm-deploys"] = {"nodes": "{}", "releases": json.dumps(record)}
        node = cluster.nodes[machine.name]
        node.kubelet, node.containerd = release, OLDER_CONTAINERD


def _another_cluster(world: World, hosts: list[Host]) -> None:
    """Make machines nodes of a foreign cluster; see ``Host``."""
    name = hosts[0].begins.removeprefix("member of ")
    endpoint = f"api.{name}.internal"
    other = world.new_cluster(name=name, endpoint=f"{endpoint}:6443", foreign=True)
    first = next(host for host in hosts if host.control_plane)
    for host in hosts:
        machine = world.machines[host.name]
        address = (machine if host.control_plane else world.machines[first.name]).ip
        machine.files[HOSTS] = hosts_file.with_name(machine.files[HOSTS], name=endpoint, address=address)
        kubeadm.make_member(world, other, machine, control_plane=host.control_plane)
        machine.foreign = host.begins
    other.objects |= _objects(name=name, endpoint=other.endpoint)


def _begin_half(
    world: World, machine: Machine, host: Host, own_cluster: Cluster | None, hosts: tuple[Host, ...]
) -> None:
    """Run only the first steps of kubeadm on a machine."""
    topology = _topology(hosts)
    node = next(node for node in topology.nodes if node.name == host.name)
    steps = int(host.begins.rpartition(" ")[2])
    if own_cluster is None:
        if not host.control_plane:
            return
        machine.files[HOSTS] = hosts_file.with_name(
            machine.files[HOSTS], name=OPTIONS.endpoint, address=machine.ip
        )
        text = init_document(options=OPTIONS, topology=topology, node=node, token=_TOKEN)
        kubeadm_steps = kubeadm.init(
            world,
            machine,
            documents=kubeadm.documents(text),
            ignored=frozenset({"DirAvailable--var-lib-etcd"}),
        )
    else:
        _resolve(machine, own_cluster, hosts)
        own_cluster.tokens[f"bootstrap-token-{_TOKEN.partition('.')[0]}"] = (_TOKEN, TOKEN_DESCRIPTION)
        if host.control_plane:
            _keys(machine, own_cluster)
        text = join_document(
            options=OPTIONS,
            node=node,
            control_plane=host.control_plane,
            token=_TOKEN,
            ca_certificate=own_cluster.ca,
        )
        kubeadm_steps = kubeadm.join(world, machine, documents=kubeadm.documents(text), ignored=frozenset())
    for _, _ in zip(range(steps), kubeadm_steps, strict=False):
        world.settle()


def _keys(machine: Machine, cluster: Cluster) -> None:
    machine.files[f"{PKI}/ca.crt"] = cluster.ca
    for key in kubeadm._KEYS:
        machine.files[f"{PKI}/{key}"] = f"{key} of {cluster.authority}\n"


def _topology(hosts: tuple[Host, ...]) -> Topology:
    def node(host: Host) -> Node:
        machine = machine_of(host)
        return Node(host=f"@fake/{host.name}", name=host.name, ip=machine.ip, address=machine.ip)

    return Topology(
        control_planes=tuple(node(host) for host in hosts if host.control_plane),
        workers=tuple(node(host) for host in hosts if not host.control_plane),
    )
