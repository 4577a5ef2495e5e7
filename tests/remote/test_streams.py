"""Reading what a command prints as bytes, and writing what it reads, over SSH and on this machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.command import StringCommand
from pyinfra.api.connect import connect_all
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.context import ctx_config, ctx_inventory, ctx_state

from kubeadm_deploys.remote.connections import NoAnswer
from kubeadm_deploys.remote.streams import Sink, Source, read_from, write_to
from tests.support.pyinfra_hosts import fake_hosts, using
from tests.support.ssh_machine import SshMachine, ssh_machine


@pytest.fixture(scope="module")
def machine() -> Iterator[SshMachine]:
    with ssh_machine() as machine:
        yield machine


@pytest.fixture(params=["ssh", "local"])
def host(request: pytest.FixtureRequest, machine: SshMachine) -> Iterator[Host]:
    names = [("machine", machine.data)] if request.param == "ssh" else [("@local", {})]
    inventory = Inventory((names, {}))
    state = State(inventory, Config())
    with using(ctx_state, state), using(ctx_inventory, inventory), using(ctx_config, state.config):
        connect_all(state)
        yield next(iter(inventory))


def test_every_byte_arrives(host: Host, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "file").write_bytes(content)
    found: list[bytes] = []

    def consume(source: Source) -> None:
        found.append(source.readline(100))
        while piece := source.read(1000):
            found.append(piece)

    done, output = read_from(host, StringCommand(f"echo first; cat {tmp_path}/file"), consume)
    assert (done, output.output_lines) == (True, [])
    assert found[0] == b"first\n"
    assert b"".join(found[1:]) == content


def test_a_command_that_fails_gives_its_errors(host: Host) -> None:
    def consume(source: Source) -> None:
        assert source.readline(100) == b""

    done, output = read_from(host, StringCommand("echo no room >&2; exit 3"), consume)
    assert (done, output.stderr) == (False, "no room")


def test_reading_may_stop_before_the_end(host: Host) -> None:
    done, output = read_from(host, StringCommand("head -c 300000 /dev/zero"), lambda source: source.read(10))
    assert (done, output.output_lines) == (False, [])


def test_an_error_of_the_reader_ends_the_command(host: Host) -> None:
    def consume(source: Source) -> None:
        raise DeployError("no room here")

    with pytest.raises(DeployError, match="no room here"):
        read_from(host, StringCommand("echo first"), consume)


def test_a_lost_connection_is_no_answer() -> None:
    with ssh_machine() as machine:
        inventory = Inventory(([("machine", machine.data)], {}))
        state = State(inventory, Config())
        with using(ctx_state, state), using(ctx_inventory, inventory), using(ctx_config, state.config):
            connect_all(state)

            def consume(source: Source) -> None:
                machine.cut()
                while source.read(1000):
                    pass

            with pytest.raises(NoAnswer, match="the connection was lost"):
                read_from(next(iter(inventory)), StringCommand("sleep 2"), consume)


def test_other_connectors_are_refused() -> None:
    with fake_hosts({"machine": {}}) as state, pytest.raises(DeployError, match="connect by SSH"):
        read_from(next(iter(state.inventory)), StringCommand("true"), lambda source: source.read(1))


def test_every_byte_is_written(host: Host, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096

    def produce(sink: Sink) -> None:
        for start in range(0, len(content), 100_000):
            sink.write(content[start : start + 100_000])

    done, output = write_to(host, StringCommand(f"cat > {tmp_path}/written; echo stored >&2"), produce)
    assert (done, output.stderr) == (True, "stored")
    assert (tmp_path / "written").read_bytes() == content


def test_a_command_that_stops_reading_gives_its_errors(host: Host) -> None:
    def produce(sink: Sink) -> None:
        for _ in range(1000):
            sink.write(bytes(100_000))

    done, output = write_to(host, StringCommand("head -c 10 > /dev/null; echo no room >&2; exit 3"), produce)
    assert (done, output.stderr) == (False, "no room")


def test_a_producer_that_fails_ends_the_input(host: Host, tmp_path: Path) -> None:
    def produce(sink: Sink) -> None:
        sink.write(b"half")
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        write_to(host, StringCommand(f"cat > {tmp_path}/partial; exit 1"), produce)
