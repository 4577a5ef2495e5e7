"""The operator's kubeconfig: what it contains, when it is kept, and how it is written."""

import base64
import os
import stat
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubeadm_deploys import ClusterOptions
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.documents.kubeconfig_file import (
    cluster_ca_of_kubeconfig,
    foreign_entries,
    refusal,
    set_aside,
)
from kubeadm_deploys.documents.local_files import write_private
from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote import direct
from kubeadm_deploys.sections import readiness
from kubeadm_deploys.sections.readiness import operator_kubeconfig
from tests.support.fake_answers import framed

PEM = "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n"
ADMIN_CONF = yaml.safe_dump(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "kubernetes",
                "cluster": {
                    "server": "https://api.shop.internal:6443",
                    "certificate-authority-data": base64.b64encode(PEM.encode()).decode(),
                },
            }
        ],
        "users": [
            {
                "name": "kubernetes-admin",
                "user": {"client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ"},
            }
        ],
        "contexts": [{"name": "x", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
        "current-context": "x",
    }
)
ADMIN = {
    "certificate-authority-data": sha256(base64.b64encode(PEM.encode()).decode()),
    "client-certificate-data": sha256("Q0VSVA=="),
    "client-key-data": sha256("S0VZ"),
}


def own_file(*, server: str = "https://203.0.113.10:6443", cluster_name: str = "shop") -> str:
    return operator_kubeconfig(
        ADMIN_CONF, cluster_name=cluster_name, server=server, tls_server_name="api.shop.internal"
    )


def with_entry(kind: str, name: str) -> str:
    document = yaml.safe_load(own_file())
    document[kind].append({"name": name, kind.removesuffix("s"): {"x": "y"}})
    return yaml.safe_dump(document)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.kubeconfig"


# The content of a file.


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "{}\n", "kind: Config\nclusters: null\n"])
def test_an_empty_or_missing_file_may_be_replaced(path: Path, text: str | None) -> None:
    if text is not None:
        path.write_text(text)
    assert (foreign_entries(path, cluster_name="shop"), refusal(path, cluster_name="shop")) == ([], "")
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") is None


def test_the_clusters_own_file_may_be_replaced_whatever_its_server(path: Path) -> None:
    path.write_text(own_file(server="https://10.9.9.9:1"))
    assert refusal(path, cluster_name="shop") == ""


@pytest.mark.parametrize("kind", ["clusters", "users", "contexts"])
def test_a_file_with_foreign_entries_is_kept(path: Path, kind: str) -> None:
    path.write_text(with_entry(kind, "prod"))
    assert foreign_entries(path, cluster_name="shop") == [f"{kind.removesuffix('s')} prod"]
    problem = refusal(path, cluster_name="shop")
    assert problem.startswith(f"{path} contains more than cluster shop ({kind.removesuffix('s')} prod)")
    assert "--data kubeconfig=PATH" in problem
    assert problem.endswith(f": KUBECONFIG={path}:PATH kubectl config view --flatten")


def test_another_clusters_file_is_kept(path: Path) -> None:
    path.write_text(own_file(cluster_name="prod"))
    assert foreign_entries(path, cluster_name="shop") == ["cluster prod", "user prod-admin", "context prod"]


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1\n",
        b"\xff\xfe",
        b"x: 2026-99-99\n",
        b"- a list\n",
        b"some text\n",
        b"services: {web: {image: nginx}}\n",
        b"kind: Cluster\nclusters: []\n",
        b"clusters: {a: b}\n",
        b"users: [a]\n",
        b"contexts: [{name: a, context: b}]\n",
        b"[" * 5000,
    ],
)
def test_a_file_that_is_not_a_kubeconfig_is_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    problem = refusal(path, cluster_name="shop")
    assert problem.startswith(f"{path} is not a kubeconfig: ")
    assert problem.endswith("--data kubeconfig=PATH")
    assert "\n" not in problem
    with pytest.raises(ValueError, match="is not a kubeconfig: "):
        cluster_ca_of_kubeconfig(path, cluster_name="shop")


