"""The operator's kubeconfig: what it holds, what of it stays, and how it is written."""

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
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.kubeconfig_file import cluster_ca_of_kubeconfig, foreign_entries, refusal, set_aside
from kubeadm_deploys.local_files import write_private
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import direct, kubeconfig
from kubeadm_deploys.operations.kubeconfig import operator_kubeconfig
from kubeadm_deploys.text import sha256
from tests.fake_answers import framed

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


def ours(*, server: str = "https://203.0.113.10:6443", cluster_name: str = "shop") -> str:
    return operator_kubeconfig(
        ADMIN_CONF, cluster_name=cluster_name, server=server, tls_server_name="api.shop.internal"
    )


def with_entry(kind: str, name: str) -> str:
    document = yaml.safe_load(ours())
    document[kind].append({"name": name, kind.removesuffix("s"): {"x": "y"}})
    return yaml.safe_dump(document)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.kubeconfig"


# What is in a file.


@pytest.mark.parametrize("text", [None, "", "# nothing\n", "{}\n", "kind: Config\nclusters: null\n"])
def test_nothing_stands_in_the_way_of_a_file_with_nothing_in_it(path: Path, text: str | None) -> None:
    if text is not None:
        path.write_text(text)
    assert (foreign_entries(path, cluster_name="shop"), refusal(path, cluster_name="shop")) == ([], "")
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") is None


def test_a_file_of_the_cluster_is_its_own_whatever_its_server(path: Path) -> None:
    path.write_text(ours(server="https://10.9.9.9:1"))
    assert refusal(path, cluster_name="shop") == ""


@pytest.mark.parametrize("kind", ["clusters", "users", "contexts"])
def test_a_file_with_anything_of_others_is_kept(path: Path, kind: str) -> None:
    path.write_text(with_entry(kind, "prod"))
    assert foreign_entries(path, cluster_name="shop") == [f"{kind.removesuffix('s')} prod"]
    assert refusal(path, cluster_name="shop") == (
        f"{path} holds more than cluster shop ({kind.removesuffix('s')} prod) and was left as it is; choose another "
        f"path with --data kubeconfig=PATH, and merge the two with: KUBECONFIG={path}:PATH kubectl config view "
        "--flatten"
    )


def test_another_clusters_file_is_kept(path: Path) -> None:
    path.write_text(ours(cluster_name="prod"))
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
def test_what_is_no_kubeconfig_is_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    problem = refusal(path, cluster_name="shop")
    assert problem.startswith(f"{path} is not a kubeconfig: ")
    assert problem.endswith("; it was left as it is: choose another path with --data kubeconfig=PATH")
    assert "\n" not in problem
    with pytest.raises(ValueError, match="is not a kubeconfig: "):
        cluster_ca_of_kubeconfig(path, cluster_name="shop")


def test_a_folder_is_no_kubeconfig(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read (Is a directory); it was left" in refusal(
        tmp_path, cluster_name="shop"
    )


# The CA.


def test_the_ca_is_that_of_the_cluster_by_name(path: Path) -> None:
    path.write_text(with_entry("clusters", "prod"))
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") == PEM
    assert cluster_ca_of_kubeconfig(path, cluster_name="prod") is None
    assert cluster_ca_of_kubeconfig(path, cluster_name="kubernetes") is None


@pytest.mark.parametrize("relative", [True, False])
def test_the_ca_may_be_in_a_file_of_its_own(tmp_path: Path, path: Path, relative: bool) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki/ca.crt").write_text(PEM)
    named = "pki/ca.crt" if relative else str(tmp_path / "pki/ca.crt")
    path.write_text(f"clusters: [{{name: shop, cluster: {{certificate-authority: '{named}'}}}}]")
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") == PEM
    (tmp_path / "pki/ca.crt").unlink()
    with pytest.raises(ValueError, match=rf"the CA of cluster shop in {path} cannot be read \("):
        cluster_ca_of_kubeconfig(path, cluster_name="shop")


@pytest.mark.parametrize("data", ["'!!!'", "QUJD", "/w==", "123", "[a]"])
def test_what_is_no_ca_is_refused(path: Path, data: str) -> None:
    path.write_text(f"clusters: [{{name: shop, cluster: {{certificate-authority-data: {data}}}}}]")
    with pytest.raises(ValueError, match=f"the CA of cluster shop in {path} is not a certificate"):
        cluster_ca_of_kubeconfig(path, cluster_name="shop")


def test_a_cluster_without_a_ca_has_none(path: Path) -> None:
    path.write_text("clusters: [{name: shop, cluster: {insecure-skip-tls-verify: true}}]")
    assert cluster_ca_of_kubeconfig(path, cluster_name="shop") is None


# How it is written.


def test_the_file_of_an_earlier_cluster_of_this_name_is_set_aside(path: Path) -> None:
    path.write_text(ours())
    now = datetime(2026, 11, 29, 1, 2, 3, tzinfo=UTC)
    aside = set_aside(path, cluster_name="shop", now=now)
    assert aside == path.with_name(f"{path.name}.before-20261129T010203Z")
    assert aside.read_text() == ours()
    assert not path.exists()
    assert set_aside(path, cluster_name="shop", now=now) is None


