"""Resetting a cluster: the confirmation, the refusals, and what cleaning removes from a machine."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.cluster.api_leader import choose_leader
from kubeadm_deploys.cluster.cleaning import clean_command
from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD, KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.lifecycle.backup import SNAPSHOT_FOLDER
from kubeadm_deploys.lifecycle.reset import (
    PATHS,
    is_part,
    refuse_unconfirmed,
    reset_findings,
    subject_findings,
    why_it_goes_on,
)
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.findings import Finding, Severity, unskipped
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.machine_checks import CandidateNode
from kubeadm_deploys.remote.reading import NotRead
from kubeadm_deploys.scripts import text
from tests.support.certificates import Authority
from tests.support.machines import (
    ABSENT,
    DOWN,
    MEMBER,
    OURS,
    PARTIAL,
    TOPOLOGY,
    WORKER,
    A,
    B,
    C,
    W,
    not_read,
    of_another_cluster,
    voter,
)

OPTIONS = ClusterOptions(cluster_name="demo")


@pytest.mark.parametrize("confirmation", [None, "", "other", True, 0])
def test_only_the_clusters_name_confirms(confirmation: object) -> None:
    with pytest.raises(InputError, match="add --data confirm=demo"):
        refuse_unconfirmed(options=OPTIONS, confirmation=confirmation)
    refuse_unconfirmed(options=OPTIONS, confirmation="demo")


def test_a_name_that_the_command_line_parses_as_a_number_confirms_too() -> None:
    refuse_unconfirmed(options=ClusterOptions(cluster_name="2024"), confirmation=2024)


def test_only_the_endpoints_name_is_removed_from_the_hosts_file() -> None:
    kept = "127.0.0.1\tlocalhost\n\n# api is gone\n"
    text = f"{kept}10.0.0.1 api\n10.0.0.2 api other\n10.0.0.3 another"
    assert hosts_file.without_name(text, name="api") == f"{kept}10.0.0.2 other\n10.0.0.3 another"
    assert hosts_file.without_name(kept, name="api") == kept


def test_deleted_paths_belong_to_this_package() -> None:
    assert all(
        path.startswith(("/etc/kubernetes/", "/etc/systemd/system/kubeadm-deploys-")) for path in PATHS
    )


def test_a_bare_machine_has_no_traces() -> None:
    assert ClusterTraces().process([]) == []


@pytest.mark.parametrize("saved", ["", f"{SAVED_ETCD}/20261128T000000Z"])
def test_etcd_data_is_removed_before_the_ca_that_identifies_it(saved: str) -> None:
    script = clean_command(saved=saved).get_raw_value()
    kubeadm, kept, deleted, certificates, everything = (
        script.index(command)
        for command in (
            "--cert-dir /nonexistent",
            'mv /var/lib/etcd/member "$1/member"',
            'remove "$2" /var/lib/etcd/member',
            "remove /etc/kubernetes/pki",
            "with_cluster_files remove",
        )
    )
    assert kubeadm < kept < deleted < certificates < everything
    assert script.split()[-2:] == [saved or "''", SAVED_ETCD]


def test_nothing_of_another_etcd_is_deleted() -> None:
    files = text("library/cluster-traces").partition("with_cluster_files() {")[2]
    assert re.findall(r"/var/lib/etcd\S*", files) == ["/var/lib/etcd/member", SNAPSHOT_FOLDER]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_calicos_mount_is_removed_if_no_pod_has_mounts(tmp_path: Path, shell: str) -> None:
    mounts, bpf = tmp_path / "mounts", tmp_path / "bpf"
    (bpf / "maps.debug").mkdir(parents=True)
    library = text("library/cluster-traces").replace("/proc/mounts", str(mounts))
    library = library.replace("find /sys/fs/bpf", f"find {bpf}")
    # clean-machine uses the library like this.
    script = f"set -eu\n{library}\nfor each in $(cluster_mounts); do echo $each; done"

    def mounted(*lines: str) -> list[str]:
        mounts.write_text("".join(f"{line}\n" for line in lines))
        done = subprocess.run([shell, "-c", script], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    calico_mount = "bpf /sys/fs/bpf bpf rw,relatime 0 0"
    pod = "tmpfs /var/lib/kubelet/pods/x rw 0 0"
    assert mounted("/dev/vda1 /var/lib/kubelet ext4 rw 0 0", calico_mount) == ["/sys/fs/bpf"]
    assert mounted(pod, "nsfs /run/netns/cni-1 nsfs rw 0 0") == [
        "/var/lib/kubelet/pods/x",
        "/run/netns/cni-1",
    ]
    assert mounted("bpf /sys/fs/bpf bpf rw,nosuid 0 0", pod) == ["/var/lib/kubelet/pods/x"]
    (bpf / "calico").mkdir()
    assert mounted(calico_mount) == []


VOLUME = "/var/lib/kubelet/pods/x/volumes/my\\040data"


@pytest.mark.parametrize(
    ("refused", "calls", "complaint"),
    [
        ("never", ["umount my data 1", "kubeadm"], ""),
        ("once", ["umount my data 1", "umount my data 2", "kubeadm"], ""),
        (
            "always",
            ["umount my data 1", "umount my data 2"],
            "/var/lib/kubelet/pods/x/volumes/my data cannot be unmounted; stop what uses it, and run again",
        ),
    ],
)
def test_volumes_are_unmounted_before_kubeadm_deletes_anything(
    tmp_path: Path, refused: str, calls: list[str], complaint: str
) -> None:
    mounts, called = tmp_path / "mounts", tmp_path / "called"
    mounts.write_text(f"/dev/vda1 /var/lib/kubelet ext4 rw 0 0\n/dev/vdb {VOLUME} ext4 rw 0 0\n")
    for name, body in {
        "systemctl": "exit 0",
        # kubeadm fails, so that the script ends there; should it not, nothing of this machine is deleted.
        **dict.fromkeys(("kubeadm", "ctr", "rm", "ip"), f'echo "${{0##*/}}" >> {called}; exit 3'),
        "umount": (
            f'for path; do :; done; echo umount "${{path##*/}}" "$#" >> {called}; '
            f'[ "$#" = 2 ] && [ {refused} != always ] || [ {refused} = never ]'
        ),
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = text("clean-machine").replace("/proc/mounts", str(mounts))
    done = subprocess.run(
        ["sh", "-c", f"PATH={tmp_path}:$PATH\n{script}", "sh", "", "/x"], capture_output=True, text=True
    )
    assert called.read_text().splitlines() == calls
    assert (done.returncode, done.stderr.strip()) == (1 if complaint else 3, complaint)


def test_nothing_is_deleted_through_a_mount(tmp_path: Path) -> None:
    mounts, folder = tmp_path / "mounts", tmp_path / "folder"
    (folder / "volume").mkdir(parents=True)
    mounts.write_text(f"/dev/vdb {folder}/volume ext4 rw 0 0\n")
    library = text("library/cluster-traces").replace("/proc/mounts", str(mounts))
    _, _, rest = text("clean-machine").partition("\nremove() {")
    script = f"{library}\nremove() {{{rest.partition('}')[0]}}}\n"

    def remove(path: Path) -> str:
        done = subprocess.run(
            ["sh", "-c", f'{script}\nremove "$1"', "sh", path], capture_output=True, text=True
        )
        assert done.returncode == bool(done.stderr)
        return done.stderr

    refusal = f"{folder}/volume is still mounted, and would be deleted; unmount it, and run again\n"
    assert remove(folder) == remove(folder / "volume") == refusal
    assert (folder / "volume").exists()
    (folder / "vol").mkdir()
    assert remove(folder / "vol") == ""
    assert not (folder / "vol").exists()


def test_etcd_data_is_kept_within_its_own_filesystem() -> None:
    """/var/lib/etcd may be a mount; moving the data out of it would copy it and need the space twice."""
    assert SAVED_ETCD.startswith("/var/lib/etcd/")


VOTERS = ClusterMembersState(etcd=(voter(A), voter(B), voter(C)))


def goes_on(
    *active: Node, read: tuple[KubeadmNodeState | NotRead, ...], members: ClusterMembersState | None = VOTERS
) -> str:
    """Return why the cluster goes on without these machines; ``read`` are the control planes' states."""
    found = dict(zip([node.host for node in TOPOLOGY.control_planes], read, strict=True))
    hosts = [node.host for node in active]
    return why_it_goes_on(
        TOPOLOGY,
        active=hosts,
        control_planes=found,
        api_leader=choose_leader(TOPOLOGY, found=found, able=frozenset(hosts)),
        members=members,
    )


