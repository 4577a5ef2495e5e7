"""Effects of kubeadm, and of the commands that change static pods, kubelets and kube-proxy."""

import base64
import json

import yaml

from tests.simulation import kubeadm, kubeadm_upgrade
from tests.simulation.cluster import KUBE_PROXY_PODS, KUBE_PROXY_UNFINISHED
from tests.simulation.commands import Part
from tests.simulation.effects import Effects, Steps
from tests.simulation.machine import (
    BOOTSTRAP_CONF,
    KUBELET_CONFIG,
    NEW_CERTIFICATE,
    OLD,
    PKI,
    Machine,
    manifest,
)
from tests.simulation.world import Failed

SWAPPED = "/etc/kubernetes/tmp/kubeadm-backup-manifests-kubeadm-deploys"
"""Where the old manifest is while there is none."""


class KubeadmScripts(Effects):
    """kubeadm, static pods, kubelets and kube-proxy."""

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
