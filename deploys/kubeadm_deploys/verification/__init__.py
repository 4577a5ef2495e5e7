"""Test suites that check machines and a cluster, whatever tool created them.

    pytest --pyargs kubeadm_deploys.verification --inventory inventories/docker.py

One module per section of the guide, then the behaviour of the cluster: pod network, NetworkPolicy, Services,
DNS, logs and exec. They query the machine (kernel, files, systemd, containerd) and the API server, and
import nothing from the deploys that they check: a bug there cannot hide itself here.

Layers, from the command line downwards:

``plugin``          loaded by every pytest run; activates ``options`` when the run names the suites
``options``         the command line options and the inventory that they select
``inventory``       turns any pyinfra inventory into testinfra hosts (``read_inventory`` runs pyinfra for it)
``conftest``        the fixtures of the suites
``remote``          many commands on a machine in one remote call
``cluster``         kubectl on a control plane host
``traffic``         creates and deletes the pods and Services that the behaviour suites use
``probes``          one connection from one pod
``waiting``         polls a condition with a deadline
"""
