"""Readiness: what kubectl reports, where DNS pods go, and the operator's kubeconfig."""

from dataclasses import replace

import pytest
import yaml

from kubeadm_deploys.facts.cluster_health import ClusterHealth, ClusterHealthState, crowded_dns_pods
from kubeadm_deploys.sections.readiness import operator_kubeconfig, server_url


def health(nodes: dict[str, bool], dns_pods: dict[str, str]) -> ClusterHealthState:
    return ClusterHealthState(nodes=nodes, dns_pods=dns_pods)


@pytest.mark.parametrize(
    ("nodes", "dns_pods", "crowded"),
    [
        ({"a": True}, {"dns-1": "a", "dns-2": "a"}, 0),
        ({"a": True, "b": True}, {"dns-1": "a", "dns-2": "a"}, 1),
        ({"a": True, "b": False}, {"dns-1": "a", "dns-2": "a"}, 0),
        ({"a": True, "b": True}, {"dns-1": "a", "dns-2": "b"}, 0),
        ({"a": True, "b": True, "c": True}, {"dns-1": "a", "dns-2": "a", "dns-3": "a"}, 2),
        ({"a": True, "b": True}, {"dns-1": "a", "dns-2": "a", "dns-3": "a"}, 1),
        ({"a": True, "b": True, "c": True}, {"dns-1": "a"}, 0),
        ({}, {}, 0),
    ],
)
def test_dns_pods_are_moved_only_where_a_ready_node_has_none(
    nodes: dict[str, bool], dns_pods: dict[str, str], crowded: int
) -> None:
    assert len(crowded_dns_pods(health(nodes, dns_pods))) == crowded


def test_no_dns_pod_is_moved_for_a_cordoned_node_which_would_not_get_it() -> None:
    crowded = health({"a": True, "b": True}, {"dns-1": "a", "dns-2": "a"})
    assert crowded_dns_pods(crowded) and not crowded_dns_pods(replace(crowded, cordoned=["b"]))


def test_health_reads_what_kubectl_prints() -> None:
    state = ClusterHealth().process(
        [
            "Node|cp-1|True||||||||",
            "Node|worker-1|False|node.cloudprovider.kubernetes.io/uninitialized|||true||||",
            "Pod|coredns-1|True||kube-dns||cp-1|||||",
            "Pod|coredns-2|||kube-dns|||||||",
            "Pod|coredns-3|True||kube-dns|2026-11-24T00:00:00Z|worker-1|||||",
            "Pod|calico-node-1|True||calico-node||cp-1|||||",
            "Deployment|coredns|||kube-dns|||1|1|2|2|1",
            "Deployment|calico-kube-controllers|||calico-kube-controllers|||2|1|1|1|1",
            "DaemonSet|kube-proxy|||kube-proxy|||1|1|2|2|2",
            "DaemonSet|calico-node|||calico-node|||1|1|1||",
        ]
    )
    assert state.nodes == {"cp-1": True, "worker-1": False}
    assert (state.uninitialized, state.cordoned) == (["worker-1"], ["worker-1"])
    assert state.dns_pods == {"coredns-1": "cp-1"}
    assert state.workloads == {
        "deployment/coredns": False,
        "deployment/calico-kube-controllers": False,
        "daemonset/kube-proxy": True,
        "daemonset/calico-node": False,
    }


def test_the_operators_kubeconfig_is_reachable_and_can_be_merged() -> None:
    admin_conf = yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "kubernetes",
                    "cluster": {
                        "server": "https://api.shop.internal:6443",
                        "certificate-authority-data": "Q0E=",
                    },
                }
            ],
            "users": [{"name": "kubernetes-admin", "user": {"client-key-data": "S0VZ"}}],
            "contexts": [{"name": "x", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
            "current-context": "x",
        }
    )
    document = yaml.safe_load(
        operator_kubeconfig(
            admin_conf,
            cluster_name="shop",
            server="https://203.0.113.10:6443",
            tls_server_name="api.shop.internal",
        )
    )
    assert document["current-context"] == "shop"
    assert document["contexts"] == [{"name": "shop", "context": {"cluster": "shop", "user": "shop-admin"}}]
    assert document["users"] == [{"name": "shop-admin", "user": {"client-key-data": "S0VZ"}}]
    assert document["clusters"][0]["cluster"] == {
        "server": "https://203.0.113.10:6443",
        "certificate-authority-data": "Q0E=",
        "tls-server-name": "api.shop.internal",
    }


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("203.0.113.10", "https://203.0.113.10:6443"),
        ("k8s.example.com", "https://k8s.example.com:6443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
    ],
)
def test_the_operator_reaches_the_api_by_name_and_by_addresses_of_both_families(
    address: str, url: str
) -> None:
    assert server_url(address, port=6443) == url
