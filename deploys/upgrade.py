"""Upgrade the cluster in place, one node at a time, to the releases of the options.

Usage: pyinfra INVENTORY deploys/upgrade.py [--data kubernetes_version=X.Y.Z] [--data folder=DIR]
       [--data drain_timeout=300] [--data settle_timeout=300] [--data backup=false] [--data plain=true]
       [--data discard_edits=true] [--data drain=always] [--data workers_at_once=N]
       [--data only=control_plane] [--limit WORKER]
A release that is not set is this package's default, or the cluster's own if that is newer. With --dry it prints the
plan and changes nothing. A backup is written into the folder first, encrypted as deploys/backup.py does. After a
failure, run it again.
"""

import os

from pyinfra import host, inventory

from kubeadm_deploys import (
    Backup,
    Protection,
    acquire_run_lock,
    fetch_kubeconfig,
    flag,
    host_data,
    number,
    options_from_data,
    place_from_data,
    report_on_failure,
    seconds,
    summarize_run,
    topology_from_inventory,
    upgrade_cluster,
)

data = host_data(host)
options = options_from_data(
    data,
    also=(
        *("backup", "drain", "drain_timeout", "discard_edits", "folder", "only", "plain", "settle_timeout"),
        "workers_at_once",
    ),
)
topology = topology_from_inventory(inventory, options=options)
protection = Protection(
    recipients=options.backup_recipients,
    passphrase=os.environ.get("BACKUP_PASSPHRASE", ""),
    plain=flag("plain", data.get("plain", False)),
)
# For deploys/restore.py it is a file's name, so it is text.
backup = data.get("backup", True)
wants_backup = flag("backup", {"true": True, "false": False}.get(str(backup).lower(), backup))

report_on_failure(options=options, topology=topology)
acquire_run_lock(topology=topology)
upgrade_cluster(
    options=options,
    topology=topology,
    backup=Backup(protection=protection, folder=str(data.get("folder", "."))) if wants_backup else None,
    drain_timeout=seconds("drain_timeout", data.get("drain_timeout", 300)),
    settle_timeout=seconds("settle_timeout", data.get("settle_timeout", 300)),
    discard_edits=flag("discard_edits", data.get("discard_edits", False)),
    place=place_from_data(data, options=options),
    only=str(data.get("only", "")),
    drain=str(data.get("drain", "")),
    workers_at_once=number("workers_at_once", data.get("workers_at_once", 1)),
)
# kubeadm has renewed its certificate.
fetch_kubeconfig(options=options, topology=topology)

summarize_run(
    next_step="deploys/status.py shows the cluster; deploys/cluster.py brings in what else has changed"
)
