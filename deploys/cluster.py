"""A kubeadm cluster from the inventory's groups control_plane and workers.

Usage: pyinfra INVENTORY deploys/cluster.py [--data OPTION=VALUE ...]
The options are the fields of kubeadm_deploys.ClusterOptions; README.md lists them.
"""

from pyinfra import host, inventory

from kubeadm_deploys import (
    barrier,
    check_machines,
    configure_bridged_traffic,
    configure_resolver,
    create_control_plane,
    delete_join_credentials,
    disable_swap,
    fetch_kubeconfig,
    find_cluster,
    follow_cluster,
    install_cloud_controller,
    install_cni,
    install_container_runtime,
    install_kube_packages,
    join_nodes,
    offer_load_balancer_addresses,
    place_nodes,
    read_machines,
    record_releases,
    remove_local_proxy,
    resolve_api_endpoint,
    run_local_proxy,
    start_pulling_images,
    wait_for_provisioning,
    wait_until_ready,
)
from kubeadm_deploys.entry import host_data, options_from_data, topology_from_inventory
from kubeadm_deploys.hetzner.cloud import cloud_from_data
from kubeadm_deploys.locking import one_run_at_a_time
from kubeadm_deploys.reporting import report_failure

options = options_from_data(host_data(host))
topology = topology_from_inventory(inventory, options=options)
cloud = cloud_from_data(host_data(host), options=options)

report_failure(options=options, topology=topology)
one_run_at_a_time(topology=topology)
read_machines(options=options, topology=topology)
check_machines(options=options, topology=topology)
options = follow_cluster(options=options, topology=topology)

# Every node, in parallel.
wait_for_provisioning(options=options, node=topology.node(host.name))
configure_bridged_traffic()
disable_swap(options=options)
install_container_runtime(options=options)
start_pulling_images(options=options, topology=topology)
install_kube_packages(options=options)
configure_resolver(options=options)
run_local_proxy(options=options, topology=topology)

# The control plane, then everything that needs its API.
find_cluster(topology=topology)
resolve_api_endpoint(options=options, topology=topology)
remove_local_proxy(options=options, topology=topology)
create_control_plane(options=options, topology=topology)
install_cni(options=options, topology=topology)
record_releases(options=options, topology=topology)
install_cloud_controller(options=options, topology=topology, cloud=cloud)
barrier(name="The API server answers")
join_nodes(options=options, topology=topology)
barrier(name="Every node has joined")
delete_join_credentials(topology=topology)
place_nodes(topology=topology)

wait_until_ready(options=options, topology=topology)
offer_load_balancer_addresses(options=options, topology=topology)
fetch_kubeconfig(options=options, topology=topology)
