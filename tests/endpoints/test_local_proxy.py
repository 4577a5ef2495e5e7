"""The proxy of a worker: its configuration and its fact."""

from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.endpoints.local_proxy import LocalProxy, LocalProxyState
from kubeadm_deploys.model.nodes import Node, Topology

CONTROL_PLANES = tuple(
    Node(host=f"cp-{number}", name=f"cp-{number}", ip=f"10.0.0.{number}", address=f"203.0.113.{number}")
    for number in (1, 2, 3)
)
TOPOLOGY = Topology(control_planes=CONTROL_PLANES, workers=())


def test_its_servers_are_all_control_planes_by_node_address() -> None:
    lines = [line.strip() for line in local_proxy.configuration(TOPOLOGY).splitlines()]
    assert [line for line in lines if line.startswith("server ")] == [
        "server cp-1 10.0.0.1:6443",
        "server cp-2 10.0.0.2:6443",
        "server cp-3 10.0.0.3:6443",
    ]
    assert "bind 127.0.0.1:6443" in lines


def test_the_inventorys_order_does_not_change_the_file() -> None:
    reordered = Topology(control_planes=CONTROL_PLANES[::-1], workers=())
    assert local_proxy.configuration(reordered) == local_proxy.configuration(TOPOLOGY)


def test_the_fact_reads_package_unit_and_files() -> None:
    output = ["installed", "active active", "enabled enabled", "idle-service", "file:/a 0123"]
    assert LocalProxy().process(output) == LocalProxyState(
        installed=True, running=True, idle_service=True, files={"/a": "0123"}
    )
    assert LocalProxy().process(["active inactive", "enabled "]) == LocalProxyState()