def test_a_folder_is_not_a_kubeconfig(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read (Is a directory); " in refusal(tmp_path, cluster_name="shop")


# The CA.


def test_the_ca_is_found_by_the_clusters_name(path: Path) -> None:
    path.write_text(with_entry("clusters", "prod"))
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") == PEM
    assert cluster_ca_of_kubeconfig(path, cluster_name="prod") is None
    assert cluster_ca_of_kubeconfig(path, cluster_name="kubernetes") is None


@pytest.mark.parametrize("relative", [True, False])
def test_the_ca_may_be_in_a_separate_file(tmp_path: Path, path: Path, relative: bool) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki/ca.crt").write_text(PEM)
    named = "pki/ca.crt" if relative else str(tmp_path / "pki/ca.crt")
    path.write_text(f"clusters: [{{name: shop, cluster: {{certificate-authority: '{named}'}}}}]")
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") == PEM
    (tmp_path / "pki/ca.crt").unlink()
    with pytest.raises(ValueError, match=rf"the CA of cluster shop in {path} cannot be read \("):
        cluster_ca_of_kubeconfig(path, cluster_name="shop")


@pytest.mark.parametrize("data", ["'!!!'", "QUJD", "/w==", "123", "[a]"])
def test_an_invalid_ca_is_refused(path: Path, data: str) -> None:
    path.write_text(f"clusters: [{{name: shop, cluster: {{certificate-authority-data: {data}}}}}]")
    with pytest.raises(ValueError, match=f"the CA of cluster shop in {path} is not a certificate"):
        cluster_ca_of_kubeconfig(path, cluster_name="shop")


def test_a_cluster_without_a_ca_has_none(path: Path) -> None:
    path.write_text("clusters: [{name: shop, cluster: {insecure-skip-tls-verify: true}}]")
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") is None


# Writing the file.


def test_the_file_of_an_earlier_cluster_of_this_name_is_set_aside(path: Path) -> None:
    path.write_text(own_file())
    now = datetime(2026, 11, 29, 1, 2, 3, tzinfo=UTC)
    aside = set_aside(path, cluster_name="shop", now=now)
    assert aside == path.with_name(f"{path.name}.before-20261129T010203Z")
    assert aside.read_text() == own_file()
    assert not path.exists()
    assert set_aside(path, cluster_name="shop", now=now) is None


def test_a_file_with_foreign_entries_is_not_set_aside(path: Path) -> None:
    for text in (with_entry("clusters", "prod"), own_file(cluster_name="prod")):
        path.write_text(text)
        assert set_aside(path, cluster_name="shop", now=datetime.now(UTC)) is None
        assert path.read_text() == text


def fetch(monkeypatch: pytest.MonkeyPatch, path: str) -> tuple[list[str], list[str]]:
    """Run the operation with a leader that has ADMIN_CONF; return the problems and the host's log."""
    node = Node(host="cp-1", name="cp-1", ip="10.0.0.1", address="203.0.113.10")
    topology = Topology(control_planes=(node,), workers=())
    problems: list[str] = []
    messages: list[str] = []

    class Machine:
        name = "cp-1"
        noop = log = staticmethod(messages.append)
        state = None

    class Inventory:
        @staticmethod
        def get_host(name: str) -> Machine:
            return Machine()

    def run(host: Machine, command: str) -> tuple[bool, CommandOutput]:
        return True, CommandOutput(
            [OutputLine("stdout", line) for line in framed("AdminConf", ADMIN_CONF.splitlines())]
        )

    api_leader = ApiLeader(leader="cp-1", exists=True, healthy=topology.control_planes)
    monkeypatch.setattr(readiness, "ask_leader", lambda state, topology: api_leader)
    monkeypatch.setattr(readiness, "read", lambda machine, fact: KubeadmNodeState(admin=ADMIN))
    monkeypatch.setattr(readiness, "host", Machine())
    monkeypatch.setattr(readiness, "inventory", Inventory())
    monkeypatch.setattr(direct, "run", run)
    commands = readiness.fetched._inner(
        topology=topology,
        path=path,
        cluster_name="shop",
        address="",
        port=6443,
        tls_server_name="api.shop.internal",
    )
    for command in commands:
        if isinstance(command, StringCommand):
            problems.append(command.get_raw_value())
        else:
            assert isinstance(command, FunctionCommand)
            if not command.function(None, Machine(), *command.args):
                problems.append(messages[-1])
    return problems, messages


def test_the_file_is_private_and_written_only_if_it_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(own_file(server="https://10.9.9.9:6443"))
    path.chmod(0o644)
    assert fetch(monkeypatch, str(path)) == (
        [],
        [f"Wrote {path}; use it with: kubectl --kubeconfig {path} get nodes"],
    )
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (own_file(), 0o600)
    assert list(path.parent.iterdir()) == [path]
    assert fetch(monkeypatch, str(path)) == ([], [f"{path} is up to date"])


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        # The cluster was created again, or its administrator has a new certificate.
        ({"certificate-authority-data": sha256("other")}, False),
        ({"client-certificate-data": sha256("other")}, False),
        ({"client-key-data": sha256("other")}, False),
    ],
)
def test_a_file_is_compared_by_the_checksums_of_admin_conf(
    path: Path, change: dict[str, str], is_same: bool
) -> None:
    path.write_text(own_file())
    path.chmod(0o600)
    form = partial(
        operator_kubeconfig,
        cluster_name="shop",
        server="https://203.0.113.10:6443",
        tls_server_name="api.shop.internal",
    )
    assert readiness.is_of(path, admin={**ADMIN, **change}, form=form) is is_same
    assert not readiness.is_of(path, admin={}, form=form)
    assert not readiness.is_of(path, admin=ADMIN, form=partial(form, server="https://198.51.100.1:6443"))
    path.chmod(0o640)
    assert not readiness.is_of(path, admin=ADMIN, form=form)


