"""Run what docs/disaster.md says on a cluster."""

from collections.abc import Mapping

from tests.e2e.conftest import ROOT, Cluster, Run, run_command
from tests.support import disaster_page


def arguments(cluster: Cluster, section: str, deploy: str, **values: str) -> list[str]:
    """Return pyinfra's arguments for the section's run of a deploy, with these values of its data.

    The inventory is that of the docker hosts; they need CLUSTER in the environment.
    """
    (words,) = [words for name, words in disaster_page.deploys(section) if name == deploy]
    words = disaster_page.filled(words, {"confirm": cluster.name, **values})
    words[1:3] = [str(ROOT / "inventories/docker.py"), str(ROOT / words[2])]
    return [*words, f"--data=kubeconfig={cluster.kubeconfig}"]


def run(
    cluster: Cluster,
    section: str,
    deploy: str,
    *more: str,
    environment: Mapping[str, str] | None = None,
    **values: str,
) -> Run:
    """Run a deploy as the section says, with some ``more`` arguments."""
    return run_command(
        *arguments(cluster, section, deploy, **values),
        *more,
        environment={"CLUSTER": cluster.name, **(environment or {})},
    )


def as_root(cluster: Cluster, section: str, *, host: str) -> str:
    """Run the section's commands for root on a control plane, in one shell that ends at the first failure."""
    return cluster.shell(host, "\n".join(["set -e", *disaster_page.commands(section, prompt="#")]))
