"""pyinfra deploys for kubeadm clusters.

Layers, from the edge to the middle; each uses only those below it:

- ``deploys/*.py`` of the project: entry scripts that read pyinfra's inventory and data (``entry``), let one run at a time
  be at work on a cluster (``locking``), put limits to what machines are asked (``connections``), and help after a failure
  (``reporting``);
- the sections, one module each, named after the guide's: ``bridged_traffic``, ``container_runtime``,
  ``kube_packages``, ``swap``, ``control_plane``, ``joining``, ``cni``; beside them ``preflight``, ``cluster_settings``,
  ``provisioning``, ``resolver``, ``api_endpoint`` with the ``endpoints``, ``images``, ``placement``, ``readiness`` and ``load_balancers``. Each can be
  used alone;
- ``cluster``: what a run knows of its cluster: who leads, who belongs to it, with what others join;
- ``operations``: what changes machines; ``facts``: what is there; several are read in one command (``machine_readings``
  has those of all sections), and ``run_parts`` keeps what belongs to one run; ``scripts``: what runs on machines;
- pure functions and values: ``options``, ``nodes``, ``marks``, ``cluster_record``, ``artifacts``, ``kubeadm_documents``,
  ``hosts_file``, ``apt_key``, ``run_lock`` with ``lock_messages``, ``failure_report``, ``redaction``, ``text``, ``quorum``, ``election``, ``kubeadm_steps``; ``membership``,
  ``machine_checks``, ``cluster_checks``, ``foreign_checks`` and ``live_options``, which make ``findings``; beside them
  ``kubeconfig_file`` and ``local_files``, which read and write the operator's own files;
- ``verification``: suites that check a cluster by looking at it, independent of all above.
"""

from kubeadm_deploys.api_endpoint import resolve_api_endpoint
from kubeadm_deploys.bridged_traffic import configure_bridged_traffic
from kubeadm_deploys.cluster_settings import follow_cluster, record_releases
from kubeadm_deploys.cni import install_cni
from kubeadm_deploys.container_runtime import install_container_runtime
from kubeadm_deploys.control_plane import create_control_plane, find_cluster
from kubeadm_deploys.endpoints.local_proxy import remove_local_proxy, run_local_proxy
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.cloud import HetznerCloud
from kubeadm_deploys.hetzner.cloud_controller import install_cloud_controller
from kubeadm_deploys.images import start_pulling_images
from kubeadm_deploys.joining import delete_join_credentials, join_nodes
from kubeadm_deploys.kube_packages import install_kube_packages
from kubeadm_deploys.load_balancers import offer_load_balancer_addresses
from kubeadm_deploys.machine_readings import read_machines
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.placement import place_nodes
from kubeadm_deploys.preflight import check_machines
from kubeadm_deploys.provisioning import wait_for_provisioning
from kubeadm_deploys.readiness import fetch_kubeconfig, wait_until_ready
from kubeadm_deploys.resolver import configure_resolver
from kubeadm_deploys.swap import disable_swap

__all__ = [
    "ClusterOptions",
    "HetznerCloud",
    "InputError",
    "Node",
    "Topology",
    "barrier",
    "check_machines",
    "configure_bridged_traffic",
    "configure_resolver",
    "create_control_plane",
    "delete_join_credentials",
    "disable_swap",
    "fetch_kubeconfig",
    "find_cluster",
    "follow_cluster",
    "install_cloud_controller",
    "install_cni",
    "install_container_runtime",
    "install_kube_packages",
    "join_nodes",
    "offer_load_balancer_addresses",
    "place_nodes",
    "read_machines",
    "record_releases",
    "remove_local_proxy",
    "resolve_api_endpoint",
    "run_local_proxy",
    "start_pulling_images",
    "wait_for_provisioning",
    "wait_until_ready",
]
