"""Image registries: what is wrong with them is said without the password, which is that of the environment."""

from typing import Any

import pytest

from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.registries import named_secrets, passwords


def problems_of(**fields: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        ClusterOptions(**fields)
    return error.value.problems


MIRROR = {"mirrors": ["https://m.example.com"]}


@pytest.mark.parametrize(
    ("registries", "field", "words"),
    [
        ({"https://r.example.com": MIRROR}, "https://r.example.com", ["not the host of a registry"]),
        ({"docker": MIRROR}, "docker", ["'docker'", "not the host of a registry"]),
        ({"R.example.com": MIRROR}, "R.example.com", ["not the host of a registry"]),
        ({"r.example.com:0": MIRROR}, "r.example.com:0", ["not the host of a registry"]),
        ({"index.docker.io": MIRROR}, "index.docker.io", ["write docker.io"]),
        ({"r.example.com": {}}, "r.example.com", ["is empty", "set mirrors"]),
        ({"r.example.com": {"mirrors": "m.example.com"}}, "r.example.com.mirrors", ["not the URL"]),
        ({"r.example.com": {"mirrors": [""]}}, "r.example.com.mirrors", ["has ''", "not the URL"]),
        ({"r.example.com": {"mirrors": ["https://m/images"]}}, "r.example.com.mirrors", ["no v2"]),
        ({"r.example.com": {**MIRROR, "username": "a"}}, "r.example.com", ["only one of username"]),
        ({"r.example.com": {"password_env": "A"}}, "r.example.com", ["only one of username"]),
        (
            {"r.example.com": {"username": "a:b", "password_env": "A"}},
            "r.example.com.username",
            ["'a:b'", "without colons"],
        ),
    ],
)
def test_the_problem_of_a_wrong_registry_names_it(
    registries: dict[str, Any], field: str, words: list[str]
) -> None:
    (problem,) = problems_of(registries=registries)
    assert problem.startswith(f"registries.{field}: ")
    assert [word for word in words if word not in problem] == []


@pytest.mark.parametrize(
    ("registry", "fix"),
    [
        ({"username": "robot", "password": "hunter2"}, "password: is not an option; export it as"),
        ({"username": "robot", "password_env": "hunter-2"}, "password_env: its value is not the name"),
        ({"password_env": "hunter2"}, "its value has only one of"),
        ({"mirrors": ["https://robot:hunter2@m.example.com"]}, "an entry of its own"),
        ("robot:hunter2", "is not a mapping"),
    ],
)
def test_a_password_that_is_written_where_it_does_not_belong_is_not_shown(registry: object, fix: str) -> None:
    (problem,) = problems_of(registries={"r.example.com": registry})
    assert fix in problem
    assert "hunter" not in problem
    assert "hunter" not in problems_of(mirror="https://robot:hunter2@m.example.com")[0]


def test_a_password_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"username": "robot", "password_env": "E2E_PASSWORD"}
    registries = ClusterOptions(registries={"r.example.com": entry, "docker.io": MIRROR}).registries
    for wrong, words in {
        "": "E2E_PASSWORD is not set; export it",
        "a\n": "E2E_PASSWORD has line breaks",
    }.items():
        monkeypatch.setenv("E2E_PASSWORD", wrong)
        with pytest.raises(InputError) as error:
            passwords(registries)
        assert error.value.problems[0].startswith("registries.r.example.com.password_env: the variable ")
        assert words in str(error.value)
    monkeypatch.setenv("E2E_PASSWORD", "s3cret")
    assert passwords(registries) == {"r.example.com": "s3cret"}
    assert "E2E_PASSWORD" not in repr(registries)


def test_named_secrets_are_those_of_any_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2E_PASSWORD", "s3cret")
    data = {"r.example.com": {"username": "robot", "password_env": "E2E_PASSWORD"}, "a": 5, "b": {}}
    assert named_secrets(data) == {"s3cret", "robot:s3cret"}
    assert named_secrets(None) == named_secrets({"a": {"password_env": ["no"]}}) == set()
