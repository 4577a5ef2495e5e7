"""A live cluster's control planes get the configuration of the options, and lose it again; pods run on meanwhile.

The tests run in order and share their cluster.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.sections.kube_proxy_reconfiguration import UNFINISHED
from kubeadm_deploys.verification.options import AGNHOST_IMAGE
from tests.e2e.api_and_workload import NAMESPACE, asked
from tests.e2e.conftest import Cluster
from tests.e2e.live.conftest import AT_FIRST
from tests.e2e.recovery import Kill, killed_at_each_change
from tests.support.document_options import as_arguments, options_with

RECONFIGURE = "Reconfiguration | Reconfigure the control planes"
RECONFIGURE_KUBELETS = "Kubelet reconfiguration | Reconfigure the kubelets"
RECONFIGURE_NODE_KUBELETS = "Node kubelet configuration | Reconfigure single kubelets"
READINESS = "Readiness | Wait for nodes, network and DNS"
RECONFIGURE_KUBE_PROXY = "Kube-proxy reconfiguration | Reconfigure kube-proxy"
AUDIT = as_arguments(options_with("audit-policy-file"))


def state(cluster: Cluster) -> str:
    """Return the manifests, the files, the stored configuration, and the IDs of the static pods' containers."""
    host = cluster.control_plane
    files = cluster.shell(
        host, "cd /etc/kubernetes && sha256sum manifests/* audit/* 2> /dev/null; ls tmp; true"
    )
    containers = cluster.shell(host, "crictl ps --quiet --name '^(kube|etcd).*' | sort")
    get = ("get", "configmap", "kubeadm-config", "--namespace=kube-system", "--output=jsonpath={.data}")
    return f"{files}\n{containers}\n{cluster.kubectl(*get)}"


def settled(cluster: Cluster) -> None:
    """Wait until what watches the API is ready again: until then, runs wait for it."""
    wait = ("wait", "--for=condition=Available", "deployments", "--all", "--namespace=kube-system")
    cluster.kubectl(*wait, "--timeout=120s")


def audited(cluster: Cluster) -> bool:
    """Return whether the API server writes its audit log."""
    log = "/var/log/kubernetes/audit/audit.log"
    cluster.kubectl("annotate", "namespace", "default", "audited=yes", "--overwrite")
    seen = cluster.shell(
        cluster.control_plane,
        f"tail -n 200 {log} 2> /dev/null | tail -n 1; if [ -e {log} ]; then : > {log}; fi",
    )
    return "audit.k8s.io" in seen


def test_a_new_cluster_has_arguments_and_files_from_the_start(cluster: Cluster) -> None:
    host = cluster.control_plane
    assert "    - --v=3" in cluster.shell(host, "cat /etc/kubernetes/manifests/kube-scheduler.yaml")
    policy = "/etc/kubernetes/audit/policy.yaml"
    assert cluster.shell(host, f"stat -c %a {policy}; cat {policy}") == "640\nat first"
    assert cluster.converge(*AT_FIRST).changed == []


