"""What the effects of all commands share."""

from collections.abc import Iterator

from tests.simulation.cluster import Cluster, NodeObject
from tests.simulation.machine import (
    Machine,
)
from tests.simulation.world import Failed, World

Steps = Iterator[str]
"""The steps of a command; each yield marks a finished step."""


class Effects:
    """A world in which commands have effects; a command puts its output lines into ``printed``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.printed: list[str] = []

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
