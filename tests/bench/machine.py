"""The machine that is measured, and its other load."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from tests.lab import hosts


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that influence the results."""

    cores: int
    processor: str
    memory_gib: float
    kernel: str
    load: float
    """Load average of the last minute before the benchmark starts."""
    other_hosts: int
    """Running docker hosts that do not belong to the benchmark."""

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gib:.0f} GiB, Linux {self.kernel}; "
            f"load {self.load:.1f} and {self.other_hosts} other docker hosts at the start"
        )

    @property
    def is_quiet(self) -> bool:
        """Whether seconds can be compared between runs; if not, only ratios within a run can."""
        return self.load < 1 and not self.other_hosts


def this_machine() -> Machine:
    """Return the local machine; with DOCKER_HOST the docker hosts run elsewhere."""
    return Machine(
        cores=os.cpu_count() or 0,
        processor=processor(Path("/proc/cpuinfo").read_text()),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        kernel=platform.release(),
        load=os.getloadavg()[0],
        other_hosts=sum(host.running for host in hosts.list_hosts()),
    )


def processor(cpuinfo: str) -> str:
    """Return the first processor's name in /proc/cpuinfo, or the architecture if it has none."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, platform.machine())