def test_a_cluster_that_is_reset_completely_does_not_go_on() -> None:
    assert goes_on(A, B, C, W, read=(MEMBER, MEMBER, MEMBER)) == ""
    assert goes_on(A, B, C, W, read=(DOWN, DOWN, DOWN), members=None) == ""
    # Control planes without a cluster may stay.
    assert goes_on(A, W, read=(MEMBER, ABSENT, PARTIAL), members=ClusterMembersState(etcd=(voter(A),))) == ""
    assert goes_on(W, read=(ABSENT, ABSENT, ABSENT), members=ClusterMembersState()) == ""


@pytest.mark.parametrize("state", [MEMBER, DOWN])
def test_a_cluster_goes_on_with_a_control_plane_outside_of_the_run(state: KubeadmNodeState) -> None:
    reason = goes_on(A, B, W, read=(state, state, state), members=VOTERS if state is MEMBER else None)
    assert reason == "c is one of its control planes, but not part of this run"


@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("others", [(MEMBER, MEMBER), (ABSENT, ABSENT)])
def test_an_unread_control_plane_may_go_on(
    reached: bool, others: tuple[KubeadmNodeState, KubeadmNodeState]
) -> None:
    silent = not_read(C, reached=reached)
    reason = goes_on(A, B, W, read=(*others, silent), members=None)
    assert reason == f"c could not be read: {silent.reason}"


