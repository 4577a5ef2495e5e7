"""Labels, taints and roles in the inventory's data: what a node can have, and what is refused with a reason."""

import dataclasses

import pytest

from kubeadm_deploys.inventory.data import options_from_data
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions

NODE = Node(host="host-1", name="node-1", ip="10.0.0.1", address="203.0.113.1")
OTHER = Node(host="host-2", name="node-2", ip="10.0.0.2", address="203.0.113.2")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("labels", ["disk=ssd"], ["node_labels: ['disk=ssd'] of host host-2 is not a mapping"]),
        ("labels", {"a b": "c"}, ["node_labels: {'a b': 'c'} of host host-2 has 'a b'", "example.com/disk"]),
        ("labels", {"Example.com/disk": "c"}, ["has 'Example.com/disk', which is not a label"]),
        ("labels", {"/disk": "c"}, ["has '/disk', which is not a label"]),
        (
            "labels",
            {10**5000: "c"},
            ["<dict too big to show>", "<int too big to show>, which is not a label"],
        ),
        ("labels", {"a" * 64: "c"}, ["which is not a label", "at most 63"]),
        ("labels", {"slots": 4}, ["has 4 for 'slots'; write text"]),
        ("labels", {"disk": "-ssd"}, ["has '-ssd' for 'disk'"]),
        ("labels", {"disk": "a" * 64}, ["for 'disk'; write text of at most 63"]),
        ("labels", {"kubernetes.io/hostname": "x"}, ["which the kubelet sets; leave it out"]),
        ("labels", {"node-role.kubernetes.io/gpu": ""}, ["which is a role; name it in node_roles"]),
        ("taints", "spot:NoExecute", ["node_taints: 'spot:NoExecute' of host host-2 is not a list"]),
        ("taints", ("spot",), ["has 'spot', which is not a taint", "dedicated=gpu:NoSchedule"]),
        ("taints", ("spot:Never",), ["has 'spot:Never', which is not a taint", "PreferNoSchedule"]),
        ("taints", ("a=b=c:NoExecute",), ["has 'a=b=c:NoExecute', which is not a taint"]),
        ("taints", (":NoExecute",), ["has ':NoExecute', which is not a taint"]),
        ("taints", ([1],), ["has [1], which is not a taint"]),
        ("taints", ("a" * 999,), [f"has '{'a' * 199}..., which is not a taint"]),
        ("taints", (1,), ["has 1, which is not a taint"]),
        ("taints", ("a=b:NoExecute", "a:NoExecute"), ["has a:NoExecute twice; give it one value"]),
        (
            "taints",
            ("node.kubernetes.io/not-ready:NoExecute",),
            ["which Kubernetes sets; leave it out"],
        ),
        ("roles", "gpu", ["node_roles: 'gpu' of host host-2 is not a list"]),
        ("roles", ("a/b",), ["has 'a/b', which is not a role"]),
        ("roles", ("control-plane",), ["has 'control-plane', which kubeadm sets", "group control_plane"]),
    ],
)
def test_marks_that_a_node_cannot_have_are_refused(field: str, value: object, words: list[str]) -> None:
    odd = dataclasses.replace(OTHER, **{field: value})  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError) as error:
        Topology(control_planes=(NODE,), workers=(odd,)).check(ClusterOptions())
    (problem,) = error.value.problems
    assert [word for word in words if word not in problem] == []


def test_marks_that_kubernetes_allows_are_accepted() -> None:
    node = dataclasses.replace(
        OTHER,
        labels={
            "a": "",
            "A.b_c-9": "X.y_z-0",
            "node-restriction.kubernetes.io/tier": "1",
            "a" * 63: "b" * 63,
        },
        taints=("a:NoSchedule", "a:NoExecute", "x.example.com/b=c:PreferNoSchedule"),
        roles=("gpu", "Ingress_1"),
    )
    Topology(control_planes=(NODE,), workers=(node,)).check(ClusterOptions())


def test_labels_of_other_components_are_refused_only_if_the_component_is_used() -> None:
    zone = {"topology.kubernetes.io/zone": "rack-1"}
    excluded = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    topology = Topology(
        control_planes=(dataclasses.replace(NODE, labels=zone),),
        workers=(dataclasses.replace(OTHER, labels=excluded),),
    )
    topology.check(ClusterOptions())
    with pytest.raises(InputError, match="which the cloud's controller sets"):
        topology.check(ClusterOptions(cloud_provider="hetzner"))
    with pytest.raises(InputError, match="which kubeadm sets"):
        Topology(control_planes=(dataclasses.replace(NODE, labels=excluded),), workers=()).check(
            ClusterOptions()
        )


def test_the_data_keys_are_known() -> None:
    options_from_data({"node_labels": {"disk": "ssd"}, "node_taints": [], "node_roles": ["gpu"]})
    with pytest.raises(InputError, match="node_label: is not an option; did you mean node_labels"):
        options_from_data({"node_label": {"disk": "ssd"}})
