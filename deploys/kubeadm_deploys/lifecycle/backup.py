"""Back up a cluster into one file on the operator's machine."""

import base64
import json
import shutil
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.api_leader import ApiLeader, fingerprint
from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.cluster.leader import (
    acts_for_cluster,
    ask_leader,
    ask_lost_quorum,
    ask_planned_leader,
)
from kubeadm_deploys.cluster.members import ask_members, ask_planned_settings, ask_settings
from kubeadm_deploys.cluster.quorum import QUORUM_FIX
from kubeadm_deploys.documents.backup_encryption import BackupError, Protection
from kubeadm_deploys.documents.backup_file import (
    SNAPSHOT,
    Manifest,
    Part,
    Source,
    file_name,
    superseded,
    verify_backup,
    write_backup,
)
from kubeadm_deploys.facts.backup_settings import BackupSettings, BackupSettingsState
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdRevision
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.preflight.check import other_cluster_findings, refuse
from kubeadm_deploys.remote import direct, lines, streams
from kubeadm_deploys.remote.connections import NoAnswer
from kubeadm_deploys.remote.framing import framed_command, framed_lines
from kubeadm_deploys.remote.reading import NotRead, ask
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock
from kubeadm_deploys.scripts import script

SNAPSHOT_FOLDER = "/var/lib/etcd/kubeadm-deploys-backup"
"""Where a member writes its snapshot; nothing else than etcd's folder is mounted into etcd's container."""

_MARK = "<<< Snapshot"
_LONGEST_LINE = 4096
_SPARE = 64 << 20
"""Bytes that stay free on the operator's disk."""


class _Unusable(DeployError):
    """A member's snapshot cannot be used; that of another one may be."""


