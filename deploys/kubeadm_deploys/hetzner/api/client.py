"""Connect to Hetzner's API and turn its errors into messages for the operator."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, TypeVar

from pyinfra import logger
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.hetzner.api.interrupt import interrupted
from kubeadm_deploys.model import url_checks
from kubeadm_deploys.model.errors import InputError

try:
    import requests
    from hcloud import APIException, Client
    from hcloud.helpers.labels import LabelValidator
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry
except ModuleNotFoundError as error:
    raise InputError(
        [f"{error.name}: this Python package is missing; run pip install 'kubeadm-deploys[hetzner]'"]
    ) from None

__all__ = ["Client", "HetznerError", "LabelValidator", "connect"]

Answer = TypeVar("Answer")

_OFFICIAL_ENDPOINT = "https://api.hetzner.cloud/v1"

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 30.0

_LONGEST_WAIT = 3900
"""Seconds. The rate limit is hourly, so a reset later than this, clock skew included, is not credible."""

BUSY_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between attempts of a call that the API refuses because the resource is busy."""

_BUSY = ("conflict", "locked", "resource_in_use")
"""Codes of calls that the API refused before it changed anything, so a retry is safe.

A firewall or placement group stays in use for some seconds after the action that deletes its last server.
"""

_TOKEN_HELP = "create one in the Hetzner Console (your project, Security, API tokens, Read & Write)"

_EXPLANATIONS: Mapping[str | int, str] = {
    "unauthorized": f"the API rejects the token in HCLOUD_TOKEN; {_TOKEN_HELP}",
    "token_readonly": f"the token in HCLOUD_TOKEN is read-only; {_TOKEN_HELP}",
    "forbidden": f"the token in HCLOUD_TOKEN does not permit this; {_TOKEN_HELP}",
    "resource_limit_exceeded": (
        "the project's limit is reached; delete what is not needed, or request a higher limit in the Hetzner "
        "Console (Limits), then run this again"
    ),
    "uniqueness_error": (
        "a resource with this name, or the same SSH key, was created by someone else during this run; run "
        "this again, it reads the project first"
    ),
    "resource_unavailable": (
        "it is not available in this location now; choose another type or location, or try again later"
    ),
    "placement_error": (
        "no host has room for the placement group; try again later, or choose another location"
    ),
    "conflict": "the resource is being changed by another call; run this again in a minute",
    "locked": "the resource is locked by another action; run this again when that action has ended",
    "resource_in_use": (
        "the resource is still in use; run this again in a minute, or see what uses it in the Hetzner Console"
    ),
    "protected": "the resource is protected; remove the protection in the Hetzner Console and run this again",
    "rate_limit_exceeded": "the API's hourly rate limit is reached; run this again later",
    "maintenance": "the API is under maintenance; run this again later",
}
"""What the error codes of Hetzner's API reference mean for the operator."""

_CODE_OF_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    412: "resource_unavailable",
    423: "locked",
    429: "rate_limit_exceeded",
}
"""Codes for responses without one, such as a proxy's."""


class HetznerError(DeployError):
    """A failed API call: one sentence with what was tried, why it failed and what to do."""

    def __init__(self, reason: str, *, doing: str = "", code: str | int = "") -> None:
        super().__init__(f"{doing}: {reason}" if doing else reason)
        self.reason = reason
        self.code = code


def connect(
    environment: Mapping[str, str] = os.environ,
    *,
    read_timeout: float = _READ_TIMEOUT,
    backoff: float = 0.5,
    longest_wait: float = _LONGEST_WAIT,
) -> Client:
    """Return a client for the project that the environment's HCLOUD_TOKEN belongs to.

    HCLOUD_ENDPOINT replaces the official address, as in Hetzner's own tools. ``longest_wait`` is the maximum
    time in seconds to wait for a reset of the rate limit.

    Raises:
        HetznerError: the token is missing or malformed, or the endpoint is not a URL.
    """
    token = environment.get("HCLOUD_TOKEN", "").strip()
    if not token:
        raise HetznerError(f"HCLOUD_TOKEN is not set in the environment; {_TOKEN_HELP} and export it")
    if not re.fullmatch(r"[!-~]+", token):
        raise HetznerError(f"HCLOUD_TOKEN is malformed: spaces or non-ASCII characters; {_TOKEN_HELP}")
    try:
        endpoint = url_checks.url_or_empty(environment.get("HCLOUD_ENDPOINT", "")) or _OFFICIAL_ENDPOINT
    except ValueError as error:
        raise HetznerError(f"HCLOUD_ENDPOINT: {environment['HCLOUD_ENDPOINT']!r} {error}") from None
    client = Client(
        token=token,
        api_endpoint=endpoint,
        application_name="kubeadm-deploys",
        application_version=version("kubeadm-deploys"),
        timeout=(_CONNECT_TIMEOUT, read_timeout),
    )
    # hcloud has no public way to change this. Its own retries repeat POSTs that may have taken effect, and
    # guess how long to wait for the rate limit.
    base = client._client
    base._retry_max_retries = 0
    for scheme in ("https://", "http://"):
        base._session.mount(scheme, _Transport(backoff=backoff, longest_wait=longest_wait))
    return client


