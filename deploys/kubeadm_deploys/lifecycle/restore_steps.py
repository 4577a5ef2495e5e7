"""The steps that restore a cluster on its seed; a step that is already done is skipped.

The seed's host runs them, also those on other control planes: each step ends before the next one begins, and the run
stops at the first that fails.
"""

import time
from collections.abc import Callable, Collection, Generator, Mapping
from functools import partial

from gevent import sleep
from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.cleaning import clean_command
from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.cluster.kubeadm import LEFT_BY_INIT, kubeadm
from kubeadm_deploys.cluster.leader import wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members, restored_cluster
from kubeadm_deploys.documents.backup_encryption import BackupKey
from kubeadm_deploys.documents.backup_file import SNAPSHOT, copy_snapshot
from kubeadm_deploys.documents.kubeadm_documents import restore_document
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.endpoint_name import ApiEndpoint
from kubeadm_deploys.facts.kubeadm_node import (
    MANIFESTS,
    RESTORE_FOLDER,
    SAVED_ETCD,
    SET_ASIDE,
    KubeadmNode,
    KubeadmNodeState,
    NodeState,
    node_state,
)
from kubeadm_deploys.lifecycle.restore_plan import (
    Begun,
    Restore,
    configuration_in,
    etcd_image_of,
    is_whole,
    lost_nodes,
    revision_bump,
)
from kubeadm_deploys.model.nodes import API_PORT, Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import shared_pki
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote import direct, streams
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.connections import NoAnswer
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.remote.run_parts import part
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections.api_endpoint import resolve_commands
from kubeadm_deploys.sections.control_plane_files import ControlPlaneFiles
from kubeadm_deploys.sections.node_kubelet_configuration import before_kubeadm

WORK = f"{SAVED_ETCD}/restoring"
"""Where the snapshot and what is made of it are, on the disk of etcd's data."""

_SECONDS = 900
_API_SECONDS = 120
_REGISTRATION_SECONDS = 60


@operation()
@fails_clearly
def control_planes_stopped(
    *, restore: Begun, topology: Topology, check: Callable[[], None] = lambda: None
) -> Generator[FunctionCommand, None, None]:
    """Stop etcd and the API server on every control plane, so that none serves the data that is given up.

    + restore: what is restored
    + topology: the cluster
    + check: raises if the restore could not come to its end; called before anything is stopped
    """
    if host.state.is_executing:
        check()
    yield calling(_stop, restore, topology)


@operation()
@fails_clearly
def etcd_restored(*, restore: Restore, key: BackupKey) -> Generator[FunctionCommand, None, None]:
    """Replace the seed's data, and the keys if they are not those of the backup; what was there is kept.

    + restore: what is restored
    + key: what opens the backup
    """
    yield calling(_restore_data, restore, key)


@operation()
@fails_clearly
def api_serves(
    *, restore: Restore, options: ClusterOptions, topology: Topology
) -> Generator[FunctionCommand, None, None]:
    """Start the control plane of the seed, and wait until its API answers.

    + restore: what is restored
    + options: of the cluster
    + topology: the cluster
    """
    yield calling(_serve, restore, options, topology)


@operation()
@fails_clearly
def restore_ended(*, restore: Restore, topology: Topology) -> Generator[FunctionCommand, None, None]:
    """Clean the other control planes, delete the Node objects of those that were lost, and remove the record.

    + restore: what is restored
    + topology: the cluster
    """
    yield calling(_end, restore, topology)


@operation()
@fails_clearly
def registered(*, topology: Topology, node: Node) -> Generator[StringCommand, None, None]:
    """Restart the kubelet of a worker that is missing in the backup: it registers its node only when it starts.

    Its pods keep running. Otherwise it would be cleaned and joined again.

    + topology: the cluster
    + node: this machine
    """
    if not (host.state.is_executing and read(host, KubeadmNode).has_joined):
        host.noop("not a node, or only known while operations run")
        return
    members = ask_members(host.state, topology)
    if members is None or node.name in members.nodes:
        host.noop("the node is registered")
        return
    yield StringCommand("systemctl restart kubelet")
    deadline = time.monotonic() + _REGISTRATION_SECONDS
    while members is not None and node.name not in members.nodes:
        if time.monotonic() > deadline:
            yield failed(
                f"the kubelet has not registered {node.name} within {_REGISTRATION_SECONDS} s; look at "
                "'journalctl --unit kubelet' there, and run deploys/cluster.py when the node exists"
            )
            return
        sleep(2)
        members = ask_members(host.state, topology, refresh=True)


