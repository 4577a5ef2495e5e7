"""The rival: script.sh on docker hosts, measured from outside."""

from dataclasses import dataclass
from pathlib import Path

from kubeadm_deploys import ClusterOptions, artifacts
from tests.bench.processes import run_timed
from tests.lab.hosts import Host

SCRIPT = Path(__file__).parent / "script.sh"


@dataclass(frozen=True)
class RivalRun:
    """One run of the script."""

    seconds: float
    milestones: dict[str, float]
    """Seconds from the start at which the script says that something is done; much of it overlaps."""


def run_rival(*, hosts: list[Host], kubeconfig: Path, folder: Path) -> RivalRun:
    """Run the script on fresh docker hosts; `folder` is for files that may be overwritten."""
    finished = run_timed(
        ("bash", str(SCRIPT)),
        environment=settings(hosts=hosts, kubeconfig=kubeconfig),
        stdout=folder / "script.out",
    )
    milestones = {
        line.text.removeprefix(_DONE): line.seconds for line in finished.lines if line.text.startswith(_DONE)
    }
    return RivalRun(seconds=finished.seconds, milestones=milestones)


_DONE = "done: "


def settings(*, hosts: list[Host], kubeconfig: Path) -> dict[str, str]:
    """What the script takes from its environment: the same hosts, versions and mirror that the product gets."""
    data = hosts[0].data
    options = ClusterOptions(cluster_name=data["cluster_name"])
    return {
        "HOSTS": " ".join(f"{host.name}={host.address}" for host in hosts),
        "ENDPOINT": options.endpoint,
        "CLUSTER_NAME": options.cluster_name,
        "POD_SUBNET": options.pod_subnet,
        "SERVICE_SUBNET": options.service_subnet,
        "KUBERNETES_VERSION": options.kubernetes_version,
        "CONTAINERD_VERSION": options.containerd_version,
        "RUNC_VERSION": options.runc_version,
        "CNI_PLUGINS_VERSION": options.cni_plugins_version,
        "CALICO_VERSION": options.calico_version,
        "SANDBOX_IMAGE": artifacts.SANDBOX_IMAGES[options.kubernetes_minor],
        "MIRROR": str(data.get("mirror", "")),
        "KUBECONFIG_FILE": str(kubeconfig),
    }
