"""The kubelet's resolver file, made from the DNS servers that machines name."""

import pytest

from kubeadm_deploys.sections.kubelet_dns import resolver_file, usable

FILE, SYSTEMD = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"

STUB = "# systemd-resolved's stub\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n"

# What Hetzner hands out: four servers, of which a resolver asks three, and pods reach two.
HETZNER = """\
nameserver 185.12.64.2
nameserver 185.12.64.1
nameserver 2a01:4ff:ff00::add:1
# Too many DNS servers configured, the following entries may be ignored.
nameserver 2a01:4ff:ff00::add:2
search .
"""


def settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def chosen(*nameservers: str, **sources: str) -> list[str]:
    paths = {"file": FILE, "systemd": SYSTEMD}
    return settings(
        resolver_file(sources={paths[name]: text for name, text in sources.items()}, nameservers=nameservers)
    )


def test_servers_search_domains_and_options_are_kept() -> None:
    text = "nameserver 10.0.0.53\nsearch corp.example.com example.com\noptions timeout:1\noptions rotate\n"
    assert chosen(file=text) == [
        "nameserver 10.0.0.53",
        "search corp.example.com example.com",
        "options timeout:1 rotate",
    ]


def test_behind_a_stub_the_real_servers_are_found() -> None:
    assert chosen(file=STUB, systemd=HETZNER) == ["nameserver 185.12.64.2", "nameserver 185.12.64.1"]


def test_systemds_servers_do_not_count_if_the_file_has_servers() -> None:
    assert chosen(file="nameserver 10.0.0.53\n", systemd=HETZNER) == ["nameserver 10.0.0.53"]


def test_a_local_cache_is_left_out_and_the_others_stay() -> None:
    assert chosen(file="nameserver 127.0.0.1\nnameserver 10.0.0.53\n") == ["nameserver 10.0.0.53"]


def test_there_are_at_most_three_servers_each_once() -> None:
    text = "".join(f"nameserver 10.0.0.{number}\n" for number in (1, 1, 2, 3, 4))
    assert chosen(file=text) == ["nameserver 10.0.0.1", "nameserver 10.0.0.2", "nameserver 10.0.0.3"]


@pytest.mark.parametrize(
    ("nameserver", "is_usable"),
    [
        ("9.9.9.9", True),
        ("169.254.169.254", True),
        ("127.0.0.53", False),
        ("127.0.1.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("2620:fe::fe", False),
        ("fe80::1%eth0", False),
        ("resolver.example.com", False),
    ],
)
def test_pods_can_ask_only_an_ipv4_server_that_is_not_their_own_loopback(
    nameserver: str, is_usable: bool
) -> None:
    assert usable(nameserver) is is_usable


def test_the_users_servers_replace_the_machines_and_the_search_domains_stay() -> None:
    assert chosen("10.0.0.53", "10.0.0.54", file=f"{HETZNER}search example.com\n") == [
        "nameserver 10.0.0.53",
        "nameserver 10.0.0.54",
        "search example.com",
    ]
    assert chosen("10.0.0.53") == ["nameserver 10.0.0.53"]


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ({}, "none"),
        ({"file": "search example.com\n"}, "none"),
        ({"file": STUB}, "127.0.0.53"),
        ({"file": STUB, "systemd": "nameserver 2a01:4ff:ff00::add:1\n"}, "127.0.0.53, 2a01:4ff:ff00::add:1"),
    ],
)
def test_without_a_usable_server_the_error_names_the_others(sources: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        chosen(**sources)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        (
            "; comment\n#nameserver 1.1.1.1\nnameserver 10.0.0.53 # no comment here\n",
            ["nameserver 10.0.0.53"],
        ),
        ("  nameserver   10.0.0.53\n", ["nameserver 10.0.0.53"]),
        ("nameserver\nnameserver 10.0.0.53", ["nameserver 10.0.0.53"]),
        (
            "domain a.example\nsearch b.example\nnameserver 10.0.0.53",
            ["nameserver 10.0.0.53", "search b.example"],
        ),
        (
            "search b.example\ndomain a.example\nnameserver 10.0.0.53",
            ["nameserver 10.0.0.53", "search a.example"],
        ),
        ("search\nnameserver 10.0.0.53", ["nameserver 10.0.0.53"]),
    ],
)
def test_files_are_read_as_the_c_library_does(text: str, settings: list[str]) -> None:
    assert chosen(file=text) == settings
