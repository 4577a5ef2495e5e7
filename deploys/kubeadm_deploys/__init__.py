"""pyinfra deploys for kubeadm clusters.

The folders are layers; each imports only those below it (see docs/architecture.md). Each module of
``sections`` implements one section of the guides "Installing kubeadm" and "Creating a cluster with kubeadm",
and can be used alone.
"""

from kubeadm_deploys.clouds import install_cloud_controller, place_from_data
from kubeadm_deploys.cni import configure_load_balancer_pool, install_cni
from kubeadm_deploys.documents.backup_encryption import BackupKey, Protection
from kubeadm_deploys.inventory.data import (
    flag,
    host_data,
    number,
    options_from_data,
    seconds,
    topology_from_inventory,
)
from kubeadm_deploys.lifecycle.backup import back_up, check_backup
from kubeadm_deploys.lifecycle.disk_restore import lead_workers, restore_from_disk
from kubeadm_deploys.lifecycle.removal import remove_node
from kubeadm_deploys.lifecycle.reset import refuse_unconfirmed, reset_machine
from kubeadm_deploys.lifecycle.restore import plan_restore, register_workers, restore_control_plane
from kubeadm_deploys.lifecycle.status import report_status
from kubeadm_deploys.lifecycle.upgrade import Backup, upgrade_cluster
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.preflight.check import run_preflight
from kubeadm_deploys.preflight.machine_readings import read_machines
from kubeadm_deploys.remote.connections import guard_connections
from kubeadm_deploys.run.locking import acquire_run_lock
from kubeadm_deploys.run.reporting import report_on_failure
from kubeadm_deploys.run.summary import summarize_run
from kubeadm_deploys.sections.api_endpoint import (
    install_api_endpoint,
    remove_other_api_endpoints,
    resolve_api_endpoint,
)
from kubeadm_deploys.sections.bridged_traffic import configure_bridged_traffic
from kubeadm_deploys.sections.cloud_init import wait_for_cloud_init
from kubeadm_deploys.sections.cluster_options import follow_cluster, record_releases
from kubeadm_deploys.sections.container_runtime import install_container_runtime
from kubeadm_deploys.sections.control_plane import create_control_plane, find_cluster
from kubeadm_deploys.sections.control_plane_files import write_control_plane_files
from kubeadm_deploys.sections.images import start_pulling_images
from kubeadm_deploys.sections.joining import delete_join_credentials, join_nodes
from kubeadm_deploys.sections.kube_packages import install_kube_packages
from kubeadm_deploys.sections.kube_proxy_reconfiguration import reconfigure_kube_proxy
from kubeadm_deploys.sections.kubelet_dns import configure_kubelet_dns
from kubeadm_deploys.sections.kubelet_reconfiguration import reconfigure_kubelets
from kubeadm_deploys.sections.machine_proxies import configure_proxies
from kubeadm_deploys.sections.node_kubelet_configuration import reconfigure_node_kubelets
from kubeadm_deploys.sections.node_labels import label_nodes
from kubeadm_deploys.sections.readiness import fetch_kubeconfig, wait_until_ready
from kubeadm_deploys.sections.reconfiguration import reconfigure_control_planes
from kubeadm_deploys.sections.swap import disable_swap

__all__ = [
    "Backup",
    "BackupKey",
    "ClusterOptions",
    "InputError",
    "Node",
    "Protection",
    "Topology",
    "acquire_run_lock",
    "back_up",
    "barrier",
    "check_backup",
    "configure_bridged_traffic",
    "configure_kubelet_dns",
    "configure_load_balancer_pool",
    "configure_proxies",
    "create_control_plane",
    "delete_join_credentials",
    "disable_swap",
    "fetch_kubeconfig",
    "find_cluster",
    "flag",
    "follow_cluster",
    "guard_connections",
    "host_data",
    "install_api_endpoint",
    "install_cloud_controller",
    "install_cni",
    "install_container_runtime",
    "install_kube_packages",
    "join_nodes",
    "label_nodes",
    "lead_workers",
    "number",
    "options_from_data",
    "place_from_data",
    "plan_restore",
    "read_machines",
    "reconfigure_control_planes",
    "reconfigure_kube_proxy",
    "reconfigure_kubelets",
    "reconfigure_node_kubelets",
    "record_releases",
    "refuse_unconfirmed",
    "register_workers",
    "remove_node",
    "remove_other_api_endpoints",
    "report_on_failure",
    "report_status",
    "reset_machine",
    "resolve_api_endpoint",
    "restore_control_plane",
    "restore_from_disk",
    "run_preflight",
    "seconds",
    "start_pulling_images",
    "summarize_run",
    "topology_from_inventory",
    "upgrade_cluster",
    "wait_for_cloud_init",
    "wait_until_ready",
    "write_control_plane_files",
]
