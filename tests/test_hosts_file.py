"""One name in a hosts file."""

import pytest

from kubeadm_deploys.hosts_file import with_name

OTHERS = "# cloud's own\n127.0.0.1 localhost\n127.0.1.1\tcp-1.example.com cp-1 # this machine\n"


def pointed(text: str) -> str:
    return with_name(text, name="api.shop.internal", address="10.0.0.2")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "10.0.0.2 api.shop.internal\n"),
        (OTHERS, f"{OTHERS}10.0.0.2 api.shop.internal\n"),
        (f"10.0.0.9 api.shop.internal\n{OTHERS}", f"10.0.0.2 api.shop.internal\n{OTHERS}"),
        ("10.0.0.9 api.shop.internal\n10.0.0.8\tapi.shop.internal\n", "10.0.0.2 api.shop.internal\n"),
        ("10.0.0.9 api.shop.internal other\n", "10.0.0.2 api.shop.internal\n10.0.0.9 other\n"),
        ("#10.0.0.9 api.shop.internal\n", "#10.0.0.9 api.shop.internal\n10.0.0.2 api.shop.internal\n"),
        ("10.0.0.9 xapi.shop.internal\n", "10.0.0.9 xapi.shop.internal\n10.0.0.2 api.shop.internal\n"),
    ],
)
def test_the_name_has_one_address_and_the_rest_stays(text: str, wanted: str) -> None:
    assert pointed(text) == wanted
    assert pointed(wanted) == wanted
