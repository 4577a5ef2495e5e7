"""What is confirmed before a cluster is given up, what must not be given up, and what its name leaves in /etc/hosts."""

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys import hosts_file
from kubeadm_deploys.election import elect
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD, KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.facts.reading import NotRead
from kubeadm_deploys.findings import Finding, Severity, unwaived
from kubeadm_deploys.machine_checks import Subject
from kubeadm_deploys.nodes import Node
from kubeadm_deploys.operations.reset import clean_command
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.reset import (
    PATHS,
    is_part,
    refuse_unconfirmed,
    reset_findings,
    subject_findings,
    why_it_goes_on,
)
from kubeadm_deploys.scripts import text
from tests.certificates import Authority
from tests.machines import (
    ABSENT,
    DOWN,
    HALF,
    MEMBER,
    OURS,
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


def test_a_name_that_the_command_line_takes_for_a_number_confirms_too() -> None:
    refuse_unconfirmed(options=ClusterOptions(cluster_name="2024"), confirmation=2024)


def test_the_name_goes_out_of_the_hosts_file_and_nothing_else() -> None:
    kept = "127.0.0.1\tlocalhost\n\n# api is gone\n"
    text = f"{kept}10.0.0.1 api\n10.0.0.2 api other\n10.0.0.3 another"
    assert hosts_file.without_name(text, name="api") == f"{kept}10.0.0.2 other\n10.0.0.3 another"
    assert hosts_file.without_name(kept, name="api") == kept


def test_our_own_folders_are_ours() -> None:
    assert all(
        path.startswith(("/etc/kubernetes/", "/etc/systemd/system/kubeadm-deploys-")) for path in PATHS
    )


def test_a_bare_machine_has_no_traces() -> None:
    assert ClusterTraces().process([]) == []


@pytest.mark.parametrize("saved", ["", f"{SAVED_ETCD}/20261128T000000Z"])
def test_etcds_data_go_before_the_ca_that_says_whose_they_are(saved: str) -> None:
    script = clean_command(saved=saved).get_raw_value()
    kubeadm, kept, deleted, certificates, everything = (
        script.index(words)
        for words in (
            "--cert-dir /nonexistent",
            'mv /var/lib/etcd/member "$1/member"',
            'rm --recursive --force "$2" /var/lib/etcd/member',
            "rm --recursive --force /etc/kubernetes/pki",
            "with_cluster_files rm --recursive --force",
        )
    )
    assert kubeadm < kept < deleted < certificates < everything
    assert script.split()[-2:] == [saved or "''", SAVED_ETCD]


def test_nothing_of_another_etcd_is_deleted() -> None:
    files = text("library/cluster-traces").partition("with_cluster_files() {")[2]
    assert re.findall(r"/var/lib/etcd\S*", files) == ["/var/lib/etcd/member"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_what_calico_has_mounted_is_unmounted_when_no_pod_has_anything_mounted(
    tmp_path: Path, shell: str
) -> None:
    mounts, bpf = tmp_path / "mounts", tmp_path / "bpf"
    (bpf / "maps.debug").mkdir(parents=True)
    library = text("library/cluster-traces").replace("/proc/mounts", str(mounts))
    library = library.replace("find /sys/fs/bpf", f"find {bpf}")
    # As clean-machine does it.
    script = f"set -eu\n{library}\nfor each in $(cluster_mounts); do echo $each; done"

    def mounted(*lines: str) -> list[str]:
        mounts.write_text("".join(f"{line}\n" for line in lines))
        done = subprocess.run([shell, "-c", script], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    calicos = "bpf /sys/fs/bpf bpf rw,relatime 0 0"
    pod = "tmpfs /var/lib/kubelet/pods/x rw 0 0"
    assert mounted("/dev/vda1 /var/lib/kubelet ext4 rw 0 0", calicos) == ["/sys/fs/bpf"]
    assert mounted(pod, "nsfs /run/netns/cni-1 nsfs rw 0 0") == [
        "/var/lib/kubelet/pods/x",
        "/run/netns/cni-1",
    ]
    assert mounted("bpf /sys/fs/bpf bpf rw,nosuid 0 0", pod) == ["/var/lib/kubelet/pods/x"]
    (bpf / "calico").mkdir()
    assert mounted(calicos) == []


def test_data_of_etcd_are_kept_within_their_own_filesystem() -> None:
    """A rename out of /var/lib/etcd, which may be a mount, would be a copy that needs the space twice."""
    assert SAVED_ETCD.startswith("/var/lib/etcd/")


VOTERS = ClusterMembersState(etcd=(voter(A), voter(B), voter(C)))


def goes_on(
    *active: Node, read: tuple[KubeadmNodeState | NotRead, ...], members: ClusterMembersState | None = VOTERS
) -> str:
    """Why the cluster goes on when these machines are cleaned; ``read`` is what was read on the control planes."""
    found = dict(zip([node.host for node in TOPOLOGY.control_planes], read, strict=True))
    hosts = [node.host for node in active]
    return why_it_goes_on(
        TOPOLOGY,
        active=hosts,
        control_planes=found,
        election=elect(TOPOLOGY, found=found, able=frozenset(hosts)),
        members=members,
    )


def test_a_cluster_of_which_everything_is_given_up_does_not_go_on() -> None:
    assert goes_on(A, B, C, W, read=(MEMBER, MEMBER, MEMBER)) == ""
    assert goes_on(A, B, C, W, read=(DOWN, DOWN, DOWN), members=None) == ""
    # Control planes without a cluster may stay.
    assert goes_on(A, W, read=(MEMBER, ABSENT, HALF), members=ClusterMembersState(etcd=(voter(A),))) == ""
    assert goes_on(W, read=(ABSENT, ABSENT, ABSENT), members=ClusterMembersState()) == ""


@pytest.mark.parametrize("state", [MEMBER, DOWN])
def test_a_cluster_goes_on_with_a_control_plane_that_is_left_out(state: KubeadmNodeState) -> None:
    said = goes_on(A, B, W, read=(state, state, state), members=VOTERS if state is MEMBER else None)
    assert said == "c is a control plane of it, and not part of this run"


@pytest.mark.parametrize("reached", [False, True])
@pytest.mark.parametrize("others", [(MEMBER, MEMBER), (ABSENT, ABSENT)])
def test_a_control_plane_that_cannot_be_asked_may_go_on(
    reached: bool, others: tuple[KubeadmNodeState, KubeadmNodeState]
) -> None:
    silent = not_read(C, reached=reached)
    said = goes_on(A, B, W, read=(*others, silent), members=None)
    assert said == f"c could not be asked: {silent.reason}"


def test_a_cluster_goes_on_with_a_control_plane_that_the_inventory_does_not_have() -> None:
    lost = Node(host="", name="lost", ip="10.0.0.7", address="")
    members = ClusterMembersState(etcd=(voter(A), voter(lost)))
    said = goes_on(A, B, C, W, read=(MEMBER, ABSENT, ABSENT), members=members)
    assert said == "lost is a control plane of it, and not in the inventory"


def test_what_has_anything_of_a_cluster_is_part_of_one() -> None:
    assert [is_part(found) for found in (ABSENT, HALF, WORKER, MEMBER)] == [False, True, True, True]


def whose(found: KubeadmNodeState, *, node: Node = W, kubeconfig_ca: str | None = None) -> list[Finding]:
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
    (finding,) = whose(other, node=A)
    assert (finding.check, finding.severity) == ("another-cluster", Severity.DANGER)
    assert finding.found == "its cluster is called 'production', and not 'kubernetes'"
    assert unwaived([finding], waived=("another-cluster",)) == (finding,)
    assert whose(MEMBER, node=A) == []


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("https://api.kubernetes.internal:6443", False),
        # A control plane's own API server, by the address that the inventory has for it.
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
    findings = whose(found)
    assert [finding.check for finding in findings] == (["another-cluster"] if refused else [])
    assert all(server in finding.found for finding in findings)


def test_without_a_cluster_a_machine_is_compared_with_the_operators_kubeconfig() -> None:
    """Two clusters that are called the same have the same endpoint, too."""
    assert whose(WORKER, kubeconfig_ca=OURS) == []
    assert whose(ABSENT, kubeconfig_ca=OURS) == []
    (finding,) = whose(of_another_cluster(WORKER), kubeconfig_ca=OURS)
    assert (finding.check, finding.severity) == ("another-cluster", Severity.DANGER)
    assert finding.found.startswith("its CA certificate is not the one (")


def test_a_control_plane_without_a_ca_certificate_is_compared_by_its_kubelets() -> None:
    ours, others = Authority(), Authority()
    leader = dataclasses.replace(MEMBER, ca_certificate="", client_certificate=ours.issue("system:node:a"))
    for authority, checks in ((ours, []), (others, ["another-cluster"])):
        worker = dataclasses.replace(
            WORKER,
            ca_certificate=authority.certificate,
            client_certificate=authority.issue("system:node:w"),
        )
        subject = Subject(
            node=W, control_plane=False, state=NodeState.HALF, kubeadm=worker, machine=MachineState()
        )
        findings = subject_findings(
            subject, options=OPTIONS, topology=TOPOLOGY, kubeconfig_ca=None, leader=leader
        )
        assert [finding.check for finding in findings] == checks
