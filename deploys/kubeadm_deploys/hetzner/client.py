"""The connection to Hetzner's API, and the one place where its errors become sentences."""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, TypeVar

import requests
from hcloud import APIException, Client
from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from kubeadm_deploys import checks
from kubeadm_deploys.hetzner.interrupt import interrupted

Answer = TypeVar("Answer")

_OFFICIAL_ENDPOINT = "https://api.hetzner.cloud/v1"

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 30.0

_LONGEST_WAIT = 3900
"""Seconds: the API's budget is one of calls an hour, so a later reset, clocks that differ included, is not believed."""

BUSY_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the attempts of a call that the API refuses because it is busy with the same thing."""

_BUSY = ("conflict", "locked", "resource_in_use")
"""Refused before anything was done, so that asking again is safe.

A firewall and a placement group are in use for some seconds after the action that deleted their last server.
"""

_TOKEN_HELP = "make one in the Hetzner Console (your project, Security, API tokens, Read & Write)"

_SENTENCES: Mapping[str | int, str] = {
    "unauthorized": f"the API does not know the token in HCLOUD_TOKEN; {_TOKEN_HELP}",
    "token_readonly": f"the token in HCLOUD_TOKEN may only read; {_TOKEN_HELP}",
    "forbidden": f"the token in HCLOUD_TOKEN may not do this; {_TOKEN_HELP}",
    "resource_limit_exceeded": (
        "the project's limit is reached; delete what is not needed, or ask for more in the Hetzner Console "
        "(Limits), then run this again"
    ),
    "uniqueness_error": (
        "something of that name, or the same key, was made by somebody else while this ran; run this again, it "
        "first looks what is there"
    ),
    "resource_unavailable": "it is not available there now; choose another type or location, or try again later",
    "placement_error": "no host of the placement group has room; try again later, or choose another location",
    "conflict": "another change of the same thing is under way; run this again in a minute",
    "locked": "it is locked by another action; run this again when that has ended",
    "resource_in_use": "something uses it still; run this again in a minute, or see in the Hetzner Console what does",
    "protected": "it is protected; take the protection off in the Hetzner Console, then run this again",
    "rate_limit_exceeded": "the API's limit of calls an hour is reached; run this again later",
    "maintenance": "the API is under maintenance; run this again later",
}
"""What the error codes of Hetzner's API reference mean for the user."""

_CODE_OF_STATUS = {
    401: "unauthorized",
    403: "forbidden",
    412: "resource_unavailable",
    423: "locked",
    429: "rate_limit_exceeded",
}
"""Codes for answers that carry none, like those of a proxy."""


class HetznerError(DeployError):
    """The API said no, or nothing: what was tried, why it failed and what to do, in one sentence."""

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
    """A client for the project that the environment's HCLOUD_TOKEN belongs to.

    HCLOUD_ENDPOINT replaces the official address, as in Hetzner's own tools. ``longest_wait`` are the seconds
    until a reset of the rate limit that are waited for.

    Raises:
        HetznerError: there is no token, or the endpoint is not a URL.
    """
    token = environment.get("HCLOUD_TOKEN", "").strip()
    if not token:
        raise HetznerError(f"HCLOUD_TOKEN is not set in the environment; {_TOKEN_HELP} and export it")
    if not re.fullmatch(r"[!-~]+", token):
        raise HetznerError(f"HCLOUD_TOKEN is no token, which has neither blanks nor umlauts; {_TOKEN_HELP}")
    try:
        endpoint = checks.url_or_empty(environment.get("HCLOUD_ENDPOINT", "")) or _OFFICIAL_ENDPOINT
    except ValueError as error:
        raise HetznerError(f"HCLOUD_ENDPOINT: {environment['HCLOUD_ENDPOINT']!r} {error}") from None
    client = Client(
        token=token,
        api_endpoint=endpoint,
        application_name="kubeadm-deploys",
        application_version=version("kubeadm-deploys"),
        timeout=(_CONNECT_TIMEOUT, read_timeout),
    )
    # hcloud offers no other way in. Its own retries repeat POSTs of which nobody knows whether they were
    # done, and meet the rate limit with guessed pauses; the transport and ``ask`` do better.
    base = client._client
    base._retry_max_retries = 0
    for scheme in ("https://", "http://"):
        base._session.mount(scheme, _Transport(backoff=backoff, longest_wait=longest_wait))
    return client


