"""Back up the cluster into one encrypted file on this machine: etcd, keys and configuration.

Usage: pyinfra -y INVENTORY deploys/backup.py [--data folder=DIR] [--data keep=N] [--data plain=true]
       pyinfra -y @local deploys/backup.py --data verify=FILE [--data identity=KEY_FILE]
It is encrypted for the option backup_recipients, or with the passphrase in BACKUP_PASSPHRASE. The second
command checks a backup without a cluster.
"""

import os

from pyinfra import host, inventory

from kubeadm_deploys import (
    Protection,
    acquire_run_lock,
    back_up,
    check_backup,
    flag,
    host_data,
    number,
    options_from_data,
    report_on_failure,
    summarize_run,
    topology_from_inventory,
)

data = host_data(host)
options = options_from_data(data, also=("folder", "identity", "keep", "plain", "verify"))
passphrase = os.environ.get("BACKUP_PASSPHRASE", "")

if "verify" in data:
    check_backup(str(data["verify"]), passphrase=passphrase, identity=str(data.get("identity", "")))
else:
    topology = topology_from_inventory(inventory, options=options)
    protection = Protection(
        recipients=options.backup_recipients,
        passphrase=passphrase,
        plain=flag("plain", data.get("plain", False)),
    )
    keep = number("keep", data["keep"]) if "keep" in data else None
    report_on_failure(options=options, topology=topology)
    acquire_run_lock(topology=topology)
    back_up(
        options=options,
        topology=topology,
        protection=protection,
        folder=str(data.get("folder", ".")),
        keep=keep,
    )
    summarize_run(next_step="copy the backup to another place, and check it: --data verify=FILE")
