"""What is confirmed before a cluster is given up, and what its name leaves in /etc/hosts."""

import pytest

from kubeadm_deploys import hosts_file
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_traces import FILES, ClusterTraces
from kubeadm_deploys.operations.reset import clean_command
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.reset import PATHS, refuse_unconfirmed

OPTIONS = ClusterOptions(cluster_name="demo")


@pytest.mark.parametrize("confirmation", [None, "", "other", True])
def test_only_the_clusters_name_confirms(confirmation: object) -> None:
    with pytest.raises(InputError, match="add --data confirm=demo"):
        refuse_unconfirmed(options=OPTIONS, confirmation=confirmation)
    refuse_unconfirmed(options=OPTIONS, confirmation="demo")


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


def test_etcds_data_go_before_the_ca_that_says_whose_they_are() -> None:
    script = clean_command().get_raw_value()
    kubeadm, data, certificates, everything = (
        script.index(words)
        for words in (
            "--cert-dir /nonexistent",
            "rm --recursive --force /var/lib/etcd/member",
            "rm --recursive --force /etc/kubernetes/pki",
            f"rm --recursive --force {FILES[0]}",
        )
    )
    assert kubeadm < data < certificates < everything


def test_nothing_of_another_etcd_is_deleted() -> None:
    assert [path for path in FILES if path.startswith("/var/lib/etcd")] == ["/var/lib/etcd/member"]
