"""Effects of kubectl and etcdctl."""

import json

from kubeadm_deploys.cni.calico import CALICO
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.checksums import SHA256
from tests.simulation.cluster_readings import kustomization
from tests.simulation.commands import Part
from tests.simulation.effects import Effects, Steps
from tests.simulation.machine import (
    FETCHED,
    Machine,
)
from tests.simulation.world import OPTIONS, Failed


class ClusterScripts(Effects):
    """kubectl and etcdctl."""

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


def _calico_release(machine: Machine, folder: str) -> str:
    """Return the release of the manifest on a machine, by its checksum."""
    content = machine.files[f"{folder}/{artifacts.calico_manifest(OPTIONS.encapsulation)}"]
    found = [
        release
        for release, sums in SHA256["calico"].items()
        if content.removeprefix(FETCHED) in sums.values()
    ]
    return found[0] if found else str(OPTIONS.calico_version)


def _split(words: tuple[str, ...], at: str) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for word in words:
        if word == at:
            groups.append([])
        else:
            groups[-1].append(word)
    return groups
