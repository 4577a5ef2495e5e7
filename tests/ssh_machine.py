"""An SSH server on the loopback, in threads of this process, that runs what it is asked for on this machine."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import paramiko
from typing_extensions import override


class SshMachine:
    """A machine as an inventory has it (``data``), whose connections can be cut and which can jump to others."""

    def __init__(self) -> None:
        self.keepalives = 0
        """How often a client has sent something to find out whether it is there."""
        self.jumps: list[tuple[str, int]] = []
        """Where clients went through it."""
        self._key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._transports: list[paramiko.Transport] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def data(self) -> dict[str, Any]:
        """How pyinfra connects to it."""
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": "root",
            "ssh_password": "any",
            "ssh_strict_host_key_checking": "no",
            "ssh_known_hosts_file": "/dev/null",
        }

    def cut(self) -> None:
        """Lose all connections, as a machine does that reboots."""
        transports, self._transports = self._transports, []
        for transport in transports:
            transport.close()

    def stop(self) -> None:
        """Take no connection any more."""
        # What waits in accept() would take one more.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                transport = paramiko.Transport(client)
                transport.add_server_key(self._key)
                # One that ends at once is nobody's error here.
                with suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=_Server(self))
                    self._transports.append(transport)


class _Server(paramiko.ServerInterface):
    def __init__(self, machine: SshMachine) -> None:
        self._machine = machine

    @override
    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL  # type: ignore[attr-defined,no-any-return]

    @override
    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return paramiko.AUTH_SUCCESSFUL  # type: ignore[attr-defined,no-any-return]

    @override
    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    @override
    def check_global_request(self, kind: str, msg: paramiko.Message) -> bool:
        self._machine.keepalives += kind == "keepalive@lag.net"
        return False

    @override
    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED  # type: ignore[attr-defined,no-any-return]

    @override
    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_run, args=(channel, command), daemon=True).start()
        return True

    @override
    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        self._machine.jumps.append(destination)
        threading.Thread(target=self._forward, args=(destination,), daemon=True).start()
        return paramiko.OPEN_SUCCEEDED  # type: ignore[attr-defined,no-any-return]

    def _forward(self, destination: tuple[str, int]) -> None:
        channel = self._machine._transports[-1].accept(10)
        assert channel
        with socket.create_connection(destination) as target:
            there = threading.Thread(target=_copy, args=(channel, target), daemon=True)
            there.start()
            _copy(target, channel)
            there.join()


def _copy(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _run(channel: paramiko.Channel, command: bytes) -> None:
    with suppress(OSError, EOFError):
        given = channel.makefile("rb").read()
        done = subprocess.run(["sh", "-c", command], input=given, capture_output=True)
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


@contextmanager
def ssh_machine() -> Iterator[SshMachine]:
    """A machine that is there for a while."""
    machine = SshMachine()
    try:
        yield machine
    finally:
        machine.stop()
