"""An SSH server on the loopback, in threads of this process, that runs commands on this machine."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import paramiko
from typing_extensions import override


class SshMachine:
    """A machine for an inventory (``data``), whose connections can be cut and which can be a jump host."""

    def __init__(self) -> None:
        self.keepalives = 0
        """The number of keepalives that clients sent."""
        self.jumps: list[tuple[str, int]] = []
        """Destinations that clients reached through this machine."""
        self._key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._transports: list[paramiko.Transport] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def data(self) -> dict[str, Any]:
        """Return the host data for pyinfra's SSH connector."""
        return {
            "ssh_hostname": "127.0.0.1",
            "ssh_port": self.port,
            "ssh_user": "root",
            "ssh_password": "any",
            "ssh_strict_host_key_checking": "no",
            "ssh_known_hosts_file": "/dev/null",
        }

    def cut(self) -> None:
        """Close all connections, as a reboot does."""
        transports, self._transports = self._transports, []
        for transport in transports:
            transport.close()

    def stop(self) -> None:
        """Accept no more connections."""
        # A thread that already waits in accept() would accept one more.
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
                # A client may disconnect at once.
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
            outbound = threading.Thread(target=_copy, args=(channel, target), daemon=True)
            outbound.start()
            _copy(target, channel)
            outbound.join()


def _copy(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _run(channel: paramiko.Channel, command: bytes) -> None:
    with suppress(OSError, EOFError):
        stdin = channel.makefile("rb").read()
        result = subprocess.run(["sh", "-c", command], input=stdin, capture_output=True)
        channel.sendall(result.stdout)
        channel.sendall_stderr(result.stderr)
        channel.send_exit_status(result.returncode)
        channel.close()


@contextmanager
def ssh_machine() -> Iterator[SshMachine]:
    """Run a machine until the context ends."""
    machine = SshMachine()
    try:
        yield machine
    finally:
        machine.stop()
