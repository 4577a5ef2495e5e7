"""Every check of preflight on machines that are dangerous, doubtful, fine, and nodes already."""

import dataclasses
from typing import Any

import pytest
from pyinfra import logger
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import preflight
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.downloads import Probe
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import Disk, MachineState
from kubeadm_deploys.findings import CHECKS, Severity, dangers, table
from kubeadm_deploys.machine_checks import urls_to_try
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.preflight import refuse
from tests.cluster_settings import answer, settings_of
from tests.preflight_machines import (
    ABSENT,
    CLUSTER,
    CONTROL_PLANE,
    CP,
    GIB,
    HALF,
    MEMBER,
    TOPOLOGY,
    VOTE,
    W1,
    W2,
    findings,
    machine,
    route,
    seconds,
)

SETTINGS = settings_of(answer())
NEARLY_FULL = {"/var/lib/containerd": Disk(mount="/", free=19 * GIB, size=250 * GIB)}
V1 = frozenset({"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"})
TOLERATED: dict[str, Any] = {
    "kubelet_configuration": {"failCgroupV1": False},
    "ignore_preflight_errors": ["SystemVerification"],
}
DANGER, DOUBT, FINE = Severity.DANGER, Severity.DOUBT, None

Case = tuple[str, Severity | None, dict[Node, dict[str, Any]], dict[str, Any]]

