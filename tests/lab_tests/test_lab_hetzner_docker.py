"""The double's docker backend, as far as it can be tested without a docker daemon."""

import json
from typing import Any

import pytest

from tests.lab.hetzner import docker_images
from tests.lab.hetzner.backend import BackendError, Machine
from tests.lab.hetzner.docker_cloud_init import seed
from tests.lab.hetzner.docker_firewall import ruleset
from tests.lab.hetzner.docker_haproxy import configuration, health

ANYWHERE = ["0.0.0.0/0", "::/0"]


def rule(**changed: Any) -> dict[str, Any]:
    """Return a firewall rule in the API's format."""
    return {
        **{"direction": "in", "protocol": "tcp", "port": "22", "description": None},
        **{"source_ips": ANYWHERE, "destination_ips": []},
        **changed,
    }


def service(**changed: Any) -> dict[str, Any]:
    """Return a load balancer service in the API's format."""
    check = {"protocol": "tcp", "port": 6443, "interval": 3, "timeout": 2, "retries": 3}
    return {
        **{"protocol": "tcp", "listen_port": 443, "destination_port": 6443, "proxyprotocol": False},
        **{"health_check": check | changed.pop("health_check", {})},
        **changed,
    }


def chain(text: str, name: str) -> list[str]:
    """Return the rules of one chain of the firewall, without the common first and last ones."""
    table = text.partition("delete table inet hcloud-firewall")[2].partition("table ip")[0]
    lines = table.partition(f"chain {name} {{\n")[2].partition("}\n}")[0].splitlines()
    assert lines[2] == "ct state established,related accept"
    return lines[3 : lines.index("drop")]


def test_without_a_firewall_all_traffic_is_allowed() -> None:
    assert ruleset(rules=None, metadata=None).splitlines() == [
        *("table inet hcloud-firewall {", "}", "delete table inet hcloud-firewall"),
        *("table ip hcloud-metadata {", "}", "delete table ip hcloud-metadata"),
    ]


def test_firewall_without_rules_blocks_inbound_and_allows_outbound() -> None:
    text = ruleset(rules=[], metadata=None)

    assert chain(text, "prerouting") == []
    assert "chain postrouting" not in text


def test_rule_allows_each_of_its_ranges() -> None:
    assert chain(ruleset(rules=[rule()], metadata=None), "prerouting") == [
        "ip saddr 0.0.0.0/0 tcp dport 22 accept",
        "ip6 saddr ::/0 tcp dport 22 accept",
    ]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"port": "30000-32767"}, "tcp dport 30000-32767"),
        ({"protocol": "udp", "port": "4789"}, "udp dport 4789"),
        ({"port": "any"}, "meta l4proto tcp"),
        ({"protocol": "icmp", "port": None}, "meta l4proto { icmp, icmpv6 }"),
        ({"protocol": "esp", "port": None}, "meta l4proto esp"),
    ],
)
def test_protocols_and_ports(changed: dict[str, Any], match: str) -> None:
    text = ruleset(rules=[rule(source_ips=["192.0.2.0/24"], **changed)], metadata=None)

    assert chain(text, "prerouting") == [f"ip saddr 192.0.2.0/24 {match} accept"]


def test_outbound_is_restricted_by_the_first_outbound_rule() -> None:
    outbound = rule(direction="out", source_ips=[], destination_ips=["192.0.2.1/32"], port="53")

    text = ruleset(rules=[rule(), outbound], metadata=None)

    assert chain(text, "postrouting") == ["ip daddr 192.0.2.1/32 tcp dport 53 accept"]
    assert len(chain(text, "prerouting")) == 2


def test_firewall_does_not_apply_to_private_networks() -> None:
    text = ruleset(rules=[rule()], metadata=None)

    assert "iifname != $public accept" in text


def test_metadata_is_redirected_to_the_api() -> None:
    text = ruleset(rules=None, metadata="10.213.0.1:8443")

    assert text.count("ip daddr 169.254.169.254 tcp dport 80 dnat to 10.213.0.1:8443") == 2


def test_service_has_its_targets_with_health_checks() -> None:
    text = configuration(services=[service()], targets=["10.0.0.2", "10.0.0.3"])

    assert text.endswith(
        "listen port-443\n"
        "  bind :443\n"
        "  timeout check 2s\n"
        "  server 10.0.0.2 10.0.0.2:6443 check port 6443 inter 3s rise 3 fall 3\n"
        "  server 10.0.0.3 10.0.0.3:6443 check port 6443 inter 3s rise 3 fall 3\n"
    )


def test_health_check_over_https() -> None:
    http = {"domain": None, "path": "/readyz", "response": "ok", "status_codes": ["200", "3?*"], "tls": True}
    balanced = service(health_check={"protocol": "http", "http": http})

    lines = configuration(services=[balanced], targets=["10.0.0.2"]).splitlines()

    assert lines[-5:-1] == [
        "  option httpchk",
        "  http-check send meth GET uri /readyz ver HTTP/1.0",
        "  http-check expect rstatus ^(200|3..*)$",
        '  http-check expect string "ok"',
    ]
    assert lines[-1].endswith("check port 6443 inter 3s rise 3 fall 3 check-ssl verify none")


def test_health_check_with_a_domain() -> None:
    http = {"domain": "example.test", "path": "/", "status_codes": ["2??"], "tls": False}

    text = configuration(
        services=[service(health_check={"protocol": "http", "http": http})], targets=["10.0.0.2"]
    )

    assert "http-check send meth GET uri / ver HTTP/1.1 hdr Host example.test" in text
    assert "check-ssl" not in text


def test_service_with_certificates_is_refused() -> None:
    with pytest.raises(BackendError, match=r"port 443: .* no certificates"):
        configuration(services=[service(protocol="https")], targets=[])


@pytest.mark.parametrize(
    ("status", "check", "healthy"),
    [
        ("UP", "L4OK", True),
        ("UP", "* L4OK", True),
        ("UP 1/3", "L4CON", True),
        ("UP", "INI", False),
        ("UP", "* INI", False),
        ("UP", "", False),
        ("DOWN", "L7STS", False),
        ("DOWN 2/3", "L6OK", False),
    ],
)
def test_health_follows_the_checks(status: str, check: str, healthy: bool) -> None:
    statistics = f"# pxname,svname,status,check_status,\nport-443,10.0.0.2,{status},{check},\n\n"

    assert health(statistics) == {("10.0.0.2", 443): healthy}


def test_cloud_init_gets_name_keys_and_user_data() -> None:
    server = Machine(
        id=7,
        name="demo-worker-1",
        image="debian-13",
        public_ipv4="10.213.0.150",
        ssh_keys=("k",),
        user_data="",
    )

    files = {path.rpartition("/")[2]: content for path, content in seed(server).items()}

    assert json.loads(files["meta-data"]) == {
        "instance-id": "7",
        "local-hostname": "demo-worker-1",
        "public-keys": ["k"],
    }
    assert files["user-data"] == ""


def test_image_that_docker_cannot_run_is_refused() -> None:
    with pytest.raises(
        BackendError, match=r"'ubuntu-24\.04' does not run in docker: use debian-12 or debian-13"
    ):
        docker_images.server_image(name="ubuntu-24.04")
