"""Suites that say whether machines and a cluster are right, whoever made them.

    pytest --pyargs kubeadm_deploys.verification --inventory inventories/docker.py

One module a section of the guide, then the behaviour of the cluster: pod network, NetworkPolicy, Services,
DNS, logs and exec. They ask the machine (kernel, files, systemd, containerd) and the API server, and
import nothing of the deploys that they judge: a mistake there cannot hide itself here.

Layers, from the command line downwards:

``plugin``          what every pytest run of the environment loads: activates ``options`` when asked for
``options``         the command line's options and the inventory behind them
``inventory``       from any pyinfra inventory to testinfra hosts (``read_inventory`` runs pyinfra for it)
``conftest``        the fixtures of the suites
``remote``          many questions to a machine in one remote command
``cluster``         kubectl on a control plane host
``traffic``         the pods and Services that the behaviour suites talk through, made and deleted
``probes``          one connection from one pod
``waiting``         polling a condition with a deadline
"""