def run_on(host: Host, machine: Host, command: StringCommand, *, seconds: int = _SECONDS) -> bool:
    """Run a command on a machine, print why it failed, and return whether it succeeded."""
    done, output = direct.run(machine, command, seconds=seconds)
    if not done:
        host.log(f"{machine.name}: {output.stderr or output.stdout}")
    return done


def run_on_all(host: Host, nodes: list[Node], command: StringCommand) -> bool:
    """Run a command on several machines at once, and return whether it succeeded on all."""
    machines = [inventory.get_host(node.host) for node in nodes]
    return all(in_parallel(lambda machine: run_on(host, machine, command), machines).values())


def _stop(state: State, host: Host, restore: Begun, topology: Topology) -> bool:
    nodes = []
    for node in topology.control_planes:
        found = wait_for_kubeadm(inventory.get_host(node.host))
        if isinstance(found, NotRead):
            raise found
        # On a new machine nothing runs, and it may not even have containerd.
        if node == restore.seed or node_state(found) is not NodeState.ABSENT:
            nodes.append(node)
    if not run_on_all(host, nodes, script("begin-restore", RESTORE_FOLDER, WORK, restore.record.line)):
        return False
    # Once the data of the backup is in place, it may have got new writes.
    if ask(seed_of(restore), KubeadmNode).unpacked:
        nodes.remove(restore.seed)
    return run_on_all(host, nodes, script("stop-static-pods", SET_ASIDE, *MANIFESTS))


def _restore_data(state: State, host: Host, restore: Restore, key: BackupKey) -> bool:
    machine = seed_of(restore)
    found = ask(machine, KubeadmNode)
    run = partial(run_on, host, machine)
    saved = f"{SAVED_ETCD}/{restore.record.began}"
    if not found.unpacked:
        if not _keeps_files(machine, found, restore):
            if node_state(found) is not NodeState.ABSENT and not run(clean_command(saved=saved)):
                return False
            if not run(shared_pki.write_command(restore.shared_pki)):
                return False
        if restore.files and not (
            run(script("keep-files", f"{saved}/files", *restore.files)) and run(_write(restore.files))
        ):
            return False
        if not _send_snapshot(host, machine, restore, key):
            return False
    image = etcd_image_of(restore.backup)
    peer = f"https://{restore.seed.ip}:2380"
    unpack = script(
        "unpack-snapshot",
        *(RESTORE_FOLDER, WORK, saved, image, restore.seed.name, peer, restore.record.token),
        str(revision_bump(restore.backup.manifest.revision, now=int(time.time()))),
    )
    return run(unpack)


def _send_snapshot(host: Host, machine: Host, restore: Restore, key: BackupKey) -> bool:
    snapshot = restore.backup.manifest.parts[SNAPSHOT]

    def produce(sink: streams.Sink) -> None:
        copy_snapshot(
            restore.backup.path,
            passphrase=key.passphrase,
            identity=key.path,
            write=sink.write,
        )

    receive = script("receive-snapshot", WORK, str(snapshot.size), snapshot.sha256)
    try:
        done, output = streams.write_to(machine, receive, produce)
    except NoAnswer as error:
        host.log(f"{machine.name}: {error}")
        return False
    if not done:
        host.log(f"{machine.name}: {output.stderr}")
    return done


def _serve(state: State, host: Host, restore: Restore, options: ClusterOptions, topology: Topology) -> bool:
    machine, seed = seed_of(restore), restore.seed
    found = ask(machine, KubeadmNode)
    if not found.unpacked:
        host.log(f"{machine.name}: the data of the backup is not there; nothing was started")
        return False
    run = partial(run_on, host, machine)
    if _keeps_files(machine, found, restore):
        if not run(script("start-static-pods", SET_ASIDE, *MANIFESTS)):
            return False
    else:
        commands = [
            *before_kubeadm(seed, found={}),
            *resolve_commands(ask(machine, ApiEndpoint), endpoint=options.endpoint, address=seed.ip),
        ]
        credentials = part(state, JoinCredentials)
        document = restore_document(
            options=options,
            topology=topology,
            node=seed,
            token=credentials.token,
            configuration=configuration_in(restore.backup, "kubeadm-config", "ClusterConfiguration"),
            kubelet=configuration_in(restore.backup, "kubelet-config", "kubelet"),
        )
        # CoreDNS and kube-proxy are in the backup.
        ignored = f"--ignore-preflight-errors={LEFT_BY_INIT}"
        init = kubeadm("init", "--skip-token-print", "--skip-phases=addon", ignored, stdin=document)
        if not all(run(command) for command in commands) or not run(init, seconds=1200):
            return False
        credentials.token_exists = True
    return run(script("wait-for-api", f"{seed.ip}:{API_PORT}"))


