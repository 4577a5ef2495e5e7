"""The machine that is measured, and what else it is doing."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from tests.lab import hosts


@dataclass(frozen=True)
class Machine:
    """What figures depend on."""

    cores: int
    processor: str
    memory_gib: float
    kernel: str
    load: float
    """Processes that want to run, averaged over the last minute, before the benchmark starts."""
    other_hosts: int
    """Docker hosts that run beside those of the benchmark."""

    def __str__(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_gib:.0f} GiB, Linux {self.kernel}; "
            f"load {self.load:.1f} and {self.other_hosts} other docker hosts at the start"
        )

    @property
    def is_quiet(self) -> bool:
        """Whether its seconds mean something; otherwise only the ratios of one run do."""
        return self.load < 1 and not self.other_hosts


def this_machine() -> Machine:
    """The machine that this runs on; with DOCKER_HOST the docker hosts would be elsewhere."""
    return Machine(
        cores=os.cpu_count() or 0,
        processor=processor(Path("/proc/cpuinfo").read_text()),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        kernel=platform.release(),
        load=os.getloadavg()[0],
        other_hosts=sum(host.running for host in hosts.list_hosts()),
    )


def processor(cpuinfo: str) -> str:
    """The first processor's name from /proc/cpuinfo; some architectures have none there."""
    names = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    return next(names, platform.machine())
