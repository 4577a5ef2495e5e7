"""Effects of the product's commands, except readings, on simulated machines and clusters."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from urllib.parse import urlsplit

import yaml

from kubeadm_deploys.cni.calico import CALICO
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.checksums import SHA256
from kubeadm_deploys.operations import shared_pki
from kubeadm_deploys.sections import container_runtime
from tests.simulation import kubeadm, kubeadm_upgrade
from tests.simulation.cluster import KUBE_PROXY_PODS, KUBE_PROXY_UNFINISHED, Cluster, NodeObject
from tests.simulation.commands import Part
from tests.simulation.machine import (
    BOOTSTRAP_CONF,
    FETCHED,
    KUBELET_CONFIG,
    LOCK,
    NEW_CERTIFICATE,
    OLD,
    PKI,
    Machine,
    manifest,
)
from tests.simulation.readings import kustomization
from tests.simulation.world import OPTIONS, Failed, World, new_data

SWAPPED = "/etc/kubernetes/tmp/kubeadm-backup-manifests-kubeadm-deploys"
"""Where the old manifest is while there is none."""

Steps = Iterator[str]
"""The steps of a command; each yield marks a finished step."""

CHANGES_NOTHING = frozenset(
    {
        *("take-run-lock", "release-run-lock", "wait-for-api", "send-snapshot", "true", "fail", "diagnose"),
        *("render-static-pods", "try-arguments", "read-kubelet-configuration"),
    }
)
"""Commands that change nothing."""

SECONDS = {
    "kubeadm": 45.0,
    "clean-machine": 20.0,
    "install-packages": 30.0,
    "install-tarball": 5.0,
    "drain": 15.0,
    "swap-static-pod": 8.0,
    "swap-kubelet-configuration": 4.0,
    "settle-kubelet-configuration": 4.0,
    "roll-kube-proxy": 15.0,
}
"""Durations of slow commands."""


class Scripts:
    """Commands: for each a method that generates its steps, and puts its output lines into ``printed``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.printed: list[str] = []

    def steps(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """Return the steps of a command.

        Raises:
            Failed: by the steps, when the command fails.
        """
        name = part.name.replace("-", "_").replace(" ", "_")
        method: Callable[[Machine, Part, str], Steps] | None = getattr(self, f"do_{name}", None)
        if method is None:
            raise AssertionError(f"unknown command {part.name}: {part.words}")
        self.printed = []
        return method(machine, part, stdin)

    # The lock.

    def do_take_run_lock(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """scripts/take-run-lock.sh"""
        _, lease, mine, dead, document = part.words
        up = int(machine.uptime(self.world.now))
        lock = machine.files.get(LOCK, "")
        values = dict(line.partition(" ")[::2] for line in lock.splitlines())
        start = up
        self.printed = ["asked"]
        if values.get("run") == mine:
            start = int(values["start"])
        elif values.get("run", dead) != dead and up < int(values["until"]) <= up + int(lease):
            self.printed += ["held", f"up {up}", *lock.splitlines()]
            return
        machine.files[LOCK] = f"{document}\nstart {start}\nuntil {up + int(lease)}\n"
        self.printed += ["taken"]
        yield "taken"

    def do_release_run_lock(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """scripts/release-run-lock.sh"""
        if f"run {part.words[1]}" in machine.files.get(LOCK, "").splitlines():
            del machine.files[LOCK]
        yield "released"

    # Files, packages, units.

    def do_write_files(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/text_files.py"""
        contents = stdin.splitlines()
        if len(contents) < len(part.words):
            raise Failed(f"the content of {part.words[len(contents)]} did not arrive")
        for path, content in zip(part.words, contents, strict=False):
            machine.files[path] = base64.b64decode(content.partition(" ")[0]).decode(errors="surrogateescape")
            machine.stale_containerd |= path in (container_runtime.CONFIG_FILE, container_runtime.UNIT_FILE)
            yield f"wrote {path}"

    def do_write_pki(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/shared_pki.py"""
        lines = [line.split() for line in stdin.splitlines()]
        if [line[0] for line in lines] != list(shared_pki.FILES):
            raise Failed("ca.crt of the cluster's keys did not arrive; none was written")
        for name, content in lines:
            machine.files[f"{PKI}/{name}"] = base64.b64decode(content).decode()
            yield f"wrote {name}"

    def do_install_packages(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/packages.py; the package starts the kubelet, which waits for a configuration."""
        for word in part.words:
            name, _, release = word.partition("=")
            is_new = name not in machine.packages
            machine.packages[name] = f"{release.removesuffix('-*')}-1.1" if release else "1.0"
            machine.held.discard(name)
            if name == "kubelet" and is_new:
                machine.packages["kubernetes-cni"] = "1.7.1"
                machine.enabled.add("kubelet")
                self.world.kubelet_started(machine)
            if name == "haproxy":
                machine.enabled.add("haproxy.service")
            yield f"installed {name}"

    def do_install_tarball(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/release.py"""
        url, _, folder, _ = part.words
        names: tuple[str, ...]
        if folder == "/usr/local/bin":
            names = ("containerd", "containerd-shim-runc-v2", "ctr")
        else:
            assert folder == "/opt/cni/bin", folder
            names = artifacts.CNI_PLUGINS
        for name in names:
            machine.programs[name] = _release_in(url)
        yield f"unpacked {url}"

    def do_install_file(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/release.py"""
        url, checksum, folder, name, _ = part.words
        if f"{folder}/{name}" == "/usr/local/sbin/runc":
            machine.programs["runc"] = _release_in(url)
        else:
            machine.files[f"{folder}/{name}"] = f"{FETCHED}{checksum}"
        yield f"fetched {url}"

    def do_pull_images(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/images.py"""
        machine.images.update(part.words[1:])
        yield "pulled"

    def do_run_unit(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/units.py"""
        unit, _, check, _ = part.words
        name = unit.removesuffix(".service")
        machine.enabled.add(name)
        yield "enabled"
        if name == "containerd" and "containerd" not in machine.programs:
            raise Failed("containerd.service: Unit has no program")
        machine.active.add(name)
        if name == "containerd":
            if not machine.containerd_starts():
                raise Failed("containerd.service does not run as it should")
            machine.stale_containerd = False
            # A kubelet reports its runtime again and again.
            self.world.report_runtime(machine)
        if name == "kubelet":
            self.world.kubelet_started(machine)
            if check != "true" and not machine.kubelet_runs:
                raise Failed("kubelet.service does not run as it should")
        if name == local_proxy.UNIT:
            machine.files[local_proxy.LOADED_FILE] = machine.files[local_proxy.CONFIG_FILE]
        yield "running"

    def do_reload_unit(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/removal_steps.py, for workers' proxies"""
        assert part.words == (local_proxy.UNIT,), part.words
        machine.active.add(local_proxy.UNIT)
        machine.files[local_proxy.LOADED_FILE] = machine.files[local_proxy.CONFIG_FILE]
        yield "reloaded"

    def do_disable_unit(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/units.py"""
        machine.enabled.discard(part.words[0])
        machine.active.discard(part.words[0])
        yield "disabled"

    do_disable_our_unit = do_disable_unit

    def do_delete_our_files(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/reset.py and operations/units.py"""
        machine.remove(*part.words)
        yield "deleted"

    def do_load_sysctls(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/bridged_traffic.py"""
        text = machine.files.get(part.words[0], "")
        machine.sysctls |= set(re.findall(r"^(\S+) = 1$", text, re.MULTILINE))
        yield "loaded"

    def do_load_modules(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/bridged_traffic.py"""
        machine.modules |= set(part.words)
        yield "loaded"

    def do_hold_packages(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/kube_packages.py"""
        machine.held |= set(part.words)
        yield "held"

    def do_restart_clients(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/api_endpoint.py"""
        yield "restarted"

    # kubeadm.

    def do_kubeadm(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """cluster/kubeadm.py"""
        verb, *rest = part.words
        ignored = frozenset(
            name
            for word in rest
            if word.startswith("--ignore-preflight-errors=")
            for name in word.partition("=")[2].split(",")
        )
        documents = kubeadm.documents(stdin)
        if verb == "init" and rest[:1] == ["phase"]:
            yield from kubeadm.phase(self.world, machine, " ".join(rest[1:]), documents=documents)
        elif verb == "init":
            yield from kubeadm.init(
                self.world,
                machine,
                documents=documents,
                ignored=ignored,
                addons="--skip-phases=addon" not in rest,
            )
        elif (verb, *rest) == ("config", "validate"):
            component = documents.get("KubeletConfiguration") or documents["KubeProxyConfiguration"]
            if unknown := [key for key in component if key.startswith("unknown")]:
                raise Failed(f'strict decoding error: unknown field "{unknown[0]}"')
            yield "valid"
        elif verb == "join":
            yield from kubeadm.join(self.world, machine, documents=documents, ignored=ignored)
        elif verb == "upgrade":
            yield from kubeadm_upgrade.upgrade(self.world, machine, *rest)
        else:
            raise AssertionError(f"unknown command kubeadm {verb}")

    def do_clean_machine(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """cluster/cleaning.py"""
        yield from kubeadm.clean(self.world, machine, saved=bool(part.words[0]))

    def do_end_api_server(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/control_plane.py"""
        yield "ended"

    def do_swap_static_pod(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/reconfiguration.py"""
        name = part.words[0]
        lines = [line.split() for line in stdin.splitlines()]
        if lines[-1] != ["end"]:
            raise Failed(f"the new files of {name} did not arrive; nothing was changed")
        contents = {path: base64.b64decode(content).decode() for path, _, content in lines[:-1]}
        path, kept = manifest(name), f"{SWAPPED}/{name}.yaml"
        assert list(contents)[-1] == path, contents
        new = contents.pop(path)
        before = {each: machine.files.get(each) for each in contents}
        machine.files[kept] = machine.files.pop(path)
        yield "manifest out"
        for each, content in contents.items():
            machine.files[each] = content
            yield f"wrote {each}"
        machine.files[path] = new
        yield "manifest in"
        if self.world.starts(machine, name):
            machine.remove(SWAPPED)
            yield "healthy"
            return
        del machine.files[path]
        yield "failed manifest out"
        for each, old in before.items():
            machine.remove(each)
            if old is not None:
                machine.files[each] = old
        machine.files[path] = machine.files[kept]
        yield "manifest back"
        machine.remove(SWAPPED)
        yield "healthy again"
        raise Failed(
            f"the new {name} did not become healthy; it said last: crashed; the old manifest was put back"
        )

    def do_renew_api_certificate(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/reconfiguration.py"""
        content, end = stdin.splitlines()
        assert end == "end", stdin
        documents = kubeadm.documents(base64.b64decode(content).decode())
        names = documents["ClusterConfiguration"]["apiServer"]["certSANs"]
        machine.files[NEW_CERTIFICATE] = " ".join(names)
        yield "key in"
        machine.files[f"{PKI}/apiserver.crt"] = machine.files.pop(NEW_CERTIFICATE)
        yield "renewed"

    def do_finish_api_certificate(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/control_plane.py"""
        machine.files[f"{PKI}/apiserver.crt"] = machine.files.pop(NEW_CERTIFICATE)
        yield "certificate in"
        self.world.kubelet_started(machine)
        yield "restarted"

    def do_read_kubelet_configuration(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/kubelet_reconfiguration.py"""
        content = base64.b64encode(machine.files[KUBELET_CONFIG].encode()).decode()
        self.printed = [f"configuration {content}", *(["stale"] if machine.stale_kubelet else [])]
        yield "read"

    def do_swap_kubelet_configuration(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/kubelet_reconfiguration.py"""
        content, end = stdin.splitlines()
        assert end == "end", stdin
        file, _, *removed = part.words
        old = machine.files[file]
        new = base64.b64decode(content).decode()
        policies = {yaml.safe_load(each).get("cpuManagerPolicy") for each in (old, new)}
        if len(policies) > 1 or removed:
            cluster = self.world.cluster_of_kubelet(machine)
            assert removed and cluster and cluster.nodes[machine.name].unschedulable, machine.name
        assert not machine.half_changed, f"{machine.name}: the old configuration would be lost"
        machine.files[f"{file}{OLD}"] = old
        machine.files[file], machine.stale_kubelet = new, True
        yield "written"
        yield from self._kubelet_configuration_tried(machine, file)
        if machine.files[file] == new:
            return
        raise Failed(
            "the kubelet did not come up; it said last: invalid maxPods; the old configuration was put back"
        )

    def do_settle_kubelet_configuration(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/kube_packages.py"""
        for file in machine.half_changed:
            yield from self._kubelet_configuration_tried(machine, file)

    def do_remove_kubelet_fields(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/node_kubelet_configuration.py"""
        unit, fields = part.words
        machine.remove(unit)
        yield "unit"
        machine.remove(fields)
        yield "fields"

    def _kubelet_configuration_tried(self, machine: Machine, file: str) -> Steps:
        """Restart a kubelet with a file of its configuration, and with the old one if it does not run."""
        if not machine.wrong_kubelet_config:
            self.world.kubelet_started(machine)
            yield "restarted"
            machine.remove(f"{file}{OLD}")
            yield "ended"
            return
        machine.files[file] = machine.files.pop(f"{file}{OLD}")
        yield "put back"
        self.world.kubelet_started(machine)
        yield "restarted as before"

    def do_roll_kube_proxy(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/kube_proxy_reconfiguration.py"""
        *lines, end = stdin.splitlines()
        assert end == "end", stdin
        old, back, patch = (base64.b64decode(line).decode() for line in lines)
        cluster = self.world.kubectl(machine)
        if yaml.safe_load(old) != cluster.objects["kube-proxy"]:
            raise Failed("its ConfigMap was changed meanwhile, so run this again; nothing was changed")
        before = cluster.objects.setdefault(KUBE_PROXY_PODS, dict(yaml.safe_load(old)))
        if KUBE_PROXY_UNFINISHED not in cluster.objects:
            if back == patch:
                return
            if before.get("mode") == "crashes":
                raise Failed("kube-proxy does not run on every node; nothing was changed")
        for text, step in ((patch, "written"), (back, "put back")):
            configuration = yaml.safe_load(json.loads(text)["data"]["config.conf"])
            self.world.write(cluster)
            cluster.objects |= {"kube-proxy": configuration, KUBE_PROXY_UNFINISHED: True}
            yield step
            cluster.objects[KUBE_PROXY_PODS] = configuration if step == "written" else before
            yield "replaced"
            if configuration.get("mode") != "crashes":
                break
        del cluster.objects[KUBE_PROXY_UNFINISHED]
        yield "ended"
        if step == "put back":
            raise Failed(
                "kube-proxy on worker-1 said last: unknown mode; the old configuration was put back, and kube-proxy runs on "
                "every node again"
            )

    def do_restore_manifest(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/control_plane.py"""
        backup, path = part.words
        machine.files[path] = machine.files[backup]
        yield "restored"

    def do_finish_join(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py"""
        machine.remove(BOOTSTRAP_CONF)
        yield "removed"

    def do_stop_api_server(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/removal_steps.py"""
        names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        machine.remove(*(f"/etc/kubernetes/manifests/{name}.yaml" for name in names))
        yield "stopped"
        if not machine.kubelet_runs and machine.pods:
            raise Failed(
                "the API server still runs, or containerd does not answer, 90 s after its manifest was removed"
            )

    def do_wait_for_api(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py"""
        if self.world.api(machine, part.words[0]) is None:
            raise Failed(f"the API server at https://{part.words[0]} is not ready as seen from here", 120.0)
        yield "answers"

    def do_make_token(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """cluster/join_credentials.py"""
        cluster = self.world.kubectl(machine)
        for token in kubeadm.documents(stdin)["InitConfiguration"]["bootstrapTokens"]:
            self.world.write(cluster)
            name = f"bootstrap-token-{token['token'].partition('.')[0]}"
            cluster.tokens[name] = (token["token"], token["description"])
        yield "made"

    def do_register(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py"""
        self.world.kubelet_started(machine)
        yield "restarted"
        self.world.settle()
        if part.words[-1] not in self.world.kubectl(machine).nodes:
            raise Failed(f"error: timed out waiting for the condition on nodes/{part.words[-1]}", 120.0)
        yield "registered"

    # kubectl and etcdctl.

    def do_write_record(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """cluster/recording.py"""
        cluster = self._written(machine)
        cluster.objects["kubeadm-deploys"] = json.loads(stdin)["data"]
        yield "written"

    def do_apply(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """cluster/kubectl.py"""
        folder = part.words[part.words.index("--kustomize") + 1]
        assert folder == "/etc/kubernetes/calico", part.words
        applied = kustomization(machine, folder)
        if len(applied) < 2:
            raise Failed("error: unable to find one of 'kustomization.yaml' or its manifest")
        cluster = self._written(machine)
        release = _calico_release(machine, folder)
        cluster.objects["calico"] = f"quay.io/calico/node:v{release}"
        # Its pods run on every node.
        for name in cluster.nodes.keys() & self.world.machines.keys():
            self.world.machines[name].images.update(
                CALICO.images(OPTIONS.following({"calico_version": release}))
            )
        cluster.objects["calico files"] = applied
        yield "applied"

    def do_delete_secret(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py"""
        cluster = self._written(machine)
        for name in part.words:
            cluster.tokens.pop(name, None)
        yield "deleted"

    def do_delete_node(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py and lifecycle/removal_steps.py"""
        name = part.words[-1]
        cluster = self._written(machine)
        if name not in cluster.nodes and "--ignore-not-found" not in part.words:
            raise Failed(f'Error from server (NotFound): nodes "{name}" not found')
        cluster.nodes.pop(name, None)
        yield "deleted"

    def do_cordon(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/removal_steps.py"""
        self._node(machine, part.words[1]).unschedulable = True
        yield "cordoned"

    def do_drain(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/removal_steps.py"""
        self._node(machine, part.words[1]).unschedulable = True
        yield "cordoned"
        self.world.kubectl(machine)
        yield "drained"

    def do_annotate(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/upgrade_steps.py"""
        name, argument = part.words[-2:]
        annotations = self._node(machine, name).annotations
        if argument.endswith("-"):
            annotations.pop(argument.removesuffix("-"), None)
        else:
            key, _, value = argument.partition("=")
            annotations[key] = value
        yield "annotated"

    def do_uncordon(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/upgrade_steps.py"""
        self._node(machine, part.words[1]).unschedulable = False
        yield "uncordoned"

    def do_label_node(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py: the last step of a control plane's join"""
        for words in _split(part.words, "&&"):
            verb = words[0] if words[0] in ("label", "taint") else words[words.index("taint")]
            rest = words[words.index("node") + 1 :]
            self._mark(machine, rest[0], rest[1:])
            yield verb

    def do_label_nodes(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/node_labels.py"""
        for command in filter(None, stdin.split("\n\n")):
            verb, *words = [word for word in command.splitlines() if not word.startswith("--")]
            cluster = self.world.kubectl(machine)
            rest = words[words.index("nodes" if "nodes" in words else "node") + 1 :]
            names = [word for word in rest if word in cluster.nodes]
            for name in names:
                self._mark(machine, name, rest[len(names) :])
            yield verb

    def do_member_remove(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/joining.py and lifecycle/removal_steps.py"""
        cluster = self.world.etcdctl(machine)
        self.world.write(cluster)
        number = int(part.words[-1], 16)
        if number not in cluster.members:
            raise Failed("etcdserver: member not found")
        del cluster.members[number]
        yield "removed"

    # A restore from a backup.

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

    # Commands that change nothing.

    def do_send_snapshot(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """lifecycle/backup.py; the snapshot is removed from the machine when the command ends, however it does."""
        self.world.etcdctl(machine)
        assert machine.etcd
        mark, _ = part.words
        revision = machine.etcd.revision
        content = f"everything up to revision {revision}"
        self.world.snapshots[content] = deepcopy(self.world.clusters[machine.etcd.cluster])
        status = {"hash": 1, "revision": revision, "totalKey": revision, "totalSize": 1}
        checksum = hashlib.sha256(content.encode()).hexdigest()
        self.printed = ["", f"{mark} {len(content)} {checksum} {json.dumps(status)}", content]
        yield "sent"

    def do_render_static_pods(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/reconfiguration.py"""
        _, *names = part.words
        pods = {f"current:{name}": machine.files.get(manifest(name), "") for name in names}
        for number, line in enumerate(stdin.splitlines()):
            configuration = kubeadm.documents(base64.b64decode(line).decode())["ClusterConfiguration"]
            pods |= {f"{number}:{name}": kubeadm.static_pod(name, configuration) for name in names}
        self.printed = [
            f"{key} {base64.b64encode(text.encode()).decode()}" for key, text in pods.items() if text
        ]
        yield "rendered"

    def do_try_arguments(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """sections/reconfiguration.py"""
        if unknown := [word for word in part.words if word.startswith("--unknown")]:
            raise Failed(f"Error: unknown flag: {unknown[0]}")
        yield "accepted"

    def do_true(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """run/reporting.py"""
        yield "true"

    def do_diagnose(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """run/diagnosis.py"""
        yield "printed"

    def do_fail(self, machine: Machine, part: Part, stdin: str) -> Steps:
        """operations/failure.py"""
        raise Failed(part.words[0])

    def _written(self, machine: Machine) -> Cluster:
        cluster = self.world.kubectl(machine)
        self.world.write(cluster)
        return cluster

    def _node(self, machine: Machine, name: str) -> NodeObject:
        cluster = self._written(machine)
        if name not in cluster.nodes:
            raise Failed(f'Error from server (NotFound): nodes "{name}" not found')
        return cluster.nodes[name]

    def _mark(self, machine: Machine, name: str, arguments: list[str]) -> None:
        marks = self._node(machine, name).marks
        for argument in arguments:
            mark, equals, value = argument.partition("=")
            if not equals:
                marks.pop(argument.removesuffix("-"), None)
                continue
            value, colon, effect = value.partition(":")
            marks[f"{mark}{colon}{effect}"] = value


def _calico_release(machine: Machine, folder: str) -> str:
    """Return the release of the manifest on a machine, by its checksum."""
    content = machine.files[f"{folder}/{artifacts.calico_manifest(OPTIONS.encapsulation)}"]
    found = [
        release
        for release, sums in SHA256["calico"].items()
        if content.removeprefix(FETCHED) in sums.values()
    ]
    return found[0] if found else str(OPTIONS.calico_version)


def _release_in(url: str) -> str:
    match = re.search(r"/v(\d+\.\d+\.\d+)/", url)
    assert match, url
    return match[1]


def _split(words: tuple[str, ...], at: str) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for word in words:
        if word == at:
            groups.append([])
        else:
            groups[-1].append(word)
    return groups