def test_an_audit_log_is_turned_on_while_requests_go_on(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    host = cluster.control_plane
    with asked(cluster, server="https://127.0.0.1:6443", of=host) as seen:
        run = cluster.converge(*AUDIT)
    assert RECONFIGURE in run.changed
    assert audited(cluster)
    # What the options no longer have is taken back.
    assert "--v=3" not in cluster.shell(host, "cat /etc/kubernetes/manifests/kube-scheduler.yaml")
    assert cluster.shell(host, "stat -c %a /etc/kubernetes/audit/policy.yaml") == "600"
    record_property(
        "measured",
        f"audit log turned on, 1 control plane: longest gap between writes {seen.longest_gap:.1f} s, "
        f"{len(seen.written)} written, {seen.failed_writes} refused, {seen.answered} requests to a pod; "
        f"{[line for line in run.output.splitlines() if 'was away' in line]}",
    )
    assert (seen.unanswered, seen.lost) == (0, set())
    assert seen.answered > 50


def test_the_next_run_changes_nothing_and_asks_no_more_often(cluster: Cluster) -> None:
    settled(cluster)
    run, sent = cluster.recorded(*AUDIT)
    assert run.changed == []
    # As without the options: see tests/e2e/small/test_cluster.py.
    assert sent == {cluster.control_plane: 5, cluster.worker: 2}


def test_an_argument_that_does_not_exist_changes_nothing(cluster: Cluster) -> None:
    wrong = options_with("audit-policy-file")
    wrong["cluster_configuration"]["apiServer"]["extraArgs"].append({"name": "no-such-flag", "value": "1"})
    before = state(cluster)
    run = cluster.pyinfra("-y", *as_arguments(wrong))
    assert run.exit_code == 1, run.output
    assert "unknown flag: --no-such-flag" in run.output and "nothing was changed" in run.output
    assert "Traceback" not in run.output
    assert state(cluster) == before


def test_what_does_not_start_is_put_back(cluster: Cluster) -> None:
    wrong = options_with("audit-policy-file")
    (path,) = wrong["control_plane_files"]
    wrong["control_plane_files"][path] = {"content": "kind: NoPolicy\n"}
    files = "cd /etc/kubernetes && sha256sum manifests/* audit/*; ls tmp"
    before = cluster.shell(cluster.control_plane, files)
    run = cluster.pyinfra("-y", *as_arguments(wrong))
    assert run.exit_code == 1, run.output
    assert "it said last" in run.output and "NoPolicy" in run.output, run.output
    assert "the old manifest was put back, and kube-apiserver is healthy again" in run.output
    assert cluster.shell(cluster.control_plane, files) == before
    assert audited(cluster)


def reserved(cluster: Cluster, **fields: object) -> tuple[str, ...]:
    """Return the page's reserved resources, with what the lab's hosts need and other fields."""
    lab = dict(cluster.hosts[0].data.get("kubelet_configuration", {}))
    page = options_with("systemReserved")["kubelet_configuration"]
    return as_arguments({"kubelet_configuration": {**lab, **page, **fields}})


def configz(cluster: Cluster, node: str) -> dict[str, Any]:
    """Return the configuration with which a node's kubelet runs."""
    raw = cluster.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz")
    return dict(json.loads(raw)["kubeletconfig"])


def containers(cluster: Cluster) -> list[str]:
    """Return the IDs of all running containers."""
    return [cluster.shell(host.name, "crictl ps --quiet | sort") for host in cluster.hosts]


NAME = "k8s.example.com"


def await_certificate(cluster: Cluster, *, of: str, has_name: bool) -> None:
    """Wait until the API server of a host has a certificate with ``NAME``, or one without it: it reads it again by itself."""
    ask = f"curl --silent --cacert /etc/kubernetes/pki/ca.crt --resolve {NAME}:6443:127.0.0.1 https://{NAME}:6443/readyz"
    # 60: the certificate was refused. An API server that does not answer is neither.
    wanted = 0 if has_name else 60
    cluster.shell(of, f"timeout 30 sh -c 'until {ask} > /dev/null; [ $? = {wanted} ]; do sleep 0.5; done'")


def test_the_kubelets_and_a_certificate_change_and_no_container_restarts(cluster: Cluster) -> None:
    settled(cluster)
    before = containers(cluster)
    wanted = (*AUDIT, *reserved(cluster), f"--data=certificate_sans={NAME}")
    run = cluster.converge(*wanted)
    assert {RECONFIGURE, RECONFIGURE_KUBELETS} <= set(run.changed)
    for host in cluster.hosts:
        found = configz(cluster, host.name)
        assert (found["systemReserved"], found["evictionHard"]["memory.available"]) == (
            {"cpu": "200m", "memory": "300Mi"},
            "100Mi",
        )
    await_certificate(cluster, of=cluster.control_plane, has_name=True)
    assert containers(cluster) == before
    assert cluster.converge(*wanted).changed == []


def cpu_policy(cluster: Cluster, node: str) -> str:
    """Return the policy in the state of a node's CPU manager."""
    state = json.loads(cluster.shell(node, "cat /var/lib/kubelet/cpu_manager_state"))
    return str(state["policyName"])


def cordoned(cluster: Cluster) -> str:
    """Return which nodes take no pods, and which this package has claimed."""
    columns = "{.spec.unschedulable}{.metadata.annotations.kubeadm-deploys/cordoned-by}"
    return cluster.kubectl("get", "nodes", f"--output=jsonpath={{range .items[*]}}{columns}{{end}}")


@pytest.mark.chaos
def test_a_cpu_manager_policy_changes_on_drained_nodes_if_that_is_allowed(cluster: Cluster) -> None:
    # `make chaos` skips the earlier tests.
    cluster.converge(*AUDIT, *reserved(cluster))
    with asked(cluster, server="https://127.0.0.1:6443", of=cluster.control_plane):
        settled(cluster)
    wanted = (*AUDIT, *reserved(cluster, cpuManagerPolicy="static"))
    left = cluster.converge(*wanted)
    assert left.changed == [] and "cpuManagerPolicy" in left.output and "allow_drain=true" in left.output
    cluster.kubectl("create", "deployment", "drained", f"--image={AGNHOST_IMAGE}")
    # The requested pod is nobody's, so that the worker, the second node, cannot be drained.
    refused = cluster.pyinfra("-y", *wanted, "--data=allow_drain=true")
    assert refused.exit_code == 1, refused.output
    assert f"{cluster.worker}: was not drained" in refused.output and NAMESPACE in refused.output
    assert cordoned(cluster) == ""
    cluster.kubectl("delete", "namespace", NAMESPACE)
    run = cluster.converge(*wanted, "--data=allow_drain=true")
    # After the last drain the pods of cluster DNS share a node, until they are spread again.
    assert set(run.changed) == {RECONFIGURE_KUBELETS, READINESS}
    assert [cpu_policy(cluster, host.name) for host in cluster.hosts] == ["static", "static"]
    assert cordoned(cluster) == ""
    assert cluster.converge(*wanted).changed == []
    # Taken back; the pod comes again each time.
    run = cluster.converge(*AUDIT, *reserved(cluster), "--data=allow_drain=true")
    assert set(run.changed) == {RECONFIGURE_KUBELETS, READINESS}
    assert [cpu_policy(cluster, host.name) for host in cluster.hosts] == ["none", "none"]
    assert cordoned(cluster) == ""
    cluster.kubectl("wait", "--for=condition=Available", "deployment/drained", "--timeout=120s")
    cluster.kubectl("delete", "deployment", "drained")


def test_a_kubelet_that_does_not_come_up_gets_its_configuration_back(cluster: Cluster) -> None:
    files = [cluster.shell(host.name, "sha256sum /var/lib/kubelet/config.yaml") for host in cluster.hosts]
    run = cluster.pyinfra("-y", *AUDIT, *reserved(cluster, maxPods=-5))
    assert run.exit_code == 1, run.output
    assert "the kubelet did not come up; it said last" in run.output and "maxPods" in run.output
    assert "the old configuration was put back, and the kubelet runs again" in run.output
    assert files == [
        cluster.shell(host.name, "sha256sum /var/lib/kubelet/config.yaml") for host in cluster.hosts
    ]


def own(folder: Path, **fields: object) -> str:
    """Return the argument that gives the group of workers own fields of their kubelets."""
    folder.mkdir(exist_ok=True)
    (folder / "workers.py").write_text(f"node_kubelet_configuration = {fields!r}\n")
    return f"--group-data={folder}"


def own_files(cluster: Cluster) -> str:
    """Return the sums of the files of a worker that have or name its own fields; they may lack."""
    folders = "/etc/kubernetes/kubeadm-deploys-kubelet.conf.d /etc/systemd/system/kubelet.service.d"
    return cluster.shell(cluster.worker, f"find {folders} -type f 2> /dev/null | sort | xargs -r sha256sum")


@pytest.mark.chaos
def test_a_group_gets_kubelet_fields_of_its_own_and_loses_them(cluster: Cluster, tmp_path: Path) -> None:
    settled(cluster)
    options = (*AUDIT, *reserved(cluster))
    # Takes back what the tests before have left.
    cluster.converge(*options)
    before, others = containers(cluster), configz(cluster, cluster.control_plane)
    none = own_files(cluster)
    wanted = own(tmp_path / "data", maxPods=77)
    assert cluster.converge(*options, wanted).changed == [RECONFIGURE_NODE_KUBELETS]
    found = configz(cluster, cluster.worker)
    assert (found["maxPods"], found["systemReserved"]) == (77, {"cpu": "200m", "memory": "300Mi"})
    assert configz(cluster, cluster.control_plane) == others
    assert containers(cluster) == before
    settled(cluster)
    again, sent = cluster.recorded(*options, wanted)
    # It asks no more often than without own fields.
    assert (again.changed, sent) == ([], {cluster.control_plane: 5, cluster.worker: 2})

    files = own_files(cluster)
    run = cluster.pyinfra("-y", *options, own(tmp_path / "wrong", maxPods=-5))
    assert run.exit_code == 1 and "node_kubelet_configuration" in run.output, run.output
    assert "the old configuration was put back, and the kubelet runs again" in run.output
    assert own_files(cluster) == files
    assert configz(cluster, cluster.worker)["maxPods"] == 77

    assert cluster.converge(*options).changed == [RECONFIGURE_NODE_KUBELETS]
    assert own_files(cluster) == none
    assert configz(cluster, cluster.worker)["maxPods"] == others["maxPods"]
    assert containers(cluster) == before
    assert cluster.converge(*options).changed == []


def proxied(cluster: Cluster, **fields: object) -> tuple[str, ...]:
    """Return fields for kube-proxy, with what the lab's hosts need."""
    lab = dict(cluster.hosts[0].data.get("kube_proxy_configuration", {}))
    return as_arguments({"kube_proxy_configuration": {**lab, **fields}})


def kube_proxies(cluster: Cluster) -> list[str]:
    """Return the UIDs of kube-proxy's pods."""
    get = ("get", "pods", "--namespace=kube-system", "--selector=k8s-app=kube-proxy")
    return sorted(cluster.kubectl(*get, "--output=jsonpath={.items[*].metadata.uid}").split())


METRICS = "127.0.0.1:11249"


def assert_kube_proxies_serve_metrics(cluster: Cluster) -> None:
    """Assert that kube-proxy listens at ``METRICS`` on each host."""
    for host in cluster.hosts:
        assert cluster.shell(host.name, f"curl --silent --fail http://{METRICS}/healthz") == "ok"


def test_kube_proxy_changes_while_requests_go_on(cluster: Cluster) -> None:
    # Takes back what the tests before have left.
    cluster.converge(*AUDIT, *reserved(cluster))
    before = kube_proxies(cluster)
    wanted = (*AUDIT, *reserved(cluster), *proxied(cluster, metricsBindAddress=METRICS))
    with asked(cluster, server="https://127.0.0.1:6443", of=cluster.control_plane) as seen:
        run = cluster.converge(*wanted)
    assert RECONFIGURE_KUBE_PROXY in run.changed
    assert (seen.unanswered, seen.failed_writes, seen.lost) == (0, 0, set())
    assert_kube_proxies_serve_metrics(cluster)
    assert not set(before) & set(kube_proxies(cluster))
    assert cluster.converge(*wanted).changed == []


@pytest.mark.chaos
def test_a_kube_proxy_that_does_not_run_gets_its_configuration_back(cluster: Cluster) -> None:
    get = ("get", "configmap", "kube-proxy", "--namespace=kube-system", "--output=jsonpath={.data}")
    stored, before = cluster.kubectl(*get), kube_proxies(cluster)
    wanted = proxied(cluster, metricsBindAddress=METRICS, mode="no-such-mode")
    run = cluster.pyinfra("-y", *AUDIT, *reserved(cluster), *wanted)
    assert run.exit_code == 1, run.output
    assert "said last" in run.output and "no-such-mode" in run.output, run.output
    assert "the old configuration was put back, and kube-proxy runs on every node again" in run.output, (
        run.output
    )
    assert cluster.kubectl(*get) == stored
    # Only the first pod was replaced.
    assert len(set(before) & set(kube_proxies(cluster))) == len(before) - 1


def test_it_is_taken_back(cluster: Cluster) -> None:
    run = cluster.converge()
    assert {RECONFIGURE, RECONFIGURE_KUBELETS, RECONFIGURE_KUBE_PROXY} <= set(run.changed)
    # The first question empties the log.
    audited(cluster)
    assert not audited(cluster)
    manifest = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/manifests/kube-apiserver.yaml")
    assert "audit" not in manifest
    stored = cluster.kubectl("get", "configmap", "kubeadm-config", "--namespace=kube-system", "--output=json")
    assert "audit" not in json.loads(stored)["data"]["ClusterConfiguration"]
    for host in cluster.hosts:
        assert "systemReserved" not in configz(cluster, host.name)
    assert cluster.converge().changed == []
    no_longer_asked(cluster)


def no_longer_asked(cluster: Cluster) -> None:
    """Delete the requested pod: it has no controller, so that the next module could not drain the worker."""
    cluster.kubectl("delete", "namespace", NAMESPACE)


# About 15 runs are killed, which takes some minutes.
@pytest.mark.chaos
def test_a_change_of_everything_whose_runs_are_killed_after_each_change_is_ended_by_the_next_ones(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    wanted = (*AUDIT, *reserved(cluster), *proxied(cluster, metricsBindAddress=METRICS))
    wanted = (*wanted, f"--data=certificate_sans={NAME}")
    with asked(cluster, server="https://127.0.0.1:6443", of=cluster.control_plane) as seen:
        kills = killed_at_each_change(cluster, *wanted)
    record_property(
        "measured",
        f"everything changed, 1 + 1, killed {len(kills)} times: longest gap between writes {seen.longest_gap:.1f} s, "
        f"{len(seen.written)} written, {seen.failed_writes} refused, {seen.answered} requests to a pod",
    )
    assert_killed_everywhere(cluster, kills)
    assert (seen.unanswered, seen.lost) == (0, set())
    assert audited(cluster)
    await_certificate(cluster, of=cluster.control_plane, has_name=True)
    for host in cluster.hosts:
        assert configz(cluster, host.name)["systemReserved"] == {"cpu": "200m", "memory": "300Mi"}
    assert_kube_proxies_serve_metrics(cluster)
    assert_nothing_is_left_over(cluster)
    assert cluster.converge(*wanted).changed == []
    # The next module begins with what it has without this test.
    cluster.converge()
    no_longer_asked(cluster)


def assert_killed_everywhere(cluster: Cluster, kills: list[Kill]) -> None:
    """Assert that a run was killed at each kind of change, and while a static pod and a kubelet had none."""
    host, worker = cluster.control_plane, cluster.worker
    commands = {(kill.host, kill.command) for kill in kills}
    upload = "kubeadm init phase upload-config"
    on_leader = (
        *(
            "write record",
            "renew-api-certificate",
            "swap-static-pod",
            f"{upload} kubeadm",
            f"{upload} kubelet",
        ),
        *("swap-kubelet-configuration", "roll-kube-proxy"),
    )
    assert {(host, command) for command in on_leader} <= commands
    assert (worker, "swap-kubelet-configuration") in commands
    assert Kill(host, "swap-static-pod", ended=False) in kills
    assert Kill(host, "roll-kube-proxy", ended=False) in kills


def assert_nothing_is_left_over(cluster: Cluster) -> None:
    """Assert that no node is cordoned, and that neither the record nor kube-proxy's ConfigMap has an unfinished change."""
    assert cordoned(cluster) == ""
    get = ("get", "configmap", "--namespace=kube-system", "--output=json")
    record = json.loads(cluster.kubectl(*get, "kubeadm-deploys"))
    recorded = ClusterRecord(data=record["data"]).configuration
    assert recorded is not None
    assert (recorded.pending, recorded.kubelet_pending, recorded.kube_proxy_pending) == ((), (), ())
    assert UNFINISHED not in cluster.kubectl(*get, "kube-proxy")
