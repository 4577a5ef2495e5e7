"""A program: pyinfra's SSH connector reads a machine whose server hangs, breaks off, goes away and comes back.

It prints one JSON object a line: ``when``, whether the machine was ``read``, the ``reason`` and ``reached`` of
``NotRead``, and how an operation's command fails on that connection afterwards.
"""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import json
import os
import socket
import threading
import time
from typing import ClassVar

import paramiko
from paramiko import SSHException
from paramiko.common import AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.host import Host
from pyinfra.context import ctx_config, ctx_inventory, ctx_state

from kubeadm_deploys.connections import guard_connections
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.facts.reading import NotRead, ask
from tests.fake_answers import framed

ANSWER = "\n".join(framed("KubeadmNode", ["machine-id abc", "have:kubelet.conf"])) + "\n"
KEY = paramiko.RSAKey.generate(2048)


class Machine(paramiko.ServerInterface):
    """Whoever logs in and whatever runs there; ``doing`` is how commands end."""

    doing: ClassVar = "answers"
    transports: ClassVar[list[paramiko.Transport]] = []

    def check_auth_password(self, username: str, password: str) -> int:
        return AUTH_SUCCESSFUL

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._run, args=(channel,)).start()
        return True

    def _run(self, channel: paramiko.Channel) -> None:
        if Machine.doing == "hangs":
            return
        if Machine.doing == "breaks off":
            channel.send(ANSWER[: len(ANSWER) // 2].encode())
            channel.get_transport().close()
            return
        channel.send(ANSWER.encode())
        channel.send_exit_status(0)
        channel.close()


def serve(port: int = 0) -> socket.socket:
    """Listen, and let everybody in."""
    listener = socket.create_server(("127.0.0.1", port))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(KEY)
            transport.start_server(server=Machine())
            Machine.transports.append(transport)

    threading.Thread(target=accept, daemon=True).start()
    return listener


def tell(host: Host, when: str, *, seconds: int = 10) -> None:
    """Read the machine, and say how it went."""
    try:
        found = ask(host, KubeadmNode, seconds=seconds)
        said = {"read": found.machine_id == "abc", "reason": "", "reached": False, "command": ""}
    except NotRead as error:
        said = {"read": False, "reason": error.reason, "reached": error.reached, "command": command(host)}
    print(json.dumps({"when": when, **said}), flush=True)


def command(host: Host) -> str:
    """What an operation's command ends with."""
    try:
        host.run_shell_command("true", _timeout=2)
    except (TimeoutError, OSError, SSHException) as error:
        return type(error).__name__
    except Exception as error:
        return f"a traceback: {error!r}"
    return "success"


def main() -> None:
    """The machine's day."""
    listener = serve()
    port = listener.getsockname()[1]
    data = {
        "ssh_port": port,
        "ssh_user": "root",
        "ssh_password": "x",
        "ssh_strict_host_key_checking": "no",
        "ssh_known_hosts_file": "/dev/null",
    }
    inventory = Inventory((["127.0.0.1"], data))
    state = State(inventory, Config())
    connect_all(state)
    guard_connections(state)
    host = inventory.get_host("127.0.0.1")
    with ctx_state.use(state), ctx_inventory.use(inventory), ctx_config.use(state.config):
        tell(host, "up")
        for doing, back in (("hangs", "up after it hung"), ("breaks off", "up after it broke off")):
            Machine.doing = doing
            tell(host, doing, seconds=1 if doing == "hangs" else 10)
            Machine.doing = "answers"
            tell(host, back)
        listener.close()
        for transport in Machine.transports:
            transport.close()
        time.sleep(0.5)
        tell(host, "down")
        tell(host, "still down")
        serve(port)
        tell(host, "up again")


if __name__ == "__main__":
    main()
    # The server's threads wait for ever.
    os._exit(0)
