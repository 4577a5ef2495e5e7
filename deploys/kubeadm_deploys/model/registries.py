"""Image registries: their mirrors and credentials.

A password is never a value of an option: the option names a variable of the operator's environment, which is
only read when the files of a machine are made.
"""

import os
from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from kubeadm_deploys.model import values as typed
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.validation import Checked


class Registry(Checked):
    """One registry: the URLs that are tried in order before the registry itself, and who asks the registry.

    The password is in the environment variable ``password_env``. It is only sent to the registry, not to its
    mirrors: a mirror that wants a password is a registry of its own.
    """

    example: ClassVar[Mapping[str, object]] = {"username": "robot", "password_env": "REGISTRY_PASSWORD"}
    secret: ClassVar[bool] = True
    instead: ClassVar[Mapping[str, str]] = {
        "password": "export it as an environment variable, and write that variable's name as password_env"
    }

    mirrors: typed.RegistryMirrors = ()
    username: typed.RegistryUser = ""
    # A user may write the password itself, so it is not shown in messages.
    password_env: typed.EnvironmentVariable = Field(default="", repr=False)

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        if bool(self.username) != bool(self.password_env):
            raise ValueError("has only one of username and password_env; set both, or none")
        if not self.mirrors and not self.username:
            raise ValueError("is empty; set mirrors, or username and password_env, or leave the registry out")
        return self


def passwords(registries: Mapping[str, Registry]) -> dict[str, str]:
    """Return the passwords by host, from the operator's environment.

    Raises:
        InputError: lists every variable that is not set, or whose value is not one line of text.
    """
    found = {
        host: os.environ.get(registry.password_env, "")
        for host, registry in registries.items()
        if registry.password_env
    }
    problems = []
    for host, password in found.items():
        name = registries[host].password_env
        if not password:
            problems.append(f"registries.{host}.password_env: the variable {name} is not set; export it")
        elif not password.isprintable():
            problems.append(
                f"registries.{host}.password_env: the variable {name} has line breaks or other characters that no "
                "password has; export only the password"
            )
    if problems:
        raise InputError(problems)
    return found


def named_secrets(registries: object) -> set[str]:
    """Return the passwords that unchecked data of registries name, alone and as they are sent with the user."""
    entries = registries.values() if isinstance(registries, Mapping) else ()
    secrets = set()
    for entry in entries:
        name = entry.get("password_env") if isinstance(entry, Mapping) else None
        if isinstance(name, str) and (password := os.environ.get(name)):
            secrets |= {password, f"{entry.get('username')}:{password}"}
    return secrets
