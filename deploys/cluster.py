"""Create or update a kubeadm cluster from the inventory groups control_plane and workers.

Usage: pyinfra INVENTORY deploys/cluster.py [--data OPTION=VALUE ...]
The options are the fields of kubeadm_deploys.ClusterOptions; docs/options.md lists them. --data discard_edits=true
lets a run overwrite edits that exist only in a static pod's manifest, in a kubelet's configuration file or in
kube-proxy's ConfigMap; --data allow_drain=true lets it drain one node after the other, each for at most
--data drain_timeout=300 seconds, for fields of the kubelets' configuration that a kubelet takes only on a drained node.
"""

from pyinfra import host, inventory

from kubeadm_deploys import (
    acquire_run_lock,
    barrier,
    configure_bridged_traffic,
    configure_kubelet_dns,
    configure_load_balancer_pool,
    configure_proxies,
    create_control_plane,
    delete_join_credentials,
    disable_swap,
    fetch_kubeconfig,
    find_cluster,
    flag,
    follow_cluster,
    host_data,
    install_api_endpoint,
    install_cloud_controller,
    install_cni,
    install_container_runtime,
    install_kube_packages,
    join_nodes,
    label_nodes,
    options_from_data,
    place_from_data,
    read_machines,
    reconfigure_control_planes,
    reconfigure_kube_proxy,
    reconfigure_kubelets,
    reconfigure_node_kubelets,
    record_releases,
    remove_other_api_endpoints,
    report_on_failure,
    resolve_api_endpoint,
    run_preflight,
    seconds,
    start_pulling_images,
    summarize_run,
    topology_from_inventory,
    wait_for_cloud_init,
    wait_until_ready,
    write_control_plane_files,
)

data = host_data(host)
options = options_from_data(data, also=("allow_drain", "discard_edits", "drain_timeout"))
allow_drain = flag("allow_drain", data.get("allow_drain", False))
discard_edits = flag("discard_edits", data.get("discard_edits", False))
drain_timeout = seconds("drain_timeout", data.get("drain_timeout", 300))
topology = topology_from_inventory(inventory, options=options)
place = place_from_data(data, options=options)

report_on_failure(options=options, topology=topology)
acquire_run_lock(topology=topology)
read_machines(options=options, topology=topology)
run_preflight(options=options, topology=topology, allow_drain=allow_drain)
options = follow_cluster(options=options, topology=topology)

# Every node, in parallel.
wait_for_cloud_init(options=options, node=topology.node(host.name))
configure_proxies(options=options, topology=topology)
configure_bridged_traffic()
disable_swap(options=options)
install_container_runtime(options=options)
start_pulling_images(options=options, topology=topology)
install_kube_packages(options=options)
configure_kubelet_dns(options=options)
install_api_endpoint(options=options, topology=topology)

# The control plane, then everything that needs its API.
find_cluster(topology=topology)
resolve_api_endpoint(options=options, topology=topology)
remove_other_api_endpoints(options=options, topology=topology)
write_control_plane_files(options=options, topology=topology)
create_control_plane(options=options, topology=topology)
reconfigure_control_planes(options=options, topology=topology, discard_edits=discard_edits)
reconfigure_kubelets(
    options=options,
    topology=topology,
    discard_edits=discard_edits,
    allow_drain=allow_drain,
    drain_timeout=drain_timeout,
)
reconfigure_node_kubelets(
    options=options,
    topology=topology,
    discard_edits=discard_edits,
    allow_drain=allow_drain,
    drain_timeout=drain_timeout,
)
reconfigure_kube_proxy(options=options, topology=topology, discard_edits=discard_edits)
install_cni(options=options, topology=topology)
record_releases(options=options, topology=topology)
install_cloud_controller(options=options, topology=topology, place=place)
barrier(name="The API server answers")
join_nodes(options=options, topology=topology)
barrier(name="Every node has joined")
delete_join_credentials(topology=topology)
label_nodes(topology=topology)

wait_until_ready(options=options, topology=topology)
configure_load_balancer_pool(options=options, topology=topology)
fetch_kubeconfig(options=options, topology=topology)

summarize_run(next_step=f"kubectl --kubeconfig {options.kubeconfig_path} get nodes")