def _end(state: State, host: Host, restore: Restore, topology: Topology) -> bool:
    machine = seed_of(restore)
    others = [node for node in topology.control_planes if node != restore.seed]
    clean = partial(_cleaned, host, restore)
    if not all(in_parallel(clean, [inventory.get_host(node.host) for node in others]).values()):
        return False
    if not delete_lost_nodes(host, restore, topology, known=restore.backup.manifest.members):
        return False
    if not run_on(host, machine, script("end-restore", RESTORE_FOLDER, WORK)):
        return False
    restored_cluster(state)
    kept = (
        f"; what was there before is kept in {SAVED_ETCD}/{restore.record.began} until deploys/reset.py cleans the machine"
        if ask(machine, KubeadmNode).saved_etcd
        else ""
    )
    logger.info(f"--> Restored from {restore.backup.path} on {restore.seed.name}{kept}")
    return True


def _cleaned(host: Host, restore: Restore, machine: Host) -> bool:
    found = ask(machine, KubeadmNode)
    if node_state(found) is not NodeState.ABSENT:
        if not run_on(host, machine, clean_command(saved=f"{SAVED_ETCD}/{restore.record.began}")):
            return False
        if "etcd" in found.files:
            host.log(f"{machine.name}: its old etcd data is kept in {SAVED_ETCD}/{restore.record.began}")
    # The arguments in the backup may name more files than the options, which are written before the join.
    files = {
        path: content
        for path, content in restore.files.items()
        if path not in restore.options.control_plane_files
    }
    if files and not _write_missing(host, machine, files):
        return False
    return run_on(host, machine, script("end-restore", RESTORE_FOLDER, WORK))


def _write_missing(host: Host, machine: Host, files: Mapping[str, bytes]) -> bool:
    found = ask(machine, Reading.of(ControlPlaneFiles, paths=tuple(files))).files
    missing = {path: content for path, content in files.items() if path not in found}
    return not missing or run_on(host, machine, _write(missing))


def _write(files: Mapping[str, bytes]) -> StringCommand:
    return write_command(files, private=[path for path, content in files.items() if content])


def delete_lost_nodes(host: Host, restore: Begun, topology: Topology, *, known: Collection[str] = ()) -> bool:
    """Delete the Node objects of lost control planes, and return whether that is done; see ``lost_nodes``."""
    machine = seed_of(restore)
    planes = [inventory.get_host(node.host) for node in topology.control_planes]
    ids = in_parallel(lambda each: ask(each, KubeadmNode).machine_id, planes)
    members = _members(machine)
    for name in lost_nodes(members, topology=topology, machine_ids=ids, known=known, seed=restore.seed):
        host.log(f"Deleting the node {name}: its machine was lost")
        if not run_on(
            host, machine, StringCommand(f"{KUBECTL} delete node --ignore-not-found", QuoteString(name))
        ):
            return False
    return True


def _members(machine: Host) -> ClusterMembersState:
    """Ask the restored API, which for a moment after its start refuses even the administrator."""
    deadline = time.monotonic() + _API_SECONDS
    while True:
        try:
            return ask(machine, ClusterMembers)
        except NotRead:
            if time.monotonic() > deadline:
                raise
            sleep(2)


def _keeps_files(machine: Host, found: KubeadmNodeState, restore: Restore) -> bool:
    """Return whether the seed has all of kubeadm's files, and the keys of the backup."""
    if not is_whole(found, etcd_image=etcd_image_of(restore.backup)):
        return False
    try:
        pki = JoinCredentials.ask_shared_pki(machine)
    except DeployError:
        return False
    return pki.split() == restore.shared_pki.split()


def seed_of(restore: Begun) -> Host:
    """Return the machine on which the cluster is restored."""
    return inventory.get_host(restore.seed.host)
