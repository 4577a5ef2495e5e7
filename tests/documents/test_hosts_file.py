"""A name in a hosts file."""

import pytest

from kubeadm_deploys.documents.hosts_file import address_of, with_name, without_name

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
        # Names have no case.
        ("10.0.0.9 API.shop.internal\n", "10.0.0.2 api.shop.internal\n"),
        ("10.0.0.2 API.Shop.Internal\n", "10.0.0.2 API.Shop.Internal\n"),
        # Line ends and comments stay.
        ("127.0.0.1 localhost\r\n", "127.0.0.1 localhost\r\n10.0.0.2 api.shop.internal\r\n"),
        ("10.0.0.9 api.shop.internal other # mine\n", "10.0.0.2 api.shop.internal\n10.0.0.9 other # mine\n"),
        ("10.0.0.9 api.shop.internal # mine\n", "10.0.0.2 api.shop.internal\n# mine\n"),
        ("127.0.0.1 localhost", "127.0.0.1 localhost\n10.0.0.2 api.shop.internal\n"),
        ("10.0.0.9 xapi.shop.internal\n", "10.0.0.9 xapi.shop.internal\n10.0.0.2 api.shop.internal\n"),
    ],
)
def test_the_name_has_one_address_and_the_rest_is_kept(text: str, wanted: str) -> None:
    assert pointed(text) == wanted
    assert pointed(wanted) == wanted


def test_a_name_is_removed_whatever_its_case_and_nothing_else() -> None:
    text = "127.0.0.1 localhost\r\n10.0.0.2 API.shop.internal other # mine\r\n10.0.0.2 api.shop.internal\r\n"
    kept = "127.0.0.1 localhost\r\n10.0.0.2 other # mine\r\n"
    assert without_name(text, name="api.shop.internal") == kept


def test_the_address_of_a_name_is_found_whatever_its_case() -> None:
    assert address_of("10.0.0.2 API.shop.internal\n", name="api.shop.internal") == "10.0.0.2"
