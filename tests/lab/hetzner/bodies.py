"""Request bodies, validated field by field."""

import re
from typing import Annotated, Any, TypeVar

from flask import request
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from tests.lab.hetzner.errors import ApiError

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}")
_LABEL_VALUE = re.compile(rf"({_NAME})?")
_HOSTNAME = re.compile(
    r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*"
)


def _valid_labels(labels: dict[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or key.startswith("hetzner.cloud/"):
            raise ValueError(f"'{key}' is not a valid label key")
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"'{value}' is not a valid label value")
    return labels


def _valid_hostname(name: str) -> str:
    if not _HOSTNAME.fullmatch(name) or len(name) > 253:
        raise ValueError("must be a valid hostname as per RFC 1123")
    return name


Labels = Annotated[dict[str, str], AfterValidator(_valid_labels)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Hostname = Annotated[str, AfterValidator(_valid_hostname)]
IdOrName = int | str


class Body(BaseModel):
    """The JSON body of a request; unknown fields are ignored, as by the API."""

    model_config = ConfigDict(extra="ignore", strict=True)


class ServerRef(Body):
    """A server by its ID."""

    id: int


class SelectorRef(Body):
    """A label selector."""

    selector: str


B = TypeVar("B", bound=Body)


def body(model: type[B]) -> B:
    """Return the request's body; refuse an invalid one with all wrong fields."""
    data: Any = {}
    if request.get_data():
        data = request.get_json(force=True, silent=True)
        if data is None:
            raise ApiError("json_error", "invalid JSON input in your request")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _refusal(error) from error


def _refusal(error: ValidationError) -> ApiError:
    problems: dict[str, list[str]] = {}
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        problems.setdefault(field, []).append(problem["msg"])
    first, messages = next(iter(problems.items()))
    return ApiError(
        "invalid_input",
        f"invalid input in field '{first}': {messages[0]}",
        details={"fields": [{"name": field, "messages": texts} for field, texts in problems.items()]},
    )
