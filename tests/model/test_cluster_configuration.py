"""The option ``cluster_configuration``: what a user may set, and how it is merged."""

from typing import Any

import pytest

from kubeadm_deploys.model.cluster_configuration import with_extras, with_ours
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions

POLICY = "/etc/kubernetes/audit/policy.yaml"
FOLDER = {"name": "audit", "hostPath": "/etc/kubernetes/audit", "mountPath": "/etc/kubernetes/audit"}


def arguments(component: str = "apiServer", **values: object) -> dict[str, Any]:
    entries = [{"name": name.replace("_", "-"), "value": value} for name, value in values.items()]
    return {component: {"extraArgs": entries}}


def volume(**changes: object) -> dict[str, Any]:
    return {"apiServer": {"extraVolumes": [{**FOLDER, **changes}]}}


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ({"kubernetesVersion": "v1.37.2"}, ["kubernetesVersion", "set kubernetes_version instead"]),
        ({"networking": {}}, ["networking", "set pod_subnet"]),
        ({"controlPlaneEndpoint": "x"}, ["set control_plane_endpoint"]),
        ({"clusterName": "x"}, ["set cluster_name"]),
        ({"apiServer": {"certSANs": ["x"]}}, ["apiServer.certSANs", "set certificate_sans"]),
        ({"etcd": {"external": {}}}, ["etcd.external", "leave it out"]),
        ({"etcd": {"local": {"dataDir": "/x"}}}, ["etcd.local.dataDir"]),
        ({"etcd": {"local": {"extraVolumes": []}}}, ["etcd.local.extraVolumes", "did you mean"]),
        ({"apiserver": {}}, ["'apiserver'", "did you mean apiServer"]),
        ({"apiServer": []}, ["apiServer []", "not a mapping"]),
        ({"apiServer": {"extraArgs": {"v": "3"}}}, ["apiServer.extraArgs", "not a list"]),
        ({"apiServer": {"extraArgs": [{"value": "3"}]}}, ["no name"]),
        (
            {"apiServer": {"extraEnvs": [{"name": "A", "value": 1}]}},
            ["A in apiServer.extraEnvs", "in quotes"],
        ),
        (arguments(v=3), ["v in apiServer.extraArgs", "text as its value"]),
        ({"apiServer": {"extraArgs": [{"name": "--v", "value": "3"}]}}, ["'--v'", "without dashes"]),
        (arguments(service_cluster_ip_range="10.0.0.0/24"), ["service-cluster-ip-range", "leave it out"]),
        (arguments("controllerManager", cluster_cidr="10.0.0.0/8"), ["cluster-cidr"]),
        ({"etcd": arguments("local", data_dir="/x")}, ["data-dir in etcd.local.extraArgs"]),
        (arguments(anonymous_auth="false"), ["anonymous-auth", "no node can join"]),
        (arguments(authorization_mode="RBAC"), ["authorization-mode", "without Node"]),
        (arguments(enable_admission_plugins="PodSecurity"), ["without NodeRestriction"]),
        (volume(hostPath="etc"), ["audit", "hostPath is not an absolute path"]),
        (volume(pathType="Folder"), ["pathType is unknown", "DirectoryOrCreate"]),
        (volume(readOnly="yes"), ["readOnly is not a boolean"]),
        (volume(path="/x"), ["'path' in audit", "choose hostPath"]),
        ({"apiServer": {"extraVolumes": [FOLDER, FOLDER]}}, ["audit twice"]),
        ({"certificateValidityPeriod": "1y"}, ["certificateValidityPeriod '1y'", "8760h"]),
        ({"featureGates": {"X": "yes"}}, ["featureGates.X", "not a boolean"]),
        ({"dns": {"disabled": True}}, ["dns.disabled", "needs CoreDNS"]),
        ({"proxy": {"disabled": True}}, ["proxy.disabled", "needs CoreDNS and kube-proxy"]),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_sentence(configuration: object, words: list[str]) -> None:
    with pytest.raises(InputError) as refused:
        ClusterOptions(cluster_configuration=configuration)
    (problem,) = refused.value.problems
    assert problem.startswith("cluster_configuration: ")
    assert all(word in problem for word in words), problem


def test_all_other_fields_are_accepted() -> None:
    configuration = {
        "apiServer": {
            "extraArgs": [
                {"name": "service-account-issuer", "value": value} for value in ("https://a", "https://b")
            ],
            "extraVolumes": [{**FOLDER, "readOnly": True, "pathType": "DirectoryOrCreate"}],
            "extraEnvs": [{"name": "GOGC", "value": "50"}],
        },
        "etcd": arguments("local", quota_backend_bytes="8589934592"),
        "certificateValidityPeriod": "8760h0m0s",
        "dns": {"imageTag": "v1.12.0"},
        **arguments("scheduler", v="3"),
    }
    assert ClusterOptions(cluster_configuration=configuration).cluster_configuration == configuration


def test_lists_are_merged_by_name_in_their_place() -> None:
    before = {"apiServer": {"certSANs": ["a"], **arguments(a="1", b="2", c="3")["apiServer"]}}
    merged = with_extras(before, arguments(b="20", d="4"))
    entries = [(each["name"], each["value"]) for each in merged["apiServer"]["extraArgs"]]
    assert entries == [("a", "1"), ("b", "20"), ("c", "3"), ("d", "4")]
    assert merged["apiServer"]["certSANs"] == ["a"]
    several = {"apiServer": {"extraArgs": [{"name": "b", "value": value} for value in ("x", "y")]}}
    merged = with_extras(before, several)
    entries = [(each["name"], each["value"]) for each in merged["apiServer"]["extraArgs"]]
    assert entries == [("a", "1"), ("b", "x"), ("b", "y"), ("c", "3")]


def test_a_clusters_own_value_of_our_argument_stays() -> None:
    name, ours = "shutdown-watch-termination-grace-period", {"value": "5s"}
    found = {"clusterName": "demo", **arguments(v="3")}
    (_, added) = with_ours(found)["apiServer"]["extraArgs"]
    assert added == {"name": name, **ours}
    assert with_ours({"clusterName": "demo"})["apiServer"]["extraArgs"] == [{"name": name, **ours}]
    # kubeadm stores empty fields.
    own = {**arguments(shutdown_watch_termination_grace_period="20s"), "dns": {}, "scheduler": {}}
    assert with_ours(own) == own


def test_a_file_that_its_pod_does_not_see_is_refused() -> None:
    files = {POLICY: {"content": "rules: []"}}
    configuration = arguments(audit_policy_file=POLICY)
    with pytest.raises(InputError, match="which no extraVolumes of apiServer mounts"):
        ClusterOptions(cluster_configuration=configuration, control_plane_files=files)
    configuration["apiServer"]["extraVolumes"] = [FOLDER]
    ClusterOptions(cluster_configuration=configuration, control_plane_files=files)