class _Transport(HTTPAdapter):
    """Repeats what may be repeated, and waits once for the rate limit's reset."""

    def __init__(self, *, backoff: float, longest_wait: float) -> None:
        self._longest_wait = longest_wait
        self._told_until = 0.0
        # Connections that were never made are tried again with every method, the rest with GET only.
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
        self._tell(reset, seconds=max(0.0, seconds))
        if interrupted.wait(max(0.0, seconds)):
            raise _interruption()
        response = super().send(request, *args, **kwargs)
        if response.status_code == 429:
            raise _rate_limit_error(_reset_time(response))
        return response

    def _tell(self, reset: float, *, seconds: float) -> None:
        """Say once that calls wait, although several of them do at the same time."""
        if time.time() >= self._told_until:
            self._told_until = reset
            logger.warning(
                f"--> The API's limit of calls is reached; going on at {_clock(reset)}, in {seconds:.0f} s"
            )


def _reset_time(response: requests.Response) -> float:
    """When the API says that its budget is full again, in seconds since 1970; for ever if it does not say."""
    header = response.headers.get("RateLimit-Reset", "")
    return float(header) if header.isdigit() else float("inf")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _rate_limit_error(reset: float) -> HetznerError:
    when = "later" if reset == float("inf") else f"after {_clock(reset)}"
    return HetznerError(
        f"the API's limit of calls an hour, which everything in the project shares, is reached; "
        f"run this again {when}",
        code="rate_limit_exceeded",
    )


def _interruption() -> HetznerError:
    return HetznerError("interrupted; what the API has begun already goes on there", code="interrupted")


def ask(
    doing: str, request: Callable[[], Answer], *, pauses: Sequence[float] = BUSY_PAUSES, hint: str = ""
) -> Answer:
    """Make one call; ``doing`` begins the sentence when it fails, ``hint`` ends it when nothing is free.

    Raises:
        HetznerError: whatever went wrong.
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
            raise HetznerError(_explain_silence(error), doing=doing) from None
        except HetznerError as error:
            raise HetznerError(error.reason, doing=doing, code=error.code) from None
    raise AssertionError("the last attempt returns or raises")


def explain(error: APIException, *, hint: str = "") -> str:
    """One sentence for an error of the API: what it means and what to do."""
    code = _CODE_OF_STATUS.get(error.code, error.code) if isinstance(error.code, int) else error.code
    if code == "invalid_input":
        return f"the API refuses {_fields(error.details)} ({error.message})"
    if code == "resource_unavailable" and hint:
        return f"the API says {error.message!r}; {hint}"
    if code in _SENTENCES:
        return f"{_SENTENCES[code]} (the API says {error.message!r})"
    if isinstance(code, int) or code in ("server_error", "service_error", "unavailable", "timeout"):
        return f"the API fails ({error.code}: {error.message}); run this again later, it goes on where it stopped"
    return f"the API says {error.message!r} ({error.code})"


def _fields(details: object) -> str:
    fields = details.get("fields", []) if isinstance(details, Mapping) else []
    texts = [
        f"{field.get('name')}: {', '.join(map(str, field.get('messages') or ['wrong']))}" for field in fields
    ]
    return "; ".join(texts) or "the input"


def _explain_silence(error: requests.RequestException) -> str:
    again = "run this again: it first looks what is there"
    if isinstance(error, requests.ReadTimeout):
        return f"the API did not answer in time; {again}"
    if isinstance(error, requests.ConnectTimeout):
        return "the API cannot be reached in time; check the network and HCLOUD_ENDPOINT"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the API's certificate is not accepted ({_innermost(error)}); check HCLOUD_ENDPOINT"
    if isinstance(error, requests.ConnectionError):
        return f"the API cannot be reached ({_innermost(error)}); check the network, then {again}"
    return f"the API's answer cannot be read ({error}); {again}"


def _innermost(error: BaseException) -> str:
    """The system's own words, out of the exceptions that requests and urllib3 wrap around them."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (argument for argument in error.args if isinstance(argument, BaseException)), error.__cause__
        )
        if not isinstance(inner, BaseException):
            break
        error = inner
    return getattr(error, "strerror", None) or str(error).rpartition(": ")[2]
