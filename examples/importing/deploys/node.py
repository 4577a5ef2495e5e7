"""A machine with containerd, runc and the CNI plugins, and without swap."""

from pyinfra import host

from kubeadm_deploys import (
    configure_bridged_traffic,
    disable_swap,
    host_data,
    install_container_runtime,
    options_from_data,
)

options = options_from_data(host_data(host))

configure_bridged_traffic()
disable_swap(options=options)
install_container_runtime(options=options)
