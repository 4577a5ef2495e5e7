"""Effects of the run lock's commands, and of those for files, packages and units."""

import base64
import re

from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.operations import shared_pki
from kubeadm_deploys.sections import container_runtime
from tests.simulation.commands import Part
from tests.simulation.effects import Effects, Steps
from tests.simulation.machine import (
    FETCHED,
    LOCK,
    PKI,
    Machine,
)
from tests.simulation.world import Failed


class MachineScripts(Effects):
    """The run lock, files, packages and units of a machine."""

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


def _release_in(url: str) -> str:
    match = re.search(r"/v(\d+\.\d+\.\d+)/", url)
    assert match, url
    return match[1]