CASES: list[Case] = [
    ("os", FINE, {W1: {"os": ("ubuntu", "24.04")}}, {}),
    ("os", FINE, {W1: {"os": ("ubuntu", "26.04")}}, {}),
    ("os", DOUBT, {W1: {"os": ("debian", "11")}}, {}),
    ("os", DOUBT, {W1: {"os": ("debian", "")}}, {}),
    ("os", DOUBT, {W1: {"os": ("fedora", "43")}}, {}),
    ("architecture", FINE, {W1: {"architecture": "arm64"}}, {}),
    ("architecture", DANGER, {W1: {"architecture": "riscv64"}}, {}),
    ("systemd", DANGER, {W1: {"systemd": False}}, {}),
    ("systemd", FINE, {W1: {"systemd": None}}, {}),
    ("tools", DANGER, {W1: {"missing_tools": ("ip",)}}, {}),
    ("kernel", FINE, {W1: {"kernel": "5.10.0"}}, {}),
    ("kernel", FINE, {W1: {"kernel": "6.18.44-fc"}}, {}),
    ("kernel", DOUBT, {W1: {"kernel": "5.4.0-1"}}, {}),
    ("kernel", DANGER, {W1: {"kernel": "4.15.0-213-generic"}}, {}),
    ("kernel-modules", DANGER, {W1: {"missing_modules": ("br_netfilter",)}}, {}),
    ("kernel-modules", FINE, {W1: {"missing_modules": ("br_netfilter",), "in_container": True}}, {}),
    ("cgroups", DANGER, {W1: {"controllers": frozenset({"cpu", "cpuset", "pids"})}}, {}),
    ("cgroups", DANGER, {W1: {"cgroup": 1, "controllers": V1}}, {}),
    ("cgroups", FINE, {W1: {"cgroup": 1, "controllers": V1}}, TOLERATED),
    ("cgroups", DANGER, {W1: {"cgroup": 1, "controllers": V1 - {"pids"}}}, TOLERATED),
    ("cgroups", DOUBT, {W1: {"cgroup": 1, "controllers": V1}}, {"kubernetes_version": "1.34.1"}),
    ("cgroups", FINE, {W1: {"cgroup": 0, "controllers": frozenset()}}, {}),
    ("memory", DANGER, {CP: {"memory": 1699 * 1024**2}}, {}),
    ("memory", DOUBT, {CP: {"memory": GIB}}, {"ignore_preflight_errors": ["Mem"]}),
    ("memory", FINE, {CP: {"memory": 1700 * 1024**2}, W1: {"memory": GIB}}, {}),
    ("memory", FINE, {CP: {"memory": 0}}, {}),
    ("cpus", DANGER, {CP: {"cpus": 1}}, {}),
    ("cpus", DOUBT, {CP: {"cpus": 1}}, {"ignore_preflight_errors": ["NumCPU"]}),
    ("cpus", FINE, {W1: {"cpus": 1}}, {}),
    ("disk-space", DANGER, {W1: {"disks": {"/": Disk(mount="/", free=GIB, size=40 * GIB)}}}, {}),
    ("disk-space", DOUBT, {W1: {"disks": {"/": Disk(mount="/", free=9 * GIB, size=40 * GIB)}}}, {}),
    ("disk-space", DANGER, {CP: {"disks": {"/var/lib/etcd": Disk(mount="/e", free=GIB, size=2 * GIB)}}}, {}),
    ("disk-space", FINE, {W1: {"disks": {"/var/lib/etcd": Disk(mount="/e", free=GIB, size=2 * GIB)}}}, {}),
    ("disk-space", DOUBT, {W1: {"disks": NEARLY_FULL}}, {}),
    ("disk-space", FINE, {W1: {"disks": NEARLY_FULL}}, {"kubelet_configuration": {"evictionHard": {}}}),
    ("disk-space", FINE, {W1: {"disks": {"/": NEARLY_FULL["/var/lib/containerd"]}}}, {}),
    ("clock", FINE, {W1: {"clock": seconds(5.5)}}, {}),
    ("clock", DOUBT, {W1: {"clock": seconds(-7)}}, {}),
    ("clock", DANGER, {W1: {"clock": seconds(86400)}}, {}),
    ("clock", DOUBT, {node: {"clock": seconds(-3600)} for node in (CP, W1, W2)}, {}),
    ("clock", FINE, {node: {"clock": None} for node in (CP, W1, W2)}, {}),
    ("hostname", DOUBT, {W1: {"hostname": "w-2"}}, {}),
    ("hostname", FINE, {W1: {"hostname": "server-17"}}, {}),
    ("hostname", FINE, {W1: {"hostname": ""}, W2: {"hostname": ""}}, {}),
    ("machine-id", DANGER, {W1: {"machine_id": "id-of-w-2"}}, {}),
    ("machine-id", FINE, {W1: {"product_uuid": "uuid-of-w-2"}}, {}),
    ("mac-address", DOUBT, {W1: {"macs": machine(W2).macs}}, {}),
    ("mac-address", DANGER, {W1: {"macs": machine(W2).macs, "product_uuid": "uuid-of-w-2"}}, {}),
    ("mac-address", FINE, {W1: {"addresses": {W1.ip: ""}, "macs": machine(W2).macs}}, {}),
    ("node-address", DANGER, {W1: {"addresses": {"10.0.0.9": "eth0"}}}, {}),
    ("node-address", FINE, {W1: {"addresses": {}}}, {}),
    ("subnets", DANGER, {W1: {"routes": route("10.244.7.0/24")}}, {}),
    ("subnets", DANGER, {W1: {"routes": route("10.96.0.0/12")}}, {}),
    ("subnets", DANGER, {W1: {"routes": route("192.168.1.0/24")}}, {"pod_subnet": "192.168.0.0/16"}),
    ("subnets", DOUBT, {W1: {"routes": route("10.0.0.0/8")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("0.0.0.0/1")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.244.0.64/26", "", "80")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.244.0.65/32", "cali0123456789a")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.244.1.64/26", "vxlan.calico")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.96.0.1/32", "kube-ipvs0")}}, {}),
    ("name-resolution", DANGER, {W1: {"probes": {"https://quay.io/": Probe(status=6)}}}, {}),
    ("name-resolution", FINE, {W1: {"probes": {"https://quay.io/": Probe(status=0)}}}, {}),
    ("reachability", DANGER, {W1: {"probes": {"https://quay.io/": Probe(status=28)}}}, {}),
    ("reachability", FINE, {W1: {"probes": {"https://quay.io/": Probe(status=0)}}}, {}),
    ("apt-key", DANGER, {W1: {"published_key": "<html>moved</html>"}}, {}),
    ("apt-key", FINE, {W1: {"published_key": ""}}, {}),
    ("ports", DANGER, {CP: {"listeners": ((6443, "nginx"),)}}, {}),
    ("ports", DANGER, {CP: {"listeners": ((2379, ""),)}}, {}),
    ("ports", DANGER, {W1: {"listeners": ((10250, "kubelet"),)}}, {}),
    ("ports", FINE, {W1: {"listeners": ((6443, "nginx"), (2379, "etcd"))}}, {}),
    ("ports", DANGER, {W1: {"listeners": ((6443, "nginx"),)}}, {"endpoint_kind": "local_proxy"}),
    ("other-runtime", DANGER, {W1: {"docker": 1}}, {}),
    ("other-runtime", DOUBT, {W1: {"docker": 0}}, {}),
    ("other-runtime", DANGER, {W1: {"processes": frozenset({"k3s-server"})}}, {}),
    ("other-runtime", DOUBT, {W1: {"leftovers": ("/var/lib/rancher/k3s",)}}, {}),
    ("other-runtime", DANGER, {W1: {"tasks": {"default": 2}}}, {}),
    ("other-runtime", FINE, {W1: {"tasks": {"k8s.io": 7, "default": 0}}}, {}),
    ("etcd-data", DANGER, {W1: {"etcd_entries": frozenset({"default"})}}, {}),
    ("etcd-data", DANGER, {CP: {"etcd_entries": frozenset({"member"})}}, {}),
    (
        "containerd-version",
        DOUBT,
        {},
        {"containerd_version": "1.7.34", "kubernetes_version": "1.36.3"},
    ),
    (
        "containerd-version",
        FINE,
        {},
        {"containerd_version": "1.7.34", "kubernetes_version": "1.35.4"},
    ),
    ("containerd-version", FINE, {}, {"containerd_version": "2.3.4", "kubernetes_version": "1.31.1"}),
    ("containerd-version", DOUBT, {}, {"containerd_version": "2.1.9", "kubernetes_version": "1.36.3"}),
]


