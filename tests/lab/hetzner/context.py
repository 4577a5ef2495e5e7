"""What a request handler works on."""

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
"""Where the WSGI environment has the project of the server that a request came to."""
CREATED = 201
NOTHING: tuple[str, int] = ("", 204)


def project() -> Project:
    """The project of the request's token."""
    return cast(Project, request.environ[ENVIRON])


@contextmanager
def backend_in_request() -> Iterator[None]:
    """Work of the backend in an endpoint without action: its failure is an error of the API's server."""
    try:
        yield
    except BackendError as error:
        raise ApiError("server_error", str(error)) from error