def test_a_cluster_goes_on_with_a_control_plane_outside_the_inventory() -> None:
    lost = Node(host="", name="lost", ip="10.0.0.7", address="")
    members = ClusterMembersState(etcd=(voter(A), voter(lost)))
    reason = goes_on(A, B, C, W, read=(MEMBER, ABSENT, ABSENT), members=members)
    assert reason == "it has control planes that are not in the inventory: lost"


def test_a_machine_with_any_cluster_state_is_part_of_a_cluster() -> None:
    assert [is_part(found) for found in (ABSENT, PARTIAL, WORKER, MEMBER)] == [False, True, True, True]


def identity_findings(
    found: KubeadmNodeState, *, node: Node = W, kubeconfig_ca: str | None = None
) -> list[Finding]:
    return list(
        reset_findings(
            found,
            node=node,
            topology=TOPOLOGY,
            cluster_name="kubernetes",
            endpoint="api.kubernetes.internal",
            kubeconfig_ca=kubeconfig_ca,
        )
    )


def test_a_control_plane_of_another_cluster_is_not_reset() -> None:
    other = dataclasses.replace(MEMBER, cluster_name="production")
    (finding,) = identity_findings(other, node=A)
    assert (finding.check, finding.severity) == ("another-cluster", Severity.ERROR)
    assert finding.found == "its cluster is called 'production', not 'kubernetes'"
    assert unskipped([finding], skipped=("another-cluster",)) == (finding,)
    assert identity_findings(MEMBER, node=A) == []


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("https://api.kubernetes.internal:6443", False),
        # A control plane's own API server, by its address in the inventory.
        (f"https://{A.ip}:6443", False),
        (f"https://{W.ip}:6443", True),
        ("https://api.production.internal:6443", True),
        ("https://10.7.7.7:6443", True),
        ("not an URL", True),
        ("", False),
    ],
)
def test_a_worker_belongs_to_the_cluster_at_its_api_endpoint(server: str, refused: bool) -> None:
    found = dataclasses.replace(WORKER, server=server)
    findings = identity_findings(found)
    assert [finding.check for finding in findings] == (["another-cluster"] if refused else [])
    assert all(server in finding.found for finding in findings)


def test_without_a_cluster_a_machine_is_compared_with_the_operators_kubeconfig() -> None:
    """Two clusters of the same name also have the same endpoint."""
    assert identity_findings(WORKER, kubeconfig_ca=OURS) == []
    assert identity_findings(ABSENT, kubeconfig_ca=OURS) == []
    (finding,) = identity_findings(of_another_cluster(WORKER), kubeconfig_ca=OURS)
    assert (finding.check, finding.severity) == ("another-cluster", Severity.ERROR)
    assert finding.found.startswith("its CA certificate is not the one (")


def test_a_leader_without_a_ca_certificate_is_compared_by_its_kubelets_certificate() -> None:
    ours, others = Authority(), Authority()
    leader = dataclasses.replace(MEMBER, ca_certificate="", client_certificate=ours.issue("system:node:a"))
    for authority, checks in ((ours, []), (others, ["another-cluster"])):
        worker = dataclasses.replace(
            WORKER,
            ca_certificate=authority.certificate,
            client_certificate=authority.issue("system:node:w"),
        )
        candidate = CandidateNode(
            node=W, control_plane=False, state=NodeState.PARTIAL, kubeadm=worker, machine=MachineState()
        )
        findings = subject_findings(
            candidate, options=OPTIONS, topology=TOPOLOGY, kubeconfig_ca=None, leader=leader
        )
        assert [finding.check for finding in findings] == checks