def test_good_machines_have_no_findings() -> None:
    assert findings({}) == ()
    assert findings({}, kubeadm=CLUSTER) == ()
    assert findings({}, kubeadm={CP: HALF}) == ()
    assert findings({}, kubeadm={**CLUSTER, W1: HALF}) == ()


def test_machines_of_which_nothing_is_known_have_no_findings() -> None:
    unknown = {field.name: getattr(MachineState(), field.name) for field in dataclasses.fields(MachineState)}
    assert findings({CP: unknown, W1: unknown, W2: unknown}) == ()


@pytest.mark.parametrize(("check", "severity", "changes", "options"), CASES)
def test_what_is_wrong_is_found_and_nothing_else(
    check: str, severity: Severity | None, changes: dict[Node, dict[str, Any]], options: dict[str, Any]
) -> None:
    found = findings(changes, **options)
    assert {(finding.check, finding.severity) for finding in found} == (
        {(check, severity)} if severity else set()
    )
    assert all(finding.found and finding.cure for finding in found)


@pytest.mark.parametrize(("check", "severity", "changes", "options"), [case for case in CASES if case[1]])
def test_a_waived_check_says_nothing(
    check: str, severity: Severity, changes: dict[Node, dict[str, Any]], options: dict[str, Any]
) -> None:
    if CHECKS[check].waivable:
        assert findings(changes, **options, waive_checks=(check,)) == ()
        assert findings(changes, **options, waive_checks=("tools" if check != "tools" else "os",)) != ()


@pytest.mark.parametrize(("check", "severity", "changes", "options"), [case for case in CASES if case[1]])
def test_what_would_keep_a_machine_from_becoming_a_node_does_not_stop_one_that_is(
    check: str, severity: Severity, changes: dict[Node, dict[str, Any]], options: dict[str, Any]
) -> None:
    found = findings(changes, kubeadm=CLUSTER, **options)
    assert [finding.check for finding in dangers(found) if CHECKS[finding.check].eased] == []


def test_a_finding_names_machine_value_and_cure() -> None:
    (finding,) = findings({CP: {"memory": GIB}})
    assert (
        finding.sentence
        == "@x/cp: has 1024 MB of memory, and a control plane needs 1700; take a bigger machine"
    )


