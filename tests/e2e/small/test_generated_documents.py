"""A real cluster's kubeadm, containerd and API server accept documents made from generated valid options.

Each test runs one command on the control plane for all its documents.
"""

import base64
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from kubeadm_deploys.cni.calico import addresses as load_balancers
from kubeadm_deploys.cni.calico import network as cni
from kubeadm_deploys.documents.kubeadm_documents import init_document, join_document
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.model import artifacts, labels_and_taints
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.container_runtime import CONFIG_FILE, configuration_files
from tests.e2e.conftest import Cluster
from tests.lab.docker import docker
from tests.support.generated_clusters import KUBE_PROXY_FIELDS, KUBELET_FIELDS, clusters
from tests.support.hypothesis_profile import some

TOKEN = "abcdef.0123456789abcdef"
APPLY = f"{KUBECTL} apply --dry-run=server --output=name"

Generated = list[tuple[ClusterOptions, Topology]]


@pytest.fixture(scope="module")
def generated() -> Generated:
    """Generate the same clusters in every run, of the release whose kubeadm is on the hosts."""
    examples: Generated = []

    @hypothesis_settings(some, max_examples=15)
    @given(
        clusters(
            kubernetes_version=st.just(artifacts.KUBERNETES_VERSION),
            kubelet_configuration=KUBELET_FIELDS,
            kube_proxy_configuration=KUBE_PROXY_FIELDS,
            # Without these, whether any example has Calico, or a range for load balancers, is left to chance.
            cni=st.just("calico"),
            encapsulation=st.just("VXLAN"),
            service_load_balancer_cidr=st.just("10.9.0.0/16"),
            cloud_provider=st.just("none"),
        )
    )
    def collect(cluster: tuple[ClusterOptions, Topology]) -> None:
        examples.append(cluster)

    collect()
    assert len(examples) >= 15
    return examples


def ask(cluster: Cluster, files: Mapping[str, str], script: str) -> str:
    """Run a script on the control plane in a temporary folder with these files, and return its output."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, text in files.items():
            content = text.encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    command = f'set -e; cd "$(mktemp -d)"; trap \'rm -rf "$PWD"\' EXIT; tar -x; {script}'
    return docker(
        *("exec", "--interactive", cluster.control_plane, "sh", "-c", command),
        input=packed.getvalue(),
    )


def answers(cluster: Cluster, files: Mapping[str, str], command: str) -> dict[str, tuple[int, str]]:
    """Run a command for each file, or folder of files, as ``$file``; return its exit codes and outputs."""
    script = (
        f"for file in *; do status=0; output=$({command} 2>&1) || status=$?; "
        'echo "$file $status $(printf %s "$output" | base64 --wrap=0)"; done'
    )
    results = {}
    for line in ask(cluster, files, script).splitlines():
        file, status, encoded = line.split(" ")
        results[file] = (int(status), base64.b64decode(encoded).decode())
    assert results.keys() == {path.partition("/")[0] for path in files}
    return results


def test_kubeadm_accepts_the_documents(cluster: Cluster, generated: Generated) -> None:
    ca = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/pki/ca.crt")
    files: dict[str, str] = {}
    for number, (options, topology) in enumerate(generated):
        node = topology.control_planes[0]
        files[f"{number}-init"] = init_document(options=options, topology=topology, node=node, token=TOKEN)
        for place, node in enumerate(topology.nodes):
            files[f"{number}-join-{place}"] = join_document(
                options=options,
                node=node,
                control_plane=node in topology.control_planes,
                token=TOKEN,
                ca_certificate=ca,
            )
    command = 'kubeadm config validate --config=/dev/stdin < "$file"'
    refused = {
        file: (output, files[file])
        for file, (status, output) in answers(cluster, files, command).items()
        if status != 0 or "unknown field" in output
    }
    assert refused == {}


def test_containerd_accepts_the_configuration(cluster: Cluster, generated: Generated) -> None:
    files = {
        f"{number}.toml": configuration_files(options)[CONFIG_FILE]
        for number, (options, _) in enumerate(generated)
    }
    dumps = answers(cluster, files, 'containerd --config="$file" config dump')
    assert {file: output for file, (status, output) in dumps.items() if status != 0} == {}
    assert [file for file, (_, output) in dumps.items() if "SystemdCgroup = true" not in output] == []


def test_the_api_server_accepts_the_nodes(cluster: Cluster, generated: Generated) -> None:
    nodes = {
        node.name: (node, node in topology.control_planes)
        for _, topology in generated
        for node in topology.nodes
    }
    # As the kubelet registers itself, plus everything that sections/node_labels.py adds.
    objects = []
    for name, (node, control_plane) in nodes.items():
        marks = labels_and_taints.wanted_marks(node, control_plane=control_plane)
        labels = {mark: value for mark, value in marks.items() if not labels_and_taints.is_taint(mark)}
        spec: dict[str, Any] = {"taints": labels_and_taints.taint_objects(node.taints or ())}
        if node.provider_id:
            spec["providerID"] = node.provider_id
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
                "spec": spec,
            }
        )
    assert len(applied(cluster, objects)) == len(objects)


def test_the_api_server_accepts_the_pools_of_load_balancer_addresses(
    cluster: Cluster, generated: Generated
) -> None:
    ranges = {
        options.service_load_balancer_cidr for options, _ in generated if options.service_load_balancer_cidr
    }
    assert ranges
    pools = [
        {
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "IPPool",
            "metadata": {"name": f"generated-{number}"},
            "spec": load_balancers.pool_spec(service_load_balancer_cidr),
        }
        for number, service_load_balancer_cidr in enumerate(sorted(ranges))
    ]
    assert len(applied(cluster, pools)) == len(pools)


def applied(cluster: Cluster, objects: list[dict[str, Any]]) -> list[str]:
    """Apply objects in the API server's dry run, which fails unless it accepts all; return their names."""
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    return ask(cluster, {"list.json": json.dumps(listed)}, f"{APPLY} --filename=list.json").split()


def test_the_api_server_accepts_calicos_kustomizations(cluster: Cluster, generated: Generated) -> None:
    # Few of them: each dry run reads and checks some forty objects.
    files = {
        f"{number}/kustomization.yaml": cni.kustomization(options=options, mtu=options.pod_mtu or 1450)
        for number, (options, _) in enumerate(generated[:4])
    }
    manifest = f"{cni.FOLDER}/{artifacts.calico_manifest('VXLAN')}"
    server_side = "--server-side --force-conflicts --field-manager=kubeadm-deploys"
    command = f'cp {manifest} "$file" && {APPLY} {server_side} --kustomize="$file"'
    refused = {
        file: output for file, (status, output) in answers(cluster, files, command).items() if status != 0
    }
    assert refused == {}
