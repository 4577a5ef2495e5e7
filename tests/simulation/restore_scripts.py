"""Effects of the commands that restore a cluster."""

import hashlib
from copy import deepcopy
from urllib.parse import urlsplit

from tests.simulation.commands import Part
from tests.simulation.effects import Effects, Steps
from tests.simulation.machine import (
    Machine,
    manifest,
)
from tests.simulation.world import Failed, new_data


class RestoreScripts(Effects):
    """A restore from a backup or a disk."""

    def do_begin_restore(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        folder, work, record = part.words
        if machine.files.get(f"{folder}/record") != record:
            machine.remove(work, f"{folder}/unpacked")
        yield "removed"
        machine.files[f"{folder}/record"] = record
        yield "recorded"

    def do_stop_static_pods(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        folder, *names = part.words
        for name in names:
            if manifest(name) in machine.files:
                machine.files[f"{folder}/{name}.yaml"] = machine.files.pop(manifest(name))
                yield f"moved {name}"
        if "containerd" not in machine.programs:
            raise Failed(
                "containerd does not start, and only it can stop the pods: systemctl status containerd"
            )
        machine.active.add("containerd")
        yield "stopped"

    def do_keep_files(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        folder, *paths = part.words
        for path in paths:
            if path in machine.files:
                machine.files.setdefault(f"{folder}{path}", machine.files[path])
        yield "kept"

    def do_receive_snapshot(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        work, size, sha256 = part.words
        machine.remove(f"{work}/etcd.db")
        yield "made room"
        if len(stdin) != int(size) or hashlib.sha256(stdin.encode()).hexdigest() != sha256:
            raise Failed("the snapshot did not arrive as a whole; run it again")
        machine.files[f"{work}/etcd.db"] = stdin
        yield "received"

    def do_copy_database(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/disk_restore.py"""
        folder, work = part.words
        if f"{folder}/unpacked" in machine.files or f"{work}/ready" in machine.files:
            return
        assert machine.etcd and not self.world.runs_etcd(machine), "the database is copied while etcd runs"
        content = f"the disk of {machine.name} at revision {machine.etcd.revision}"
        self.world.snapshots[content] = deepcopy(self.world.clusters[machine.etcd.cluster])
        machine.files[f"{work}/etcd.db"] = content
        yield "copied"

    def do_unpack_snapshot(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        folder, work, _, _, name, peer, *_ = part.words
        ready = f"{work}/ready"
        if f"{folder}/unpacked" in machine.files and ready not in machine.files:
            machine.remove(work)
            yield "nothing"
            return
        if ready not in machine.files:
            content = machine.files[f"{work}/etcd.db"]
            ip = urlsplit(peer).hostname or ""
            machine.files[ready] = str(self.world.restored(content, machine, name=name, ip=ip).number)
            yield "unpacked"
        machine.files[f"{folder}/unpacked"] = ""
        yield "marked"
        if machine.etcd:
            machine.saved.append(machine.etcd)
            machine.etcd = None
            yield "set aside"
        cluster = self.world.clusters[int(machine.files.pop(ready))]
        (member,) = cluster.members.values()
        machine.etcd = new_data(cluster, member)
        yield "in place"
        machine.remove(work)
        yield "removed"

    def do_start_static_pods(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        folder, *names = part.words
        if machine.etcd is None:
            raise Failed("there is no etcd data in /var/lib/etcd; nothing was started")
        for name in names:
            if f"{folder}/{name}.yaml" in machine.files and manifest(name) not in machine.files:
                machine.files[manifest(name)] = machine.files.pop(f"{folder}/{name}.yaml")
                yield f"moved {name}"
        self.world.kubelet_started(machine)
        yield "started"

    def do_end_restore(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        folder, work = part.words
        machine.remove(f"{folder}/record")
        yield "removed record"
        machine.remove(folder, work)
        yield "removed"

    def do_restart_kubelet(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/restore_steps.py"""
        self.world.kubelet_started(machine)
        yield "restarted"
