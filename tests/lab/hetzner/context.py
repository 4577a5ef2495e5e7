"""The context of a request handler."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import request

from tests.lab.hetzner.backend import BackendError
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json

Answer = Json | tuple[Json, int] | tuple[str, int]
ENVIRON = "hetzner.project"
"""Key of the WSGI environment for the server's project."""
CREATED = 201
NOTHING: tuple[str, int] = ("", 204)


def project() -> Project:
    """Return the project of the request's token."""
    return cast(Project, request.environ[ENVIRON])


@contextmanager
def backend_in_request() -> Iterator[None]:
    """Turn a backend failure in an endpoint without an action into a server error."""
    try:
        yield
    except BackendError as error:
        raise ApiError("server_error", str(error)) from error