def backup_path(*, folder: str, cluster_name: str, ca: str, made: datetime) -> Path:
    """Return the path of a new backup.

    Raises:
        InputError: the folder does not exist.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InputError([f"folder: {folder!r} is not a folder; create it, or choose another one"])
    return path / file_name(cluster_name=cluster_name, made=made, ca=ca)


@deploy("Backup")
def back_up(
    *, options: ClusterOptions, topology: Topology, protection: Protection, folder: str, keep: int | None
) -> None:
    """Back up the cluster: etcd, the keys that all control planes share, and the configuration.

    + folder: an existing folder on this machine
    + keep: the number of backups of this cluster that stay there, the new one included; None: all

    Raises:
        InputError: the folder does not exist, or it is not clear how to encrypt the file.
        DeployError: there is no cluster, it is not that of the options, or etcd has lost its majority.
        NotRead: the cluster did not answer.
    """
    state = host.state
    protection.check()
    find = partial(_find, state, options=options, topology=topology)
    api_leader = part(state, Decisions).once("backup", find)
    check_under_lock(lambda: refuse_another_cluster(find(), planned=api_leader), key="backup")
    path = part(state, Decisions).once(
        "backup path",
        lambda: backup_path(
            folder=folder,
            cluster_name=options.cluster_name,
            ca=fingerprint(api_leader.ca_certificate),
            made=datetime.now(UTC),
        ),
    )
    if acts_for_cluster(host, api_leader):
        backup_written(
            name=f"Write {path}",
            options=options,
            topology=topology,
            protection=protection,
            path=path,
            keep=keep,
        )


def refuse_another_cluster(found: ApiLeader, *, planned: ApiLeader) -> None:
    """Refuse if the cluster is no longer the planned one.

    Raises:
        DeployError: its CA certificate is another one.
    """
    if fingerprint(found.ca_certificate) != fingerprint(planned.ca_certificate):
        raise DeployError(
            "the cluster has changed since this run was prepared; no backup was written; run it again"
        )


def _find(state: State, *, options: ClusterOptions, topology: Topology) -> ApiLeader:
    """Find the cluster, and refuse if it cannot be backed up."""
    api_leader = ask_planned_leader(state, topology)
    settings = ask_planned_settings(state, topology) if api_leader.healthy else None
    refuse(other_cluster_findings(api_leader, settings, options=options))
    if not api_leader.exists or api_leader.problem:
        lost = ask_lost_quorum(state, topology)
        reasons = [api_leader.problem or "there is no cluster", *([lost, QUORUM_FIX] if lost else [])]
        raise DeployError(f"{'; '.join(reasons)}; no backup was written")
    return api_leader


@operation()
@fails_clearly
def backup_written(
    *, options: ClusterOptions, topology: Topology, protection: Protection, path: Path, keep: int | None
) -> Generator[FunctionCommand, None, None]:
    """Write a new backup on the operator's machine, and remove old ones.

    + protection: how it is encrypted
    + path: the new file
    + keep: the number of backups of this cluster that stay
    """
    yield calling(write_now, options, topology, protection, path, keep)


def write_now(
    state: State,
    host: Host,
    options: ClusterOptions,
    topology: Topology,
    protection: Protection,
    path: Path,
    keep: int | None,
) -> bool:
    """Write a new backup while operations run; see ``backup_written``.

    Raises:
        DeployError: the cluster does not answer, or no member gives a snapshot.
    """
    api_leader = ask_leader(state, topology)
    members = ask_members(state, topology)
    cluster = ask_settings(state, topology)
    if api_leader.problem or members is None or cluster is None:
        raise DeployError(f"{api_leader.problem or 'the cluster does not answer'}; no backup was written")
    leader = inventory.get_host(api_leader.leader)
    settings = ask(leader, BackupSettings)
    parts = {
        "options.json": options_text(options),
        "config-maps.json": settings.config_maps,
        **_shared_keys(leader),
        **{f"manifests/{name}.yaml": text for name, text in settings.manifests.items()},
        **_named_files(leader, settings),
    }
    describe = partial(
        manifest_of,
        cluster_name=options.cluster_name,
        cluster=cluster,
        members=members,
        ca_certificate=api_leader.ca_certificate,
        parts=parts,
    )

    def write(found: "Snapshot", source: Source) -> None:
        free = shutil.disk_usage(path.parent).free
        if free < found.size + _SPARE:
            raise BackupError(
                f"{path.parent}: has {free >> 20} MiB free, and the backup needs {(found.size + _SPARE) >> 20} "
                "MiB; choose another folder with --data folder=DIR, or free some space"
            )
        write_backup(
            path, protection=protection, manifest=describe(snapshot=found), parts=parts, snapshot=source
        )

    snapshot = _from_any_member(host, in_order(api_leader, topology), write)
    host.log(f"{path}: revision {snapshot.revision}, {snapshot.keys} keys, {path.stat().st_size >> 20} MiB")
    for old in superseded(path, keep=keep) if keep else ():
        try:
            old.unlink()
            host.log(f"Removed {old}")
        except OSError as error:
            host.log(f"{old} could not be removed: {error.strerror}")
    return True


def in_order(api_leader: ApiLeader, topology: Topology) -> list[Node]:
    """Return the control planes whose API server answers, the leader first."""
    leader = topology.node(api_leader.leader)
    return [leader, *(node for node in api_leader.healthy if node != leader)]


def options_text(options: ClusterOptions) -> bytes:
    """Return the options that the user has set, as JSON."""
    # pydantic would warn of the lists that it has just made of tuples.
    given = options.model_dump(mode="json", include=set(options.given), fallback=str, warnings=False)
    return (json.dumps(given, indent=2, sort_keys=True) + "\n").encode()


def manifest_of(
    *,
    cluster_name: str,
    cluster: ClusterSettingsState,
    members: ClusterMembersState,
    ca_certificate: str,
    parts: Mapping[str, bytes],
    snapshot: "Snapshot",
) -> Manifest:
    """Describe a backup."""
    return Manifest(
        cluster_name=cluster_name,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        by=_release(),
        ca=fingerprint(ca_certificate),
        releases={"kubernetes": cluster.kubernetes_version, **(cluster.record.releases or {})},
        members=tuple(sorted(member.name for member in members.etcd)),
        nodes={name: node.machine_id for name, node in sorted(members.nodes.items())},
        revision=snapshot.revision,
        keys=snapshot.keys,
        hash=snapshot.hash,
        parts={
            **{name: Part.of(content) for name, content in parts.items()},
            SNAPSHOT: Part(size=snapshot.size, sha256=snapshot.sha256),
        },
    )


def _release() -> str:
    try:
        return metadata.version("kubeadm-deploys")
    except metadata.PackageNotFoundError:
        return "from a checkout"


def _shared_keys(leader: Host) -> dict[str, bytes]:
    pairs = (line.split() for line in JoinCredentials.ask_shared_pki(leader).splitlines())
    return {f"pki/{name}": base64.b64decode(content) for name, content in pairs}


def _named_files(leader: Host, settings: BackupSettingsState) -> dict[str, bytes]:
    """Return the files that arguments name, by their paths below ``files``."""
    try:
        paths = settings.named_files()
    except ValueError as error:
        raise DeployError(f"{leader.name}: {error}") from None
    if not paths:
        return {}
    # Not a fact: pyinfra can print the output of facts, and these may be keys.
    done, output = direct.run(leader, framed_command("NamedFiles", script("read-named-files", *paths)))
    found = framed_lines("NamedFiles", output.stdout_lines)
    if not done or found is None:
        raise DeployError(f"{leader.name}: could not read {', '.join(paths)}: {output.stderr}")
    return {f"files{path}": base64.b64decode(text) for path, text in lines.files(lines.parse(found)).items()}


class Snapshot:
    """A snapshot that a member announces: its size in bytes, its SHA-256, and what etcdutl says of it."""

    def __init__(self, line: str) -> None:
        """Parse the line of scripts/send-snapshot.sh, without the mark.

        Raises:
            ValueError: it cannot be parsed.
        """
        try:
            size, self.sha256, status = line.strip().split(" ", 2)
            found = json.loads(status)
            self.size = int(size)
            self.revision, self.keys, self.hash = (
                int(found[key]) for key in ("revision", "totalKey", "hash")
            )
        except (KeyError, TypeError) as error:
            raise ValueError(str(error)) from None


class _Remaining:
    """The bytes of a snapshot, all of them or an error."""

    def __init__(self, source: streams.Source, size: int) -> None:
        self._source = source
        self._left = size

    def read(self, size: int, /) -> bytes:
        try:
            piece = self._source.read(min(size, self._left))
        except OSError as error:
            raise _Unusable(str(error)) from None
        self._left -= len(piece)
        if self._left and not piece:
            raise _Unusable("the connection was lost")
        return piece


def _from_any_member(host: Host, nodes: list[Node], write: Callable[[Snapshot, Source], None]) -> Snapshot:
    """Write the snapshot of the first member that has every write acknowledged until now."""
    wanted = 0
    reasons: list[str] = []
    for node in nodes:
        machine = inventory.get_host(node.host)
        try:
            # Every member answers with at least what any of them has acknowledged.
            wanted = max(wanted, ask(machine, EtcdRevision, seconds=30))
            return _from_member(machine, wanted, write)
        except (NotRead, NoAnswer, _Unusable) as error:
            reason = error.reason if isinstance(error, NotRead) else str(error)
            reasons.append(f"{node.name}: {reason}")
            host.log(f"No snapshot from {node.name}: {reason}")
    raise DeployError(f"no member of etcd gave a snapshot ({'; '.join(reasons)}); no backup was written")


def _from_member(machine: Host, wanted: int, write: Callable[[Snapshot, Source], None]) -> Snapshot:
    found: list[Snapshot] = []

    def consume(source: streams.Source) -> None:
        # A login shell may print something before.
        while line := source.readline(_LONGEST_LINE).decode(errors="replace"):
            if line.startswith(f"{_MARK} "):
                break
        else:
            return
        snapshot = Snapshot(line.removeprefix(f"{_MARK} "))
        if snapshot.revision < wanted:
            raise _Unusable(f"its snapshot ends at revision {snapshot.revision}, before {wanted}")
        write(snapshot, _Remaining(source, snapshot.size))
        found.append(snapshot)
        # At the end the snapshot is removed from the machine.
        source.read(1)

    try:
        _, output = streams.read_from(machine, script("send-snapshot", _MARK, SNAPSHOT_FOLDER), consume)
    except ValueError as error:
        raise _Unusable(f"its answer cannot be parsed: {error}") from None
    except NoAnswer:
        # After the last byte it does not matter.
        if not found:
            raise
        return found[0]
    if not found:
        raise _Unusable(output.stderr or "it printed nothing")
    return found[0]


def check_backup(path: str, *, passphrase: str, identity: str) -> None:
    """Check a backup, and print what it contains.

    Raises:
        BackupError: it cannot be read or decrypted, or is damaged.
    """
    manifest = verify_backup(
        Path(path).expanduser(), passphrase=passphrase, identity=Path(identity) if identity else None
    )
    logger.info(
        f"--> {path} is whole: cluster {manifest.cluster_name} (CA {manifest.ca}), Kubernetes "
        f"{manifest.releases['kubernetes']}, made {manifest.made}, revision {manifest.revision}, "
        f"{manifest.keys} keys, nodes {', '.join(manifest.nodes)}"
    )
