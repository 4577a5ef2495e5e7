"""Restore the cluster from a backup onto the machines of the inventory: the same ones, or new ones.

Usage: pyinfra -y INVENTORY deploys/restore.py --data backup=FILE --data confirm=CLUSTER_NAME
The passphrase is in BACKUP_PASSPHRASE; for a backup that was made for recipients, add --data identity=KEY_FILE.
Everything written since the backup is given up: if the cluster still works, add --data force=true. If a run was
interrupted, run the same command again. With --data from=disk instead of a backup, a cluster that has lost etcd's majority
is restored from the disk of a control plane that is left. docs/disaster.md says when to use which.
"""

import os

from pyinfra import host, inventory

from kubeadm_deploys import (
    BackupKey,
    acquire_run_lock,
    barrier,
    configure_bridged_traffic,
    configure_kubelet_dns,
    configure_proxies,
    delete_join_credentials,
    disable_swap,
    fetch_kubeconfig,
    find_cluster,
    flag,
    host_data,
    install_api_endpoint,
    install_cni,
    install_container_runtime,
    install_kube_packages,
    join_nodes,
    label_nodes,
    lead_workers,
    options_from_data,
    plan_restore,
    read_machines,
    register_workers,
    remove_other_api_endpoints,
    report_on_failure,
    resolve_api_endpoint,
    restore_control_plane,
    restore_from_disk,
    start_pulling_images,
    summarize_run,
    topology_from_inventory,
    wait_for_cloud_init,
    wait_until_ready,
    write_control_plane_files,
)

data = host_data(host)
options = options_from_data(data, also=("backup", "confirm", "force", "from", "identity", "restart"))
topology = topology_from_inventory(inventory, options=options)
key = BackupKey(passphrase=os.environ.get("BACKUP_PASSPHRASE", ""), identity=str(data.get("identity", "")))

report_on_failure(options=options, topology=topology)
# The cluster may have lost the majority of its control planes.
acquire_run_lock(topology=topology, repairs_quorum=True)
if "from" in data:
    restore_from_disk(
        options=options,
        topology=topology,
        source=str(data["from"]),
        path=str(data.get("backup", "")),
        others=[name for name in ("force", "identity", "restart") if name in data],
        confirmation=data.get("confirm"),
    )
    find_cluster(topology=topology)
    lead_workers(options=options, topology=topology)
    register_workers(topology=topology)
    summarize_run(
        next_step="run deploys/cluster.py, which joins the other control planes; if an upgrade had begun, it says so: take the "
        "machines that are not nodes out of the inventory, and end it with deploys/upgrade.py first"
    )
else:
    restore = plan_restore(
        options=options,
        topology=topology,
        path=str(data.get("backup", "")),
        confirmation=data.get("confirm"),
        key=key,
        force=flag("force", data.get("force", False)),
        restart=flag("restart", data.get("restart", False)),
    )
    options = restore.options
    read_machines(options=options, topology=topology)

    # Every node, in parallel; on those that are whole, this changes nothing.
    wait_for_cloud_init(options=options, node=topology.node(host.name))
    configure_proxies(options=options, topology=topology)
    configure_bridged_traffic()
    disable_swap(options=options)
    install_container_runtime(options=options)
    start_pulling_images(options=options, topology=topology)
    install_kube_packages(options=options)
    configure_kubelet_dns(options=options)
    install_api_endpoint(options=options, topology=topology)

    # One control plane from the backup.
    restore_control_plane(options=options, topology=topology, restore=restore, key=key)

    # The others join it, and the nodes that are new.
    find_cluster(topology=topology)
    resolve_api_endpoint(options=options, topology=topology)
    remove_other_api_endpoints(options=options, topology=topology)
    register_workers(topology=topology)
    install_cni(options=options, topology=topology)
    barrier(name="Every worker is registered")
    write_control_plane_files(options=options, topology=topology)
    join_nodes(options=options, topology=topology)
    barrier(name="Every node has joined")
    delete_join_credentials(topology=topology)
    label_nodes(topology=topology)
    wait_until_ready(options=options, topology=topology)
    fetch_kubeconfig(options=options, topology=topology)

    summarize_run(next_step=restore.next_step)
