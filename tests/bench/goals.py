"""The goals, and whether the results meet them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench.measurement import Figures
from tests.bench.sizes import Size

COLD_RATIO = 1.25
SECOND_RUN_SECONDS = 10
SECOND_RUN_COMMANDS = 5
GROWTH = 1.25
"""How much longer four hosts may take than two if the machine has enough cores: "close to flat"."""


@dataclass(frozen=True)
class Goal:
    """One goal, with its measured value."""

    text: str
    measured: str
    met: bool


def goals(sizes: Sequence[Figures]) -> Iterator[Goal]:
    """Yield all goals that apply to the measured sizes."""
    for figures in sizes:
        if figures.ratio:
            yield Goal(
                text=f"{figures.size}: cold run at most {COLD_RATIO} times the script",
                measured=f"{figures.ratio:.2f}",
                met=figures.ratio <= COLD_RATIO,
            )
        if figures.product and figures.size == Size(1, 1):
            seconds = figures.product.second.seconds
            yield Goal(
                text=f"{figures.size}: second run under {SECOND_RUN_SECONDS} s",
                measured=f"{seconds:.1f} s",
                met=seconds < SECOND_RUN_SECONDS,
            )
        if figures.product:
            commands = max(host.commands for host in figures.product.second.hosts.values())
            yield Goal(
                text=f"{figures.size}: second run at most {SECOND_RUN_COMMANDS} remote commands per host",
                measured=str(commands),
                met=commands <= SECOND_RUN_COMMANDS,
            )
    # Control planes join one after the other, so only workers can be added without taking longer.
    if growing := [figures for figures in sizes if figures.size.has_one_control_plane]:
        yield from _growth_goals(growing[0], growing[-1])


def _growth_goals(small: Figures, big: Figures) -> Iterator[Goal]:
    if small.size >= big.size or not (small.product and big.product):
        return
    script = ""
    if small.script and big.script:
        script = f" (script: {big.script.cold.seconds / small.script.cold.seconds:.2f})"
    for name, seconds, fewer, note in (
        ("cold run", big.product.cold.seconds, small.product.cold.seconds, script),
        ("second run", big.product.second.seconds, small.product.second.seconds, ""),
    ):
        yield Goal(
            text=f"{small.size} to {big.size}: {name} at most {GROWTH} times as long",
            measured=f"{seconds / fewer:.2f}{note}",
            met=seconds / fewer <= GROWTH,
        )
