"""An etcd whose quota is reached takes writes again after the commands of docs/disaster.md."""

from tests.e2e import documented, etcd
from tests.e2e.conftest import Cluster, completed
from tests.support.disaster_page import NO_SPACE

# etcd raises this alarm itself when its database has reached the quota. Only its HTTP API lets a client raise it.
_RAISE_ALARM = """
set -eu
cd /etc/kubernetes/pki/etcd
ask() {
  curl --silent --fail --cacert ca.crt --cert server.crt --key server.key --data "$2" "https://127.0.0.1:2379/v3/maintenance/$1"
}
member=$(ask status '{}' | sed -n 's/.*"member_id": *"\\([0-9]*\\)".*/\\1/p')
ask alarm '{"action": "ACTIVATE", "memberID": "'"$member"'", "alarm": "NOSPACE"}'
"""


def test_an_etcd_without_space_takes_writes_again(cluster: Cluster) -> None:
    host = cluster.control_plane
    alarm = cluster.shell(host, _RAISE_ALARM)
    try:
        assert "NOSPACE" in alarm, alarm
        create = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "create", "configmap", "no-space")
        refused = completed(["docker", "exec", host, *create])
        assert refused.returncode == 1
        assert "database space exceeded" in refused.stderr, refused.stderr
    finally:
        printed = documented.as_root(cluster, NO_SPACE, host=host)
    assert "compacted revision" in printed and "Finished defragmenting" in printed, printed
    cluster.kubectl("create", "configmap", "no-space")
    cluster.kubectl("delete", "configmap", "no-space")
    assert etcd.voters(cluster) == [host]
    assert cluster.converge().changed == []