def test_the_operation_fails_and_keeps_a_file_with_foreign_entries(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(with_entry("users", "bob"))
    before = path.read_bytes()
    (problem,), log = fetch(monkeypatch, str(path))
    assert f"{path} contains more than cluster shop (user bob)" in problem
    assert (path.read_bytes(), log) == (before, [])


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    options = ClusterOptions(kubeconfig="~/clusters/one.kubeconfig")
    assert options.kubeconfig_path == f"{tmp_path}/clusters/one.kubeconfig"
    for path in (options.kubeconfig_path, "~/two.kubeconfig"):
        assert fetch(monkeypatch, path)[0] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clusters", "two.kubeconfig"]
    assert [path.name for path in (tmp_path / "clusters").iterdir()] == ["one.kubeconfig"]


def test_a_link_is_kept_and_its_target_is_written(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").write_text(own_file(server="https://10.9.9.9:6443"))
    path.symlink_to("real")
    assert fetch(monkeypatch, str(path))[0] == []
    assert path.is_symlink()
    assert (tmp_path / "real").read_text() == own_file()


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (problem,), _ = fetch(monkeypatch, str(tmp_path / "file/one.kubeconfig"))
    assert f"{tmp_path}/file/one.kubeconfig" in problem


# Private files.


def test_a_link_in_the_path_of_a_private_file_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "report.log"
    victim.write_text("theirs")
    path.symlink_to(victim)
    # The temporary file of earlier versions.
    (tmp_path / "report.log.partial").symlink_to(victim)
    write_private(path, "ours ü")
    assert (victim.read_text(), path.read_text(encoding="utf-8"), path.is_symlink()) == (
        "theirs",
        "ours ü",
        False,
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_private_file_is_private_from_the_start_and_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    def replace(source: str, target: Path) -> None:
        seen.append((source, stat.S_IMODE(os.stat(source).st_mode)))
        raise OSError("the disk is gone")

    monkeypatch.setattr(os, "replace", replace)
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            write_private(tmp_path / "a", "secret")
    assert {mode for _, mode in seen} == {0o600}
    assert len({name for name, _ in seen}) == 2
    assert list(tmp_path.iterdir()) == []