def test_what_is_not_of_this_cluster_alone_is_not_set_aside(path: Path) -> None:
    for text in (with_entry("clusters", "prod"), ours(cluster_name="prod")):
        path.write_text(text)
        assert set_aside(path, cluster_name="shop", now=datetime.now(UTC)) is None
        assert path.read_text() == text


def fetch(monkeypatch: pytest.MonkeyPatch, path: str) -> tuple[list[str], list[str]]:
    """Run the operation where the leader is a machine that has ADMIN_CONF; the problems and the host's log."""
    node = Node(host="cp-1", name="cp-1", ip="10.0.0.1", address="203.0.113.10")
    topology = Topology(control_planes=(node,), workers=())
    problems: list[str] = []
    said: list[str] = []

    class Machine:
        name = "cp-1"
        noop = log = staticmethod(said.append)
        state = None

    class Inventory:
        @staticmethod
        def get_host(name: str) -> Machine:
            return Machine()

    def run(host: Machine, command: str) -> tuple[bool, CommandOutput]:
        return True, CommandOutput(
            [OutputLine("stdout", line) for line in framed("AdminConf", ADMIN_CONF.splitlines())]
        )

    election = Election(leader="cp-1", exists=True, healthy=topology.control_planes)
    monkeypatch.setattr(kubeconfig, "ask_leader", lambda state, topology: election)
    monkeypatch.setattr(kubeconfig, "read", lambda machine, fact: KubeadmNodeState(admin=ADMIN))
    monkeypatch.setattr(kubeconfig, "host", Machine())
    monkeypatch.setattr(kubeconfig, "inventory", Inventory())
    monkeypatch.setattr(direct, "run", run)
    commands = kubeconfig.fetched._inner(
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
                problems.append(said[-1])
    return problems, said


def test_the_file_is_written_once_and_is_private(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(ours(server="https://10.9.9.9:6443"))
    path.chmod(0o644)
    assert fetch(monkeypatch, str(path)) == (
        [],
        [f"Wrote {path}; use it with: kubectl --kubeconfig {path} get nodes"],
    )
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (ours(), 0o600)
    assert list(path.parent.iterdir()) == [path]
    assert fetch(monkeypatch, str(path)) == ([], [f"{path} is up to date"])


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        # The cluster was made anew, or its administrator has a new certificate.
        ({"certificate-authority-data": sha256("other")}, False),
        ({"client-certificate-data": sha256("other")}, False),
        ({"client-key-data": sha256("other")}, False),
    ],
)
def test_a_file_is_known_by_the_sums_of_what_admin_conf_holds(
    path: Path, change: dict[str, str], is_same: bool
) -> None:
    path.write_text(ours())
    path.chmod(0o600)
    form = partial(
        operator_kubeconfig,
        cluster_name="shop",
        server="https://203.0.113.10:6443",
        tls_server_name="api.shop.internal",
    )
    assert kubeconfig.is_of(path, admin={**ADMIN, **change}, form=form) is is_same
    assert not kubeconfig.is_of(path, admin={}, form=form)
    assert not kubeconfig.is_of(path, admin=ADMIN, form=partial(form, server="https://198.51.100.1:6443"))
    path.chmod(0o640)
    assert not kubeconfig.is_of(path, admin=ADMIN, form=form)


def test_a_file_of_others_makes_the_operation_fail_and_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(with_entry("users", "bob"))
    before = path.read_bytes()
    (problem,), log = fetch(monkeypatch, str(path))
    assert f"{path} holds more than cluster shop (user bob) and was left as it is" in problem
    assert (path.read_bytes(), log) == (before, [])


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    options = ClusterOptions(kubeconfig="~/clusters/one.kubeconfig")
    assert options.kubeconfig_path == f"{tmp_path}/clusters/one.kubeconfig"
    for path in (options.kubeconfig_path, "~/two.kubeconfig"):
        assert fetch(monkeypatch, path)[0] == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clusters", "two.kubeconfig"]
    assert [each.name for each in (tmp_path / "clusters").iterdir()] == ["one.kubeconfig"]


def test_a_link_stays_and_its_file_is_written(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").write_text(ours(server="https://10.9.9.9:6443"))
    path.symlink_to("real")
    assert fetch(monkeypatch, str(path))[0] == []
    assert path.is_symlink()
    assert (tmp_path / "real").read_text() == ours()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    (problem,), _ = fetch(monkeypatch, str(tmp_path / "file/one.kubeconfig"))
    assert f"{tmp_path}/file/one.kubeconfig" in problem


# Private files.


def test_a_name_that_somebody_has_put_there_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "report.log"
    victim.write_text("theirs")
    path.symlink_to(victim)
    # Where earlier versions wrote first.
    (tmp_path / "report.log.partial").symlink_to(victim)
    write_private(path, "ours ü")
    assert (victim.read_text(), path.read_text(encoding="utf-8"), path.is_symlink()) == (
        "theirs",
        "ours ü",
        False,
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_private_file_is_private_from_the_first_moment_and_nothing_is_left_of_one_that_failed(
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