def test_the_clock_that_is_nearest_to_the_operators_is_the_right_one() -> None:
    (finding,) = findings({CP: {"clock": seconds(-120)}})
    assert (finding.host, finding.severity) == (CP.host, DANGER)
    assert finding.found == "its clock is 119 s behind that of w-1"


def test_an_address_that_is_waited_for_is_only_a_doubt() -> None:
    late = dataclasses.replace(W1, interface_mac="86:00:00:12:34:56")
    topology = Topology(control_planes=(CP,), workers=(late,))
    (finding,) = findings({late: {"addresses": {"203.0.113.1": "eth0"}}}, topology=topology)
    assert finding.severity is DOUBT and "86:00:00:12:34:56" in finding.cure


def test_a_wrong_address_is_told_with_those_that_are_there() -> None:
    (finding,) = findings({W1: {"addresses": {"127.0.0.1": "lo", "10.0.0.9": "eth0", "10.0.1.9": ""}}})
    assert finding.found == "no interface has the address 10.0.0.3 (there are: eth0 10.0.0.9, 10.0.1.9)"


def test_a_clone_of_a_node_that_is_not_in_this_run_is_found() -> None:
    members = ClusterMembersState(
        etcd=(VOTE,),
        nodes={
            "cp-1": RegisteredNode(machine_id=""),
            "old": RegisteredNode(machine_id="id-of-w-1"),
            "w-2": RegisteredNode(machine_id=""),
        },
    )
    kubeadm = {CP: dataclasses.replace(CONTROL_PLANE), W2: MEMBER}
    (finding,) = findings({W1: {}}, kubeadm=kubeadm, members=members)
    assert (finding.check, finding.severity, finding.host) == ("machine-id", DANGER, W1.host)
    assert "that of old" in finding.found


@pytest.mark.parametrize("program", ["kubelet", "kube-apiserver", "kube-controller", "etcd", ""])
def test_programs_of_an_init_that_did_not_finish_may_listen(program: str) -> None:
    assert findings({CP: {"listeners": ((10250, program),)}}, kubeadm={CP: HALF}) == ()
    (finding,) = findings({CP: {"listeners": ((10250, "nginx"),)}}, kubeadm={CP: HALF})
    assert (finding.check, finding.severity) == ("ports", DANGER)


def test_our_own_proxy_may_listen_before_its_worker_has_joined() -> None:
    prepared = KubeadmNodeState(local_proxy=True)
    for kubeadm, dangerous in ((prepared, False), (ABSENT, True)):
        found = findings(
            {W1: {"listeners": ((6443, "haproxy"),)}}, kubeadm={W1: kubeadm}, endpoint_kind="local_proxy"
        )
        assert bool(dangers(found)) is dangerous


def test_an_init_that_did_not_finish_explains_etcds_data() -> None:
    half = dataclasses.replace(CONTROL_PLANE, rotating=False, api="not ready: etcd")
    assert findings({CP: {"etcd_entries": frozenset({"member"})}}, kubeadm={CP: half}) == ()
    (finding,) = findings({CP: {"etcd_entries": frozenset({"member", "default"})}}, kubeadm={CP: half})
    assert (finding.check, finding.severity) == ("etcd-data", DANGER)


def test_etcds_data_without_a_ca_are_told_once() -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}))
    (finding,) = findings({CP: {"etcd_entries": frozenset({"member"})}}, kubeadm={CP: etcd})
    assert (finding.check, finding.severity) == ("etcd-data", DANGER)


def test_a_node_of_another_cluster_is_told_once_and_with_nothing_else_that_is_its() -> None:
    other = dataclasses.replace(CONTROL_PLANE, ca_certificate="other")
    its = {"listeners": ((6443, "kube-apiserver"), (10250, "kubelet")), "etcd_entries": frozenset({"member"})}
    (finding,) = findings({W1: its}, kubeadm={CP: CONTROL_PLANE, W1: other})
    assert finding.severity is DANGER
    assert finding.sentence.startswith("@x/w1: is a node of another cluster")


