"""Answer the product's readings from the state of simulated machines, as the scripts would."""

import json
import re
from collections.abc import Callable

from kubeadm_deploys.operations import shared_pki
from tests.simulation.answering import Lines, authority_of, encoded
from tests.simulation.cluster_readings import ClusterReadings
from tests.simulation.commands import Part
from tests.simulation.machine import (
    ADMIN_CONF,
    PKI,
    Machine,
)
from tests.simulation.machine_readings import MachineReadings
from tests.simulation.world import Failed, server_of


class Readings(MachineReadings, ClusterReadings):
    """Answers to readings: for each a method of its name, which returns lines or raises ``Failed``."""

    def answer(self, machine: Machine, part: Part) -> tuple[Lines, float]:
        """Return the lines that a machine prints, and the seconds that it takes.

        Raises:
            Failed: the script fails; an optional second argument is the seconds that it took.
        """
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", part.name).lower()
        method: Callable[[Machine, Part], Lines] | None = getattr(self, name, None)
        if method is None:
            raise AssertionError(f"unknown reading {part.name}")
        return method(machine, part), 0.5

    # Readings of files that go to other machines or the operator.

    def admin_conf(self, machine: Machine, part: Part) -> Lines:
        """sections/readiness.py"""
        if ADMIN_CONF not in machine.files:
            raise Failed(f"cat: {ADMIN_CONF}: No such file or directory")
        config = machine.files[ADMIN_CONF]
        own = {"server": server_of(config), "certificate-authority-data": authority_of(config)}
        document = {
            "clusters": [{"name": "kubernetes", "cluster": own}],
            "users": [{"name": "kubernetes-admin", "user": {}}],
            "contexts": [],
        }
        return [json.dumps(document)]

    def shared_pki(self, machine: Machine, part: Part) -> Lines:
        """operations/shared_pki.py"""
        missing = [file for file in shared_pki.FILES if f"{PKI}/{file}" not in machine.files]
        if missing:
            raise Failed(f"missing or empty in {PKI}: {' '.join(missing)}")
        return [f"{file} {encoded(machine.files[f'{PKI}/{file}'])}" for file in shared_pki.FILES]
