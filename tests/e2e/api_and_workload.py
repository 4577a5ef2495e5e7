"""Ask a cluster's API and a workload without a pause, from one of its nodes, and tell what failed.

Each write and each request uses a new connection. A write counts if the API has acknowledged it; its moment is taken when the
pod has been asked, too.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from kubeadm_deploys.verification.options import AGNHOST_IMAGE
from tests.e2e.conftest import Cluster
from tests.lab.docker import docker

NAMESPACE = "asked"

_FOLDER = "/root/asked"

# One process makes both requests, each to another server.
_ASK = r"""
cd /root/asked
began=$(date +%s%N)
n=0
while [ ! -e end ]; do
  n=$((n + 1))
  name="write-$began-$n"
  seen=$(curl --silent --insecure --max-time 3 --cert client.crt --key client.key --output /dev/null \
    --write-out '%{http_code} ' --header 'Content-Type: application/json' \
    --data "{\"metadata\": {\"name\": \"$name\"}}" "$API/api/v1/namespaces/asked/configmaps" \
    --next --silent --fail --max-time 2 --output /dev/null --write-out '%{exitcode}' "http://$POD:8080/hostname")
  code=${seen% *}
  if [ "$code" = 201 ]; then echo "$name $(date +%s.%N)" >> written; else echo "$code" >> failed-writes; fi
  if [ "${seen#* }" = 0 ]; then echo >> answered; else date >> unanswered; fi
  sleep 0.1
done
"""


@dataclass
class Asked:
    """What was seen: seconds between acknowledged writes, failed writes, lost writes, requests and failed ones."""

    longest_gap: float = 0
    failed_writes: int = 0
    written: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    answered: int = 0
    unanswered: int = 0


@contextmanager
def asked(cluster: Cluster, *, server: str, of: str) -> Iterator[Asked]:
    """Ask until the context ends: the API at ``server`` and a pod on the worker, from the host ``of``."""
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "asked", "namespace": NAMESPACE},
            "spec": {
                "nodeName": cluster.worker,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "web", "image": AGNHOST_IMAGE, "args": ["netexec"]}],
            },
        },
    )
    wait = ("wait", "--for=condition=Ready", "pod/asked", f"--namespace={NAMESPACE}", "--timeout=120s")
    cluster.kubectl(*wait)
    get = ("get", "pod", "asked", f"--namespace={NAMESPACE}", "--output=jsonpath={.status.podIP}")
    pod = cluster.kubectl(*get)
    admin = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/admin.conf")
    cluster.shell(of, f"rm -rf {_FOLDER}; mkdir -p {_FOLDER}")
    for name, file in (("client-certificate-data", "client.crt"), ("client-key-data", "client.key")):
        (encoded,) = [line.split()[1] for line in admin.splitlines() if line.strip().startswith(f"{name}:")]
        cluster.shell(of, f"umask 077; echo {encoded} | base64 --decode > {_FOLDER}/{file}")
    docker("exec", "--detach", "--env", f"API={server}", "--env", f"POD={pod}", of, "sh", "-c", _ASK)
    seen = Asked()
    try:
        time.sleep(3)
        yield seen
        time.sleep(3)
    finally:
        cluster.shell(of, f"touch {_FOLDER}/end; sleep 4")
    lines = cluster.shell(of, f"cat {_FOLDER}/written").splitlines()
    times = [float(line.split()[1]) for line in lines]
    seen.written = [line.split()[0] for line in lines]
    seen.longest_gap = max(later - earlier for earlier, later in pairwise(times))
    listed = cluster.kubectl("get", "configmaps", f"--namespace={NAMESPACE}", "--output=json")
    seen.lost = set(seen.written) - {item["metadata"]["name"] for item in json.loads(listed)["items"]}
    count = "cat {} 2> /dev/null | wc -l"
    seen.failed_writes = int(cluster.shell(of, f"cd {_FOLDER}; {count.format('failed-writes')}"))
    seen.answered = int(cluster.shell(of, f"cd {_FOLDER}; {count.format('answered')}"))
    seen.unanswered = int(cluster.shell(of, f"cd {_FOLDER}; {count.format('unanswered')}"))
