"""A program in which pyinfra's SSH connector reads a machine whose server hangs, breaks off and restarts.

It prints one JSON object per line: ``when``, whether the machine was ``read``, the ``reason`` and ``reached``
of ``NotRead``, and how an operation's command fails on that connection afterwards.
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

from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.remote.connections import guard_connections
from kubeadm_deploys.remote.reading import NotRead, ask
from tests.support.fake_answers import framed
from tests.support.pyinfra_hosts import using

ANSWER = "\n".join(framed("KubeadmNode", ["machine-id abc", "have:kubelet.conf"])) + "\n"
KEY = paramiko.RSAKey.generate(2048)


class Machine(paramiko.ServerInterface):
    """A server that accepts every login and command; ``doing`` is how commands end."""

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
    """Listen, and accept every login."""
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


def _report(host: Host, when: str, *, seconds: int = 10) -> None:
    """Read the machine, and print the result."""
    try:
        found = ask(host, KubeadmNode, seconds=seconds)
        result = {"read": found.machine_id == "abc", "reason": "", "reached": False, "command": ""}
    except NotRead as error:
        result = {"read": False, "reason": error.reason, "reached": error.reached, "command": command(host)}
    print(json.dumps({"when": when, **result}), flush=True)


def command(host: Host) -> str:
    """Run an operation's command, and return how it ends."""
    try:
        host.run_shell_command("true", _timeout=2)
    except (TimeoutError, OSError, SSHException) as error:
        return type(error).__name__
    except Exception as error:
        return f"a traceback: {error!r}"
    return "success"


def main() -> None:
    """Read the machine in every state of its server."""
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
    with using(ctx_state, state), using(ctx_inventory, inventory), using(ctx_config, state.config):
        _report(host, "up")
        for doing, back in (("hangs", "up after it hung"), ("breaks off", "up after it broke off")):
            Machine.doing = doing
            _report(host, doing, seconds=1 if doing == "hangs" else 10)
            Machine.doing = "answers"
            _report(host, back)
        listener.close()
        for transport in Machine.transports:
            transport.close()
        time.sleep(0.5)
        _report(host, "down")
        _report(host, "still down")
        serve(port)
        _report(host, "up again")


if __name__ == "__main__":
    main()
    # The server's threads never end.
    os._exit(0)
