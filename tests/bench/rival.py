"""The rival: script.sh on docker hosts, measured from outside."""

from dataclasses import dataclass
from pathlib import Path

from kubeadm_deploys import ClusterOptions
from kubeadm_deploys.model import artifacts
from tests.bench.processes import run_timed
from tests.lab.hosts import Host

SCRIPT = Path(__file__).parent / "script.sh"


@dataclass(frozen=True)
class RivalRun:
    """One run of the script."""

    seconds: float
    milestones: dict[str, float]
    """Seconds from the start until each step was done; steps overlap."""


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
    """Return the script's environment: the same hosts, versions and mirror as for the product."""
    data = hosts[0].data
    options = ClusterOptions(cluster_name=data["cluster_name"])
    return {
        "HOSTS": " ".join(f"{host.name}={host.address}" for host in hosts),
        "ENDPOINT": options.endpoint,
        "CLUSTER_NAME": options.cluster_name,
        "POD_SUBNET": str(options.pod_subnet),
        "SERVICE_SUBNET": str(options.service_subnet),
        "KUBERNETES_VERSION": options.release("kubernetes"),
        "CONTAINERD_VERSION": options.release("containerd"),
        "RUNC_VERSION": options.release("runc"),
        "CNI_PLUGINS_VERSION": options.release("cni_plugins"),
        "CALICO_VERSION": options.release("calico"),
        "SANDBOX_IMAGE": artifacts.SANDBOX_IMAGES[options.kubernetes_minor],
        "MIRROR": str(data.get("mirror", "")),
        "KUBECONFIG_FILE": str(kubeconfig),
    }
