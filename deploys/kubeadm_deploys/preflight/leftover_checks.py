"""Checks for settings of other software that would override this project's own.

Sources: Kubernetes documentation, "Network Plugins" (the first file in /etc/cni/net.d by name counts), "Ports and
Protocols"; Calico documentation, "System requirements" and "Troubleshooting" (NetworkManager); Debian's
sources.list(5); systemd's sysctl.d(5); modprobe.d(5).
"""

import re
from collections.abc import Iterator

from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.findings import Finding
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.machine_checks import CandidateNode
from kubeadm_deploys.sections.kube_packages import SOURCES_FILE

_OWN_FLAGS = frozenset(
    {
        "node-ip",
        "cloud-provider",
        "provider-id",
        "config",
        "config-dir",
        "kubeconfig",
        "bootstrap-kubeconfig",
        "container-runtime-endpoint",
        "hostname-override",
        "resolv-conf",
        "cgroup-driver",
        "register-node",
    }
)
"""Flags of the kubelet that kubeadm and this project set; the last one on the command line counts."""

_KUBELET_UNIT = "/etc/systemd/system/kubelet.service"

_NODE_PORTS = "30000-32767"


def leftover_findings(candidate: CandidateNode, *, options: ClusterOptions) -> Iterator[Finding]:
    """Yield findings about what overrides this project's settings on a machine."""
    yield from _cni_configurations(candidate, options)
    yield from _kubelet(candidate)
    yield from _boot(candidate)
    yield from _apt_sources(candidate, options)
    yield from _firewalls(candidate, options)
    yield from _network_managers(candidate, options)
    for path, reason in candidate.machine.broken_drop_ins.items():
        yield candidate.error(
            "containerd-drop-in",
            found=f"has {path}, with which containerd would not start again: {reason}",
            fix="correct it, or move it away",
        )


def _cni_configurations(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    own = cni_of(options).configuration
    if not own:
        return
    others = [name for name in candidate.machine.cni_configurations if name != own]
    first = [name for name in others if name < own]
    fix = "move it away, and restart containerd"
    if first:
        yield candidate.error(
            "cni-configuration",
            found=f"has /etc/cni/net.d/{first[0]}, which gives pods another network because it sorts before {own}",
            fix=fix,
        )
    elif others:
        yield candidate.warning(
            "cni-configuration",
            found=f"has /etc/cni/net.d/{others[0]}, which gives pods another network whenever {own} is missing",
            fix=fix,
        )


def _kubelet(candidate: CandidateNode) -> Iterator[Finding]:
    machine = candidate.machine
    flags = re.findall(r"--([a-z-]+)", machine.kubelet_arguments)
    overridden = [flag for flag in flags if flag in _OWN_FLAGS]
    if overridden:
        yield candidate.error(
            "kubelet-arguments",
            found=f"sets --{', --'.join(overridden)} in KUBELET_EXTRA_ARGS of /etc/default/kubelet, which overrides ours",
            fix="remove it there; node_ip, provider_id and kubelet_configuration set the same",
        )
    elif machine.kubelet_arguments:
        yield candidate.warning(
            "kubelet-arguments",
            found=f"has KUBELET_EXTRA_ARGS={machine.kubelet_arguments} in /etc/default/kubelet",
            fix="check that it is still wanted; kubelet_configuration sets the same for all nodes",
        )
    for path in machine.kubelet_units:
        if path == _KUBELET_UNIT:
            yield candidate.error(
                "kubelet-arguments",
                found=f"has {path}, which replaces the unit of the kubelet's package",
                fix="remove it, and run 'systemctl daemon-reload'",
            )
        else:
            yield candidate.warning(
                "kubelet-arguments",
                found=f"has {path}, which changes the unit of the kubelet's package",
                fix="check that it is still wanted",
            )


def _boot(candidate: CandidateNode) -> Iterator[Finding]:
    """Yield what works until the machine boots again."""
    machine = candidate.machine
    for path, key in machine.sysctl_files.items():
        yield candidate.error(
            "sysctl-files",
            found=f"has {key} = 0 in {path}, which is applied after our file and overrides it",
            fix="remove the line",
        )
    for module, path in machine.blocked_modules.items():
        yield candidate.error(
            "blocked-modules",
            found=f"has {module} blocked in {path}, so it is not loaded at boot",
            fix="remove the line",
        )
    for path in machine.containerd_units:
        yield candidate.warning(
            "containerd-unit",
            found=f"has {path}, which replaces the command of our containerd.service",
            fix="remove its ExecStart, and run 'systemctl daemon-reload'",
        )


def _apt_sources(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    repository = artifacts.kubernetes_apt_repository(options.kubernetes_minor)
    own = {
        _normal(repository),
        _normal(artifacts.mirrored(url=repository, mirror=options.mirror)),
    }
    for path, url in candidate.machine.apt_sources.items():
        if path != SOURCES_FILE and _normal(url) in own:
            yield candidate.error(
                "apt-sources",
                found=(
                    f"has the repository {url} in {path} too; with another Signed-By, apt reads no repository at all"
                ),
                fix=f"remove it: this project writes {SOURCES_FILE}",
            )


def _normal(url: str) -> str:
    return url.rstrip("/")


def _firewalls(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    if not candidate.machine.firewalls:
        return
    needed = ["10250/tcp", *(["6443/tcp", "2379-2380/tcp"] if candidate.control_plane else [])]
    needed += [*cni_of(options).ports(options), f"{_NODE_PORTS}/tcp and udp"]
    yield candidate.warning(
        "firewall",
        found=f"may drop incoming traffic: {', '.join(candidate.machine.firewalls)}",
        fix=f"allow {', '.join(needed)} from the other nodes, and everything from the pod subnet {options.pod_subnet}",
    )


def _network_managers(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    devices = cni_of(options).devices
    if candidate.machine.network_managers and devices:
        names = ";".join(f"interface-name:{name}*" for name in devices)
        yield candidate.warning(
            "network-manager",
            found=f"{', '.join(candidate.machine.network_managers)} may configure the pods' interfaces",
            fix=f"exclude them, in NetworkManager with unmanaged-devices={names} in a file of conf.d",
        )