class _Transport(HTTPAdapter):
    """Retry what is safe to retry, and wait once for the rate limit's reset."""

    def __init__(self, *, backoff: float, longest_wait: float) -> None:
        self._longest_wait = longest_wait
        self._warned_until = 0.0
        # Failed connections are retried for every method, everything else only for GET.
        retries = Retry(
            total=2,
            allowed_methods=["GET"],
            status_forcelist=[500, 502, 503, 504],
            backoff_factor=backoff,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        super().__init__(max_retries=retries)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        response = super().send(request, *args, **kwargs)
        if response.status_code != 429:
            return response
        reset = _reset_time(response)
        seconds = reset - time.time()
        if seconds > self._longest_wait:
            raise _rate_limit_error(reset)
        self._warn(reset, seconds=max(0.0, seconds))
        if interrupted.wait(max(0.0, seconds)):
            raise _interruption()
        response = super().send(request, *args, **kwargs)
        if response.status_code == 429:
            raise _rate_limit_error(_reset_time(response))
        return response

    def _warn(self, reset: float, *, seconds: float) -> None:
        """Warn once, even when several calls wait at the same time."""
        if time.time() >= self._warned_until:
            self._warned_until = reset
            logger.warning(
                f"--> The API's rate limit is reached; continuing at {_clock(reset)}, in {seconds:.0f} s"
            )


def _reset_time(response: requests.Response) -> float:
    """Return when the rate limit resets, in seconds since 1970; infinity if the API does not say."""
    header = response.headers.get("RateLimit-Reset", "")
    return float(header) if header.isdigit() else float("inf")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _rate_limit_error(reset: float) -> HetznerError:
    when = "later" if reset == float("inf") else f"after {_clock(reset)}"
    return HetznerError(
        f"the API's hourly rate limit, shared by the whole project, is reached; run this again {when}",
        code="rate_limit_exceeded",
    )


def _interruption() -> HetznerError:
    return HetznerError(
        "interrupted; actions that the API has already started continue there", code="interrupted"
    )


def ask(
    doing: str, request: Callable[[], Answer], *, pauses: Sequence[float] = BUSY_PAUSES, hint: str = ""
) -> Answer:
    """Make one call; ``doing`` begins the error message, ``hint`` ends it when the API has nothing available.

    Raises:
        HetznerError: the call failed.
    """
    for pause in (*pauses, None):
        try:
            if interrupted.is_set():
                raise _interruption()
            return request()
        except APIException as error:
            if error.code in _BUSY and pause is not None:
                interrupted.wait(pause)
                continue
            raise HetznerError(explain(error, hint=hint), doing=doing, code=error.code) from None
        except requests.RequestException as error:
            raise HetznerError(_explain_no_answer(error), doing=doing) from None
        except HetznerError as error:
            raise HetznerError(error.reason, doing=doing, code=error.code) from None
    raise AssertionError("the last attempt returns or raises")


def explain(error: APIException, *, hint: str = "") -> str:
    """Return one sentence for an API error: what it means and what to do."""
    code = _CODE_OF_STATUS.get(error.code, error.code) if isinstance(error.code, int) else error.code
    if code == "invalid_input":
        return f"the API rejects {_fields(error.details)} ({error.message})"
    if code == "resource_unavailable" and hint:
        return f"the API says {error.message!r}; {hint}"
    if code in _EXPLANATIONS:
        return f"{_EXPLANATIONS[code]} (the API says {error.message!r})"
    if isinstance(code, int) or code in ("server_error", "service_error", "unavailable", "timeout"):
        return f"the API failed ({error.code}: {error.message}); run this again later to continue"
    return f"the API says {error.message!r} ({error.code})"


def _fields(details: object) -> str:
    fields = details.get("fields", []) if isinstance(details, Mapping) else []
    texts = [
        f"{field.get('name')}: {', '.join(map(str, field.get('messages') or ['wrong']))}" for field in fields
    ]
    return "; ".join(texts) or "the input"


def _explain_no_answer(error: requests.RequestException) -> str:
    again = "run this again: it reads the project first"
    if isinstance(error, requests.ReadTimeout):
        return f"the API did not answer in time; {again}"
    if isinstance(error, requests.ConnectTimeout):
        return "connecting to the API timed out; check the network and HCLOUD_ENDPOINT"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the API's certificate is not accepted ({_innermost(error)}); check HCLOUD_ENDPOINT"
    if isinstance(error, requests.ConnectionError):
        return f"the API cannot be reached ({_innermost(error)}); check the network, then {again}"
    return f"the API's answer cannot be read ({error}); {again}"


def _innermost(error: BaseException) -> str:
    """Return the system's error text from inside the exceptions of requests and urllib3."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (argument for argument in error.args if isinstance(argument, BaseException)), error.__cause__
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    return getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
