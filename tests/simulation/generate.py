"""Generate random histories from seeds."""

import random
from dataclasses import replace

from tests.simulation.history import Command, Event, History, Host, Step

_STRANGE = ("foreign worker", "foreign control plane", "etcd", "docker")


def generate(seed: int) -> tuple[History, random.Random]:
    """Return the history of a seed without faults, and the dice that make its faults while it is played."""
    dice = random.Random(seed)
    hosts = _hosts(dice)
    return History(hosts=hosts, steps=tuple(_steps(dice, hosts))), dice


def _hosts(dice: random.Random) -> tuple[Host, ...]:
    control_planes = dice.choices((1, 2, 3, 4, 5), (35, 12, 35, 6, 12))[0]
    workers = dice.choices(range(9), (18, 28, 20, 14, 8, 5, 3, 2, 2))[0]
    lives = dice.random() < 0.65
    members = dice.choices((1, dice.randrange(1, control_planes + 1), control_planes), (35, 20, 45))[0]
    # The cluster is only its control plane: no worker shows that a cluster exists.
    young = members == 1 and dice.random() < 0.5
    hosts = []
    for number in range(1, control_planes + 1):
        begins = "member" if lives and number <= members else _begins(dice, half=19)
        hosts.append(Host(name=f"cp-{number}", begins=begins))
    for number in range(1, workers + 1):
        joined = lives and not young and dice.random() < 0.7
        begins = "member" if joined else _begins(dice, half=7 if lives else 0)
        hosts.append(Host(name=f"worker-{number}", begins=begins))
    if dice.random() < 0.2:
        which = dice.randrange(len(hosts))
        if hosts[which].begins != "member":
            hosts[which] = Host(name=hosts[which].name, begins=dice.choice(_STRANGE))
    return tuple(hosts)


def _begins(dice: random.Random, *, half: int) -> str:
    kind = dice.choices(("bare", "prepared", "half"), (25, 55, 20 if half else 0))[0]
    return f"half {dice.randrange(1, half)}" if kind == "half" else kind


def _steps(dice: random.Random, hosts: tuple[Host, ...]) -> list[Step]:
    steps: list[Step] = []
    for _ in range(dice.choices((1, 2, 3), (35, 45, 20))[0]):
        if dice.random() < 0.4:
            what = dice.choices(
                ("reboots", "stops", "dies", "replaced", "node deleted"), (20, 35, 12, 15, 18)
            )[0]
            steps.append(Event(what=what, machine=_important(dice, hosts).name))
        first = _command(dice, hosts)
        if dice.random() < 0.25:
            second = _command(dice, hosts)
            # At once, a little later, or after a lock that is not renewed has expired.
            after = round(
                dice.choice((0.0, dice.random() * 20, dice.random() * 150, 190 + dice.random() * 200)), 1
            )
            if dice.random() < 0.4:
                # While the first operator looks at the plan, or after the first run.
                first = replace(first, prompt=round(dice.random() * 300, 1))
            steps.append((first, replace(second, operator="bob", after=after)))
        else:
            steps.append((first,))
        if first.deploy == "remove_node.py" and dice.random() < 0.5:
            node = first.arguments[0].removeprefix("--data=node=")
            steps.append(Event(what="forgotten", machine=node.removeprefix("--limit=@fake/")))
    return steps


def _important(dice: random.Random, hosts: tuple[Host, ...]) -> Host:
    """Choose a machine: control planes rather than workers, and most often the first one, which leads."""
    weights = [10 if host.name == "cp-1" else 3 if host.control_plane else 1 for host in hosts]
    return dice.choices(hosts, weights)[0]


def _command(dice: random.Random, hosts: tuple[Host, ...]) -> Command:
    members = [host for host in hosts if host.begins == "member"]
    weights = (58, 4, 26, 12) if members else (80, 4, 8, 8)
    deploy = dice.choices(("cluster.py", "preflight.py", "remove_node.py", "reset.py"), weights)[0]
    name = dice.choice(members if members and dice.random() < 0.7 else hosts).name
    force = ("--data=force=true",) if dice.random() < 0.35 else ()
    limit = (f"--limit={dice.choice(('control_plane', 'workers', f'@fake/{name}'))}",)
    if deploy == "remove_node.py":
        node = f"--limit=@fake/{name}" if dice.random() < 0.2 else f"--data=node={name}"
        return Command(deploy=deploy, arguments=(node, *force))
    if deploy == "reset.py":
        limited = limit if dice.random() < 0.5 else ()
        return Command(deploy=deploy, arguments=("--data=confirm=kubernetes", *limited, *force))
    return Command(deploy=deploy, arguments=limit if dice.random() < 0.2 else ())
