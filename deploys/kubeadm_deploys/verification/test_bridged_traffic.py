"""The kernel forwards packets and lets iptables see bridged traffic, now and after a reboot."""

import pytest

from kubeadm_deploys.verification.remote import Answers

COMMANDS = {
    "modules file": "cat /etc/modules-load.d/k8s.conf",
    # systemd prints all sysctl.d files in the order in which it applies them at boot.
    "boot settings": "cat /etc/sysctl.d/k8s.conf && /usr/lib/systemd/systemd-sysctl --cat-config",
    "filesystems": "cat /proc/filesystems",
    # Module lists omit a br_netfilter that is built into the kernel, but this folder still exists.
    "br_netfilter": "test -d /proc/sys/net/bridge",
    "net.bridge.bridge-nf-call-iptables": "cat /proc/sys/net/bridge/bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables": "cat /proc/sys/net/bridge/bridge-nf-call-ip6tables",
    "net.ipv4.ip_forward": "cat /proc/sys/net/ipv4/ip_forward",
}

SETTINGS = (
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv4.ip_forward",
)


@pytest.mark.parametrize("module", ["overlay", "br_netfilter"])
def test_module_is_loaded_at_boot(answers: Answers, module: str) -> None:
    assert module in answers["modules file"].lines


def test_overlay_works(answers: Answers) -> None:
    assert "nodev\toverlay" in answers["filesystems"].lines


def test_br_netfilter_works(answers: Answers) -> None:
    assert answers["br_netfilter"].status == 0, "/proc/sys/net/bridge is missing: load br_netfilter"


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting_is_in_effect(answers: Answers, setting: str) -> None:
    assert answers[setting].text == "1"


@pytest.mark.parametrize("setting", SETTINGS)
def test_setting_survives_a_reboot(answers: Answers, setting: str) -> None:
    """The last file that sets a key wins."""
    values = [
        line.partition("=")[2].strip()
        for line in answers["boot settings"].lines
        if line.partition("=")[0].strip().lstrip("-").replace("/", ".") == setting
    ]
    assert values and values[-1] == "1", f"{setting} is set to {values or 'nothing'} at boot"