@pytest.mark.parametrize(
    ("wanted", "api", "kubelet", "expected"),
    [
        ("1.36.3", "1.36.1", "1.36.3-1.1", []),
        ("1.36.3", "1.36.1", "1.33.1-1.1", []),
        ("1.36.3", "1.36.1", "1.32.9-1.1", ["w-1's kubelet"]),
        ("1.36.3", "1.35.4", "1.35.4-1.1", ["cluster"]),
        ("1.35.4", "1.36.3", "1.36.3-1.1", ["cluster"]),
        ("1.36.3", "1.36.3", "1.37.0-1.1", ["w-1's kubelet"]),
        ("1.36.3", "", "1.30.0-1.1", []),
        ("1.36.3", "1.36.3", "", []),
    ],
)
def test_releases_have_to_fit_each_other(wanted: str, api: str, kubelet: str, expected: list[str]) -> None:
    found = findings(
        {CP: {"api_server": api}, W1: {"kubelet": kubelet}}, kubeadm=CLUSTER, kubernetes_version=wanted
    )
    assert {finding.check for finding in found} <= {"kubernetes-version"}
    assert [{"": "cluster", W1.host: "w-1's kubelet"}[finding.host] for finding in found] == expected
    assert dangers(found) == list(found)
    if "cluster" in expected:
        assert f"have Kubernetes {api}, and its configuration says {wanted}" in found[0].found
        assert "finish the upgrade" in found[0].cure


def test_no_release_can_be_waived() -> None:
    with pytest.raises(InputError, match="'kubernetes-version', which cannot be waived"):
        ClusterOptions(waive_checks=("kubernetes-version",))


def test_an_upgrade_that_has_reached_one_control_plane_is_not_finished() -> None:
    other = Node(host="@x/cp-2", name="cp-2", ip="10.0.0.5", address="10.0.0.5")
    (finding,) = findings(
        {CP: {"api_server": "1.36.3"}, other: {"api_server": "1.35.4"}},
        kubeadm={CP: CONTROL_PLANE, other: CONTROL_PLANE},
        topology=Topology(control_planes=(CP, other), workers=()),
        members=ClusterMembersState(
            etcd=(VOTE, EtcdMember(id="2", name=other.name, peer_ip=other.ip)),
            nodes={node.name: RegisteredNode(machine_id="") for node in (CP, other)},
        ),
    )
    assert (finding.check, finding.severity) == ("kubernetes-version", DANGER)
    assert "have Kubernetes 1.35.4, 1.36.3" in finding.found


@pytest.mark.parametrize(
    ("kubelet", "severity"),
    [({}, DANGER), ({"failCgroupV1": True}, DANGER), ({"failCgroupV1": False}, None)],
)
def test_a_node_is_not_moved_to_a_kubelet_that_refuses_its_cgroups(
    kubelet: dict[str, Any], severity: Severity | None
) -> None:
    settings = dataclasses.replace(SETTINGS, kubelet=kubelet)
    found = findings({W1: {"cgroup": 1, "controllers": V1}}, kubeadm=CLUSTER, settings=settings)
    assert [(each.check, each.severity, each.host) for each in found] == (
        [("cgroups", severity, W1.host)] if severity else []
    )


def test_a_new_node_takes_the_clusters_word_about_cgroups_and_not_the_options() -> None:
    kubeadm = {CP: CONTROL_PLANE, W2: MEMBER}
    found = findings({W1: {"cgroup": 1, "controllers": V1}}, kubeadm=kubeadm, settings=SETTINGS, **TOLERATED)
    assert [(each.check, each.severity) for each in found] == [("cgroups", DANGER)]


def test_a_node_that_runs_without_a_controller_goes_on_without_it() -> None:
    found = findings({W1: {"controllers": frozenset({"cpu", "cpuset", "pids"})}}, kubeadm=CLUSTER)
    assert [(each.check, each.severity) for each in found] == [("cgroups", DOUBT)]


def test_packages_of_a_machine_that_is_no_node_yet_do_not_matter() -> None:
    kubeadm = {CP: CONTROL_PLANE, W2: MEMBER}
    assert findings({CP: {"api_server": "1.37.2"}, W1: {"kubelet": "1.38.0-1.1"}}, kubeadm=kubeadm) == ()


