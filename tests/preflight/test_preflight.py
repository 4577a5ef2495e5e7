"""Every preflight check on machines with errors, with warnings, without findings, and on members."""

import dataclasses
from typing import Any

import pytest
from pyinfra import logger
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.downloads import Probe
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import Disk, MachineState
from kubeadm_deploys.model.findings import CHECKS, Severity, errors_of, table
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.preflight import check as preflight
from kubeadm_deploys.preflight.check import refuse
from tests.support.cluster_settings import answer, settings_of
from tests.support.preflight_machines import (
    ABSENT,
    CLUSTER,
    CONTROL_PLANE,
    CP,
    GIB,
    MEMBER,
    PARTIAL,
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


ERROR, WARNING, FINE = Severity.ERROR, Severity.WARNING, None


MIRROR = "http://10.0.0.9:8080"


REPOSITORY = "https://pkgs.k8s.io/core:/stable:/v1.37/deb/"


QUAY = "https://quay.io/"


PROXY = "http://bob:hunter2@10.0.0.7:3128"


def through(status: int, answer: int = 0, message: str = "") -> Probe:
    """Return the probe of a download through the proxy."""
    return Probe(status=status, answer=answer, message=message, proxy="10.0.0.7:3128")


Case = tuple[str, Severity | None, dict[Node, dict[str, Any]], dict[str, Any]]


CASES: list[Case] = [
    ("os", FINE, {W1: {"os": ("ubuntu", "24.04")}}, {}),
    ("os", FINE, {W1: {"os": ("ubuntu", "26.04")}}, {}),
    ("os", WARNING, {W1: {"os": ("debian", "11")}}, {}),
    ("os", WARNING, {W1: {"os": ("debian", "")}}, {}),
    ("os", WARNING, {W1: {"os": ("fedora", "43")}}, {}),
    ("architecture", FINE, {W1: {"architecture": "arm64"}}, {}),
    ("architecture", ERROR, {W1: {"architecture": "riscv64"}}, {}),
    ("systemd", ERROR, {W1: {"systemd": False}}, {}),
    ("systemd", FINE, {W1: {"systemd": None}}, {}),
    ("tools", ERROR, {W1: {"missing_tools": ("ip",)}}, {}),
    ("kernel", FINE, {W1: {"kernel": "5.10.0"}}, {}),
    ("kernel", FINE, {W1: {"kernel": "6.18.44-fc"}}, {}),
    ("kernel", WARNING, {W1: {"kernel": "5.4.0-1"}}, {}),
    ("kernel", ERROR, {W1: {"kernel": "4.15.0-213-generic"}}, {}),
    ("kernel-modules", ERROR, {W1: {"missing_modules": ("br_netfilter",)}}, {}),
    ("kernel-modules", FINE, {W1: {"missing_modules": ("br_netfilter",), "in_container": True}}, {}),
    ("cgroups", ERROR, {W1: {"controllers": frozenset({"cpu", "cpuset", "pids"})}}, {}),
    ("cgroups", ERROR, {W1: {"cgroup": 1, "controllers": V1}}, {}),
    ("cgroups", FINE, {W1: {"cgroup": 1, "controllers": V1}}, TOLERATED),
    ("cgroups", ERROR, {W1: {"cgroup": 1, "controllers": V1 - {"pids"}}}, TOLERATED),
    ("cgroups", WARNING, {W1: {"cgroup": 1, "controllers": V1}}, {"kubernetes_version": "1.34.1"}),
    ("cgroups", FINE, {W1: {"cgroup": 0, "controllers": frozenset()}}, {}),
    ("memory", ERROR, {CP: {"memory": 1699 * 1024**2}}, {}),
    ("memory", WARNING, {CP: {"memory": GIB}}, {"ignore_preflight_errors": ["Mem"]}),
    ("memory", FINE, {CP: {"memory": 1700 * 1024**2}, W1: {"memory": GIB}}, {}),
    ("memory", FINE, {CP: {"memory": 0}}, {}),
    ("cpus", ERROR, {CP: {"cpus": 1}}, {}),
    ("cpus", WARNING, {CP: {"cpus": 1}}, {"ignore_preflight_errors": ["NumCPU"]}),
    ("cpus", FINE, {W1: {"cpus": 1}}, {}),
    ("disk-space", ERROR, {W1: {"disks": {"/": Disk(mount="/", free=GIB, size=40 * GIB)}}}, {}),
    ("disk-space", WARNING, {W1: {"disks": {"/": Disk(mount="/", free=9 * GIB, size=40 * GIB)}}}, {}),
    ("disk-space", ERROR, {CP: {"disks": {"/var/lib/etcd": Disk(mount="/e", free=GIB, size=2 * GIB)}}}, {}),
    ("disk-space", FINE, {W1: {"disks": {"/var/lib/etcd": Disk(mount="/e", free=GIB, size=2 * GIB)}}}, {}),
    ("disk-space", WARNING, {W1: {"disks": NEARLY_FULL}}, {}),
    ("disk-space", FINE, {W1: {"disks": NEARLY_FULL}}, {"kubelet_configuration": {"evictionHard": {}}}),
    ("disk-space", FINE, {W1: {"disks": {"/": NEARLY_FULL["/var/lib/containerd"]}}}, {}),
    ("clock", FINE, {W1: {"clock": seconds(5.5)}}, {}),
    ("clock", WARNING, {W1: {"clock": seconds(-7)}}, {}),
    ("clock", ERROR, {W1: {"clock": seconds(86400)}}, {}),
    ("clock", WARNING, {node: {"clock": seconds(-3600)} for node in (CP, W1, W2)}, {}),
    ("clock", FINE, {node: {"clock": None} for node in (CP, W1, W2)}, {}),
    ("hostname", WARNING, {W1: {"hostname": "w-2"}}, {}),
    ("hostname", FINE, {W1: {"hostname": "server-17"}}, {}),
    ("hostname", FINE, {W1: {"hostname": ""}, W2: {"hostname": ""}}, {}),
    ("machine-id", ERROR, {W1: {"machine_id": "id-of-w-2"}}, {}),
    ("machine-id", FINE, {W1: {"product_uuid": "uuid-of-w-2"}}, {}),
    ("mac-address", WARNING, {W1: {"macs": machine(W2).macs}}, {}),
    ("mac-address", ERROR, {W1: {"macs": machine(W2).macs, "product_uuid": "uuid-of-w-2"}}, {}),
    ("mac-address", FINE, {W1: {"addresses": {W1.ip: ""}, "macs": machine(W2).macs}}, {}),
    ("node-address", ERROR, {W1: {"addresses": {"10.0.0.9": "eth0"}}}, {}),
    ("node-address", FINE, {W1: {"addresses": {}}}, {}),
    ("interface-mtu", ERROR, {W1: {"addresses": {W1.ip: "lo"}, "mtus": {"lo": 65536}}}, {}),
    ("interface-mtu", ERROR, {W1: {"mtus": {"eth0": 500}}}, {}),
    ("interface-mtu", FINE, {W1: {"mtus": {"eth0": 9216, "lo": 65536}}}, {}),
    ("interface-mtu", FINE, {W1: {"mtus": {"eth0": 65520}}}, {"pod_mtu": 1400}),
    ("interface-mtu", FINE, {W1: {"mtus": {"eth0": 65520}}}, {"cni": "none"}),
    ("default-route", WARNING, {W1: {"gateway_route": False}}, {}),
    ("default-route", FINE, {W1: {"gateway_route": False}}, {"cni": "none"}),
    ("subnets", ERROR, {W1: {"routes": route("10.244.7.0/24")}}, {}),
    ("subnets", ERROR, {W1: {"routes": route("10.96.0.0/12")}}, {}),
    ("subnets", ERROR, {W1: {"routes": route("192.168.1.0/24")}}, {"pod_subnet": "192.168.0.0/16"}),
    ("subnets", WARNING, {W1: {"routes": route("10.0.0.0/8")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("0.0.0.0/1")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.244.0.64/26", "", "80")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.244.0.65/32", "cali0123456789a")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.244.1.64/26", "vxlan.calico")}}, {}),
    ("subnets", FINE, {W1: {"routes": route("10.96.0.1/32", "kube-ipvs0")}}, {}),
    ("name-resolution", ERROR, {W1: {"probes": {"https://quay.io/": Probe(status=6)}}}, {}),
    ("name-resolution", FINE, {W1: {"probes": {"https://quay.io/": Probe(status=0)}}}, {}),
    ("reachability", ERROR, {W1: {"probes": {"https://quay.io/": Probe(status=28)}}}, {}),
    ("reachability", FINE, {W1: {"probes": {"https://quay.io/": Probe(status=0)}}}, {}),
    ("reachability", FINE, {W1: {"probes": {"https://quay.io/": Probe(status=0, answer=401)}}}, {}),
    ("reachability", ERROR, {W1: {"probes": {"https://quay.io/": Probe(status=0, answer=403)}}}, {}),
    ("reachability", ERROR, {W1: {"probes": {"https://quay.io/": Probe(status=0, answer=503)}}}, {}),
    ("reachability", FINE, {W1: {"probes": {MIRROR: Probe(status=0, answer=403)}}}, {"mirror": MIRROR}),
    ("reachability", FINE, {W1: {"probes": {MIRROR: through(0, 404)}}}, {"mirror": MIRROR}),
    # The proxy itself says that it does not reach the mirror.
    ("reachability", ERROR, {W1: {"probes": {MIRROR: through(0, 502)}}}, {"mirror": MIRROR}),
    ("reachability", ERROR, {W1: {"probes": {QUAY: through(35)}}}, {}),
    ("proxy", ERROR, {W1: {"probes": {QUAY: through(7)}}}, {}),
    ("proxy", ERROR, {W1: {"probes": {QUAY: through(5)}}}, {}),
    (
        "proxy",
        ERROR,
        {W1: {"probes": {QUAY: through(28, message="curl: (28) Connection timed out after 10")}}},
        {},
    ),
    ("proxy", ERROR, {W1: {"probes": {MIRROR: through(0, 407)}}}, {"mirror": MIRROR}),
    (
        "proxy",
        ERROR,
        {W1: {"probes": {QUAY: through(56, message="CONNECT tunnel failed, response 407")}}},
        {},
    ),
    ("proxy", ERROR, {W1: {"probes": {QUAY: through(56, message="Received HTTP code 407 from proxy")}}}, {}),
    ("proxy", ERROR, {W1: {"probes": {MIRROR: through(0, 401)}}}, {"mirror": MIRROR}),
    ("proxy", FINE, {W1: {"probes": {QUAY: through(0, 401)}}}, {}),
    ("proxy", WARNING, {W1: {"environment_proxies": ("https_proxy",)}}, {}),
    ("proxy", FINE, {W1: {"environment_proxies": ("https_proxy",)}}, {"https_proxy": PROXY}),
    ("apt-key", ERROR, {W1: {"published_key": "<html>moved</html>"}}, {}),
    ("apt-key", FINE, {W1: {"published_key": ""}}, {}),
    (
        "cni-configuration",
        ERROR,
        {W1: {"cni_configurations": ("00-bridge.conflist", "10-calico.conflist")}},
        {},
    ),
    (
        "cni-configuration",
        WARNING,
        {W1: {"cni_configurations": ("10-calico.conflist", "87-podman.conf")}},
        {},
    ),
    ("cni-configuration", FINE, {W1: {"cni_configurations": ("10-calico.conflist",)}}, {}),
    ("cni-configuration", FINE, {W1: {"cni_configurations": ("00-bridge.conflist",)}}, {"cni": "none"}),
    ("kubelet-arguments", ERROR, {W1: {"kubelet_arguments": "--v=2 --node-ip=127.0.0.9"}}, {}),
    ("kubelet-arguments", WARNING, {W1: {"kubelet_arguments": "--v=2"}}, {}),
    ("kubelet-arguments", ERROR, {W1: {"kubelet_units": ("/etc/systemd/system/kubelet.service",)}}, {}),
    (
        "kubelet-arguments",
        WARNING,
        {W1: {"kubelet_units": ("/etc/systemd/system/kubelet.service.d/x.conf",)}},
        {},
    ),
    ("sysctl-files", ERROR, {W1: {"sysctl_files": {"/etc/sysctl.conf": "net.ipv4.ip_forward"}}}, {}),
    ("blocked-modules", ERROR, {W1: {"blocked_modules": {"overlay": "/etc/modprobe.d/cis.conf"}}}, {}),
    (
        "containerd-unit",
        WARNING,
        {W1: {"containerd_units": ("/etc/systemd/system/containerd.service.d/x.conf",)}},
        {},
    ),
    ("apt-sources", ERROR, {W1: {"apt_sources": {"/etc/apt/sources.list.d/k8s.sources": REPOSITORY}}}, {}),
    ("apt-sources", ERROR, {W1: {"apt_sources": {"/etc/apt/sources.list": REPOSITORY.rstrip("/")}}}, {}),
    ("apt-sources", FINE, {W1: {"apt_sources": {"/etc/apt/sources.list.d/kubernetes.list": REPOSITORY}}}, {}),
    (
        "apt-sources",
        FINE,
        {W1: {"apt_sources": {"/etc/apt/sources.list": REPOSITORY.replace("37", "30")}}},
        {},
    ),
    ("firewall", WARNING, {W1: {"firewalls": ("ufw",)}}, {}),
    ("network-manager", WARNING, {W1: {"network_managers": ("NetworkManager",)}}, {}),
    ("network-manager", FINE, {W1: {"network_managers": ("NetworkManager",)}}, {"cni": "none"}),
    ("containerd-drop-in", ERROR, {W1: {"broken_drop_ins": {"/etc/containerd/conf.d/a.toml": "x"}}}, {}),
    ("ports", ERROR, {CP: {"listeners": ((6443, "nginx"),)}}, {}),
    ("ports", ERROR, {CP: {"listeners": ((2379, ""),)}}, {}),
    ("ports", ERROR, {W1: {"listeners": ((10250, "kubelet"),)}}, {}),
    ("ports", FINE, {W1: {"listeners": ((6443, "nginx"), (2379, "etcd"))}}, {}),
    ("ports", ERROR, {W1: {"listeners": ((6443, "nginx"),)}}, {"endpoint_kind": "local_proxy"}),
    ("other-runtime", ERROR, {W1: {"docker": 1}}, {}),
    ("other-runtime", WARNING, {W1: {"docker": 0}}, {}),
    ("other-runtime", ERROR, {W1: {"processes": frozenset({"k3s-server"})}}, {}),
    ("other-runtime", WARNING, {W1: {"leftovers": ("/var/lib/rancher/k3s",)}}, {}),
    ("other-runtime", ERROR, {W1: {"tasks": {"default": 2}}}, {}),
    ("other-runtime", FINE, {W1: {"tasks": {"k8s.io": 7, "default": 0}}}, {}),
    ("etcd-data", ERROR, {W1: {"etcd_entries": frozenset({"default"})}}, {}),
    ("etcd-data", ERROR, {CP: {"etcd_entries": frozenset({"member"})}}, {}),
    (
        "containerd-version",
        WARNING,
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
    ("containerd-version", WARNING, {}, {"containerd_version": "2.1.9", "kubernetes_version": "1.36.3"}),
]


def test_good_machines_have_no_findings() -> None:
    assert findings({}) == ()
    assert findings({}, kubeadm=CLUSTER) == ()
    assert findings({}, kubeadm={CP: PARTIAL}) == ()
    assert findings({}, kubeadm={**CLUSTER, W1: PARTIAL}) == ()


def test_machines_about_which_nothing_was_read_have_no_findings() -> None:
    unknown = {field.name: getattr(MachineState(), field.name) for field in dataclasses.fields(MachineState)}
    assert findings({CP: unknown, W1: unknown, W2: unknown}) == ()


@pytest.mark.parametrize(("check", "severity", "changes", "options"), CASES)
def test_exactly_the_expected_problem_is_found(
    check: str, severity: Severity | None, changes: dict[Node, dict[str, Any]], options: dict[str, Any]
) -> None:
    found = findings(changes, **options)
    assert {(finding.check, finding.severity) for finding in found} == (
        {(check, severity)} if severity else set()
    )
    assert all(finding.found and finding.fix for finding in found)


@pytest.mark.parametrize(("check", "severity", "changes", "options"), [case for case in CASES if case[1]])
def test_a_skipped_check_has_no_findings(
    check: str, severity: Severity, changes: dict[Node, dict[str, Any]], options: dict[str, Any]
) -> None:
    if CHECKS[check].skippable:
        assert findings(changes, **options, skip_preflight_checks=(check,)) == ()
        assert (
            findings(changes, **options, skip_preflight_checks=("tools" if check != "tools" else "os",)) != ()
        )


@pytest.mark.parametrize(("check", "severity", "changes", "options"), [case for case in CASES if case[1]])
def test_members_get_warnings_instead_of_errors(
    check: str, severity: Severity, changes: dict[Node, dict[str, Any]], options: dict[str, Any]
) -> None:
    found = findings(changes, kubeadm=CLUSTER, **options)
    assert [finding.check for finding in errors_of(found) if CHECKS[finding.check].warning_on_members] == []


def test_a_nodes_own_kubelet_fields_count_with_the_clusters() -> None:
    # The kubelet merges it into its defaults, of which imagefs.available evicts pods.
    memory, disk = ({"evictionHard": {name: "5%"}} for name in ("memory.available", "imagefs.available"))
    own = dataclasses.replace(W1, kubelet_configuration=disk)
    other = dataclasses.replace(W2, kubelet_configuration=memory)
    topology = dataclasses.replace(TOPOLOGY, workers=(own, other))
    machines = {own: {"disks": NEARLY_FULL}, other: {"disks": NEARLY_FULL}}
    found = findings(machines, topology=topology)
    assert [(each.check, each.host) for each in found] == [("disk-space", W2.host)]


def test_a_finding_names_machine_value_and_fix() -> None:
    (finding,) = findings({CP: {"memory": GIB}})
    assert finding.sentence.startswith("@x/cp: has 1024 MB of memory, and a control plane needs 1700; ")
    assert finding.sentence.endswith(finding.fix)


def test_clocks_are_compared_with_the_one_nearest_to_the_operators() -> None:
    (finding,) = findings({CP: {"clock": seconds(-120)}})
    assert (finding.host, finding.severity) == (CP.host, ERROR)
    assert finding.found == "its clock is 119 s behind that of w-1"


def test_an_address_for_which_the_run_waits_is_only_a_warning() -> None:
    late = dataclasses.replace(W1, interface_mac="86:00:00:12:34:56")
    topology = Topology(control_planes=(CP,), workers=(late,))
    (finding,) = findings({late: {"addresses": {"203.0.113.1": "eth0"}}}, topology=topology)
    assert finding.severity is WARNING and "86:00:00:12:34:56" in finding.fix


def test_a_wrong_address_is_reported_with_the_existing_ones() -> None:
    (finding,) = findings({W1: {"addresses": {"127.0.0.1": "lo", "10.0.0.9": "eth0", "10.0.1.9": ""}}})
    assert finding.found == "no interface has the address 10.0.0.3 (existing: eth0 10.0.0.9, 10.0.1.9)"


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
    assert (finding.check, finding.severity, finding.host) == ("machine-id", ERROR, W1.host)
    assert "that of old" in finding.found


@pytest.mark.parametrize("program", ["kubelet", "kube-apiserver", "kube-controller", "etcd", ""])
def test_programs_of_an_interrupted_init_may_listen(program: str) -> None:
    assert findings({CP: {"listeners": ((10250, program),)}}, kubeadm={CP: PARTIAL}) == ()
    (finding,) = findings({CP: {"listeners": ((10250, "nginx"),)}}, kubeadm={CP: PARTIAL})
    assert (finding.check, finding.severity) == ("ports", ERROR)


def test_the_local_proxy_may_listen_before_its_worker_has_joined() -> None:
    prepared = KubeadmNodeState(units=frozenset({local_proxy.UNIT}))
    for kubeadm, is_error in ((prepared, False), (ABSENT, True)):
        found = findings(
            {W1: {"listeners": ((6443, "haproxy"),)}}, kubeadm={W1: kubeadm}, endpoint_kind="local_proxy"
        )
        assert bool(errors_of(found)) is is_error


def test_etcd_data_of_an_interrupted_init_is_accepted() -> None:
    partial = dataclasses.replace(CONTROL_PLANE, rotating=False, api="not ready: etcd")
    assert findings({CP: {"etcd_entries": frozenset({"member"})}}, kubeadm={CP: partial}) == ()
    (finding,) = findings({CP: {"etcd_entries": frozenset({"member", "default"})}}, kubeadm={CP: partial})
    assert (finding.check, finding.severity) == ("etcd-data", ERROR)


def test_etcd_data_without_a_ca_is_reported_once() -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}))
    (finding,) = findings({CP: {"etcd_entries": frozenset({"member"})}}, kubeadm={CP: etcd})
    assert (finding.check, finding.severity) == ("etcd-data", ERROR)


def test_a_node_of_another_cluster_has_a_single_finding() -> None:
    other = dataclasses.replace(CONTROL_PLANE, ca_certificate="other")
    traces = {
        "listeners": ((6443, "kube-apiserver"), (10250, "kubelet")),
        "etcd_entries": frozenset({"member"}),
    }
    (finding,) = findings({W1: traces}, kubeadm={CP: CONTROL_PLANE, W1: other})
    assert finding.severity is ERROR
    assert finding.sentence.startswith("@x/w1: is a node of another cluster")


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


@pytest.mark.parametrize("kubeadm", [{}, {CP: PARTIAL}, {**CLUSTER, W1: PARTIAL}, CLUSTER])
def test_docker_hosts_have_no_findings(kubeadm: dict[Node, KubeadmNodeState]) -> None:
    assert findings({node: DOCKER_HOST for node in TOPOLOGY.nodes}, kubeadm=kubeadm, **TOLERATED) == ()


def test_every_check_has_a_case() -> None:
    seen = {check for check, severity, _, _ in CASES if severity}
    assert CHECKS.keys() - seen == {
        # Checks of several machines or of the cluster, which have their own tests.
        *("another-cluster", "node-role", "node-name", "control-planes", "manifests", "kubernetes-version"),
        # Checks of what the cluster was created with: tests/cluster/test_live_*.py.
        *("cluster-options", "component-versions"),
    }
    with_errors = {check for check, severity, _, _ in CASES if severity is ERROR}
    assert with_errors == {name for name in seen if CHECKS[name].error}
    assert all(check.error or check.warning for check in CHECKS.values())


def test_the_table_groups_findings_by_machine_without_wrapping() -> None:
    found = findings({W1: {"docker": 2, "os": ("debian", "11")}, CP: {"cpus": 1}})
    assert [line.rstrip() for line in table(found)] == [
        "HOST   CHECK          FINDING AND FIX",
        "@x/cp  cpus           error: has 1 CPU, and a control plane needs 2",
        "                        fix: use a bigger machine",
        "@x/w1  other-runtime  error: has 2 containers of Docker",
        "                        fix: use another machine, or remove Docker and its containers",
        "@x/w1  os             warning: runs debian 11, which is untested",
        "                        fix: use Debian 12 or 13, or Ubuntu 22.04, 24.04 or 26.04",
    ]


def test_a_refused_run_lists_every_error() -> None:
    refuse([])
    found = errors_of(findings({CP: {"cpus": 1, "memory": GIB}}))
    with pytest.raises(DeployError, match="2 errors; no changes were made:\n  - @x/cp: has 1024 MB"):
        refuse(found)
    with pytest.raises(DeployError, match=r"^@x/cp: has 1024 MB.*; no changes were made$"):
        refuse(found[:1])


def test_the_table_is_printed_once_for_all_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(preflight, "_reported", set())
    monkeypatch.setattr(logger, "warning", printed.append)
    found = findings({CP: {"cpus": 1}, W1: {"docker": 0}})
    for _ in TOPOLOGY.nodes:
        preflight.report_once(found)
    preflight.report_once(())
    assert printed == ["--> Preflight failed: 1 error, 1 warning"]
