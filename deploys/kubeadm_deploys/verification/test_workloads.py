"""``kubectl logs`` and ``kubectl exec`` work for pods on every node."""

from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.traffic import CLIENT, Traffic


def test_logs_are_readable(traffic: Traffic, machine: Machine) -> None:
    pod = traffic.pod(CLIENT, machine.node_name)
    log = traffic.cluster.kubectl("logs", f"--namespace={pod.namespace}", pod.name).text
    assert "Started HTTP server on port 8080" in log


def test_exec_runs_a_command(traffic: Traffic, machine: Machine) -> None:
    pod = traffic.pod(CLIENT, machine.node_name)
    answer = traffic.cluster.kubectl(
        "exec", f"--namespace={pod.namespace}", pod.name, "--", "/agnhost", "--version"
    )
    assert answer.text.startswith("app version ")
