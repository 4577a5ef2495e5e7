"""Measure both rivals, each on new docker hosts that are removed afterwards."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.final_state import FinalState, settled
from tests.bench.processes import BenchError
from tests.bench.product import ProductRun, require_no_change, run_product
from tests.bench.rival import RivalRun, run_rival
from tests.bench.sizes import Size
from tests.bench.upgrade import OLD, UpgradeRun, run_upgrade
from tests.lab import hosts
from tests.lab.hosts import Host

PRODUCT_CLUSTER = "bench-product"
SCRIPT_CLUSTER = "bench-script"
UPGRADE_CLUSTER = "bench-upgrade"


@dataclass(frozen=True)
class ProductFigures:
    """The results of the product for one size of cluster."""

    cold: ProductRun
    settling: float
    """Seconds from the end of the cold run until all pods were Ready."""
    second: ProductRun
    growth: ProductRun | None
    """The same command after a worker was added to the inventory; only with one control plane."""


@dataclass(frozen=True)
class ScriptFigures:
    """The results of the script for one size of cluster."""

    cold: RivalRun
    settling: float


@dataclass(frozen=True)
class Figures:
    """All results for one size of cluster; None for a rival that was not measured or does not support it.

    ``upgrade`` is measured for one control plane and one worker.
    """

    size: Size
    product: ProductFigures | None
    script: ScriptFigures | None
    upgrade: UpgradeRun | None = None

    @property
    def ratio(self) -> float | None:
        """Ratio of the product's to the script's seconds, cold."""
        return self.product.cold.seconds / self.script.cold.seconds if self.product and self.script else None


def measure(*, size: Size, product: bool, script: bool) -> Figures:
    """Measure one size of cluster.

    Raises:
        BenchError: a rival failed, or the two clusters differ.
    """
    script_figures = product_figures = upgrade = None
    states = []
    with tempfile.TemporaryDirectory(prefix="kubeadm-deploys-bench-") as name:
        if script and size.has_one_control_plane:
            script_figures, state = _measure_script(size=size, folder=Path(name))
            states.append(state)
        if product:
            product_figures, state = _measure_product(size=size, folder=Path(name))
            states.append(state)
        if product and size == Size(1, 1):
            upgrade = _measure_upgrade(size=size, folder=Path(name))
    if len(states) == 2 and states[0] != states[1]:
        raise BenchError(f"the clusters differ\nscript:  {states[0]}\nproduct: {states[1]}")
    return Figures(size=size, product=product_figures, script=script_figures, upgrade=upgrade)


def _measure_script(*, size: Size, folder: Path) -> tuple[ScriptFigures, FinalState]:
    kubeconfig = folder / "script.kubeconfig"
    with _fresh_hosts(cluster=SCRIPT_CLUSTER, size=size) as nodes:
        _print_start(f"{size}: script")
        cold = run_rival(hosts=nodes, kubeconfig=kubeconfig, folder=folder)
        state, settling = settled(nodes, kubeconfig=kubeconfig)
    return ScriptFigures(cold=cold, settling=settling), state


def _measure_product(*, size: Size, folder: Path) -> tuple[ProductFigures, FinalState]:
    kubeconfig = folder / "product.kubeconfig"
    run = partial(run_product, kubeconfig=kubeconfig, folder=folder)
    growth = None
    with _fresh_hosts(cluster=PRODUCT_CLUSTER, size=size) as nodes:
        _print_start(f"{size}: product, cold")
        cold = run(hosts=nodes, joining=len(nodes) - 1)
        state, settling = settled(nodes, kubeconfig=kubeconfig)
        _print_start(f"{size}: product, second run")
        second = run(hosts=nodes, joining=0)
        if size.has_one_control_plane:
            more_nodes = hosts.up(cluster=PRODUCT_CLUSTER, workers=size.workers + 1)
            _print_start(f"{size}: product, one more worker")
            growth = run(hosts=more_nodes, joining=1)
            settled(more_nodes, kubeconfig=kubeconfig)
    figures = ProductFigures(cold=cold, settling=settling, second=require_no_change(second), growth=growth)
    return figures, state


def _measure_upgrade(*, size: Size, folder: Path) -> UpgradeRun:
    kubeconfig = folder / "upgrade.kubeconfig"
    with _fresh_hosts(cluster=UPGRADE_CLUSTER, size=size, data=OLD) as nodes:
        run_product(hosts=nodes, joining=len(nodes) - 1, kubeconfig=kubeconfig, folder=folder)
        settled(nodes, kubeconfig=kubeconfig)
        _print_start(f"{size}: product, upgrade by a minor")
        return run_upgrade(hosts=nodes, kubeconfig=kubeconfig, folder=folder)


def remove_hosts() -> None:
    """Remove all docker hosts of the benchmark."""
    for cluster in (PRODUCT_CLUSTER, SCRIPT_CLUSTER, UPGRADE_CLUSTER):
        hosts.down(cluster=cluster)


@contextmanager
def _fresh_hosts(
    *, cluster: str, size: Size, data: Mapping[str, object] | None = None
) -> Iterator[list[Host]]:
    try:
        yield hosts.up(cluster=cluster, control_planes=size.control_planes, workers=size.workers, data=data)
    finally:
        hosts.down(cluster=cluster)


def _print_start(what: str) -> None:
    print(f"measuring {what}", flush=True)