DOCKER_HOST: dict[str, Any] = {
    "in_container": True,
    "missing_modules": ("overlay", "br_netfilter"),
    "cgroup": 1,
    "controllers": V1 | {"blkio", "hugetlb"},
    "product_uuid": "the machine's",
    "memory": 24 * GIB,
    "disks": {
        path: Disk(mount="/", free=60 * GIB, size=250 * GIB)
        for path in ("/", "/var/lib/containerd", "/var/lib/etcd")
    },
    "kernel": "6.18.44-fc",
}


@pytest.mark.parametrize("kubeadm", [{}, {CP: HALF}, {**CLUSTER, W1: HALF}, CLUSTER])
def test_docker_hosts_share_their_machine_and_are_fine(kubeadm: dict[Node, KubeadmNodeState]) -> None:
    assert findings({node: DOCKER_HOST for node in TOPOLOGY.nodes}, kubeadm=kubeadm, **TOLERATED) == ()


def test_each_server_is_tried_once_and_only_the_mirror_where_there_is_one() -> None:
    worker = urls_to_try(options=ClusterOptions(), control_plane=False)
    assert worker == (
        "https://github.com/",
        "https://pkgs.k8s.io/",
        "https://registry.k8s.io/",
        "https://quay.io/",
    )
    control_plane = urls_to_try(options=ClusterOptions(cloud_provider="hetzner"), control_plane=True)
    assert set(control_plane) - set(worker) == {
        "https://raw.githubusercontent.com/",
        "https://registry-1.docker.io/",
    }
    mirror = "http://10.0.0.9:8080"
    assert urls_to_try(options=ClusterOptions(mirror=mirror), control_plane=True) == (mirror,)


def test_every_check_can_be_met() -> None:
    seen = {check for check, severity, _, _ in CASES if severity}
    assert CHECKS.keys() - seen == {
        # What is on several machines, or in the cluster: tested one by one.
        *("another-cluster", "node-role", "node-name", "control-planes", "manifests", "kubernetes-version"),
        # What the cluster was made with: tests/test_live_options.py.
        *("cluster-options", "component-versions"),
    }
    dangerous = {check for check, severity, _, _ in CASES if severity is DANGER}
    assert dangerous == {name for name in seen if CHECKS[name].danger}
    assert all(check.danger or check.doubt for check in CHECKS.values())


def test_the_table_keeps_a_machines_findings_together_and_its_sentences_whole() -> None:
    found = findings({W1: {"docker": 2, "os": ("debian", "11")}, CP: {"cpus": 1}})
    assert [line.rstrip() for line in table(found)] == [
        "HOST   CHECK          FOUND, AND ITS CURE",
        "@x/cp  cpus           danger: has 1 CPU, and a control plane needs 2",
        "                        cure: take a bigger machine",
        "@x/w1  other-runtime  danger: has 2 containers of Docker",
        "                        cure: take another machine, or remove Docker and its containers",
        "@x/w1  os             doubt: runs debian 11, which this project does not know",
        "                        cure: take Debian 12 or 13, or Ubuntu 22.04, 24.04 or 26.04",
    ]


def test_a_run_is_refused_with_every_danger() -> None:
    refuse([])
    found = dangers(findings({CP: {"cpus": 1, "memory": GIB}}))
    with pytest.raises(DeployError, match="2 dangers; no changes were made:\n  - @x/cp: has 1024 MB"):
        refuse(found)
    with pytest.raises(DeployError, match=r"^@x/cp: has 1024 MB.*; no changes were made$"):
        refuse(found[:1])


def test_the_table_is_printed_once_however_many_hosts_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(preflight, "_told", set())
    monkeypatch.setattr(logger, "warning", said.append)
    found = findings({CP: {"cpus": 1}, W1: {"docker": 0}})
    for _ in TOPOLOGY.nodes:
        preflight.tell_once(found)
    preflight.tell_once(())
    assert said == ["--> Preflight: dangers that stop the run: 1, doubts that do not: 1"]
