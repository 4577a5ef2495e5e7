"""Which member's snapshot a backup has, and what its manifest and options say."""

import hashlib
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Host
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_host

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.documents.backup_file import Source
from kubeadm_deploys.lifecycle import backup
from kubeadm_deploys.lifecycle.backup import Snapshot, backup_path, in_order, options_text
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote import streams
from kubeadm_deploys.remote.connections import NoAnswer
from tests.support.machines import TOPOLOGY, A, B, C
from tests.support.pyinfra_hosts import fake_hosts, using

DB = b"snapshot"


def sent(*, revision: int, before: str = "", db: bytes = DB) -> bytes:
    """Return what scripts/send-snapshot.sh prints."""
    status = json.dumps({"hash": 1, "revision": revision, "totalKey": 2, "totalSize": 3, "version": "3.6.0"})
    line = f"{backup._MARK} {len(DB)} {hashlib.sha256(DB).hexdigest()} {status}"
    return f"{before}\n{line}\n".encode() + db


def nodes(*names: str) -> list[Node]:
    return [Node(host=f"@fake/{name}", name=name, ip="10.0.0.1", address="") for name in names]


def asked(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, bytes | str | Exception], *, revision: int = 10
) -> tuple[str, bytes]:
    """Ask members, whose answers are output, errors or exceptions; return which gave the snapshot, and it."""
    took: list[tuple[str, bytes]] = []
    last = ""

    def read_from(host: Host, command: object, consume: Callable[[io.BytesIO], None]) -> Any:
        nonlocal last
        last = host.name.removeprefix("@fake/")
        answer = answers[last]
        if isinstance(answer, Exception):
            raise answer
        consume(io.BytesIO(answer if isinstance(answer, bytes) else b""))
        errors = [OutputLine("stderr", answer)] if isinstance(answer, str) else []
        return not errors, CommandOutput(errors)

    def write(found: Snapshot, source: Source) -> None:
        content = b""
        while len(content) < found.size:
            content += source.read(3)
        took.append((last, content))

    monkeypatch.setattr(streams, "read_from", read_from)
    monkeypatch.setattr(backup, "ask", lambda machine, fact, seconds: revision)
    with fake_hosts({name: {} for name in answers}) as state:
        host = next(iter(state.inventory))
        with using(ctx_host, host):
            backup._from_any_member(host, nodes(*answers), write)
    (only,) = took
    return only


def test_a_snapshot_with_every_acknowledged_write_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, {"a": sent(revision=10), "b": sent(revision=11)}) == ("a", DB)


def test_what_a_login_shell_prints_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, {"a": sent(revision=10, before="Welcome\n<<< Snap")}) == ("a", DB)


@pytest.mark.parametrize(
    "unusable",
    [
        sent(revision=9),
        sent(revision=10, db=DB[:3]),
        sent(revision=10).replace(b"revision", b"other"),
        "the disk of /var/lib/etcd has 3 MiB free",
        NoAnswer("the connection was lost"),
    ],
    ids=["lags behind", "cut off", "not understood", "fails", "lost"],
)
def test_the_next_member_is_asked(monkeypatch: pytest.MonkeyPatch, unusable: bytes | str | Exception) -> None:
    assert asked(monkeypatch, {"a": unusable, "b": sent(revision=12)}) == ("b", DB)


def test_without_any_snapshot_each_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeployError) as raised:
        asked(monkeypatch, {"a": sent(revision=9), "b": "no room"})
    assert "a: its snapshot ends at revision 9, before 10; b: no room" in str(raised.value)


def test_the_leader_is_asked_first() -> None:
    leader = ApiLeader(leader=B.host, exists=True, healthy=(A, B, C))
    assert in_order(leader, TOPOLOGY) == [B, A, C]


def test_the_options_that_the_user_has_set_are_saved_as_json() -> None:
    options = ClusterOptions(
        pod_subnet="10.32.0.0/16",
        kubernetes_version="1.37.2",
        nameservers=["9.9.9.9"],
        kubelet_configuration={"maxPods": 50},
        registries={"quay.io": {"mirrors": ["https://m.example.com"]}},
    )
    assert json.loads(options_text(options)) == {
        "pod_subnet": "10.32.0.0/16",
        "kubernetes_version": "1.37.2",
        "nameservers": ["9.9.9.9"],
        "kubelet_configuration": {"maxPods": 50},
        "registries": {"quay.io": {"mirrors": ["https://m.example.com"], "username": "", "password_env": ""}},
    }


def test_the_folder_must_exist(tmp_path: Path) -> None:
    made = datetime(2026, 11, 29, tzinfo=UTC)
    path = backup_path(folder=str(tmp_path), cluster_name="k", ca="0", made=made)
    assert path == tmp_path / "k-0-20261129T000000Z.backup"
    with pytest.raises(InputError, match="is not a folder; create it"):
        backup_path(folder=str(tmp_path / "none"), cluster_name="k", ca="0", made=made)
