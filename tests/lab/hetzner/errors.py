"""Errors of the API: an HTTP status, a code, a message and details."""

from typing import Any

STATUS_OF = {
    "invalid_input": 422,
    "json_error": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "token_readonly": 403,
    "resource_limit_exceeded": 403,
    "maintenance": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "uniqueness_error": 409,
    "deprecated_api_endpoint": 410,
    "resource_unavailable": 412,
    "locked": 423,
    "protected": 403,
    "rate_limit_exceeded": 429,
    "server_error": 500,
    "bad_gateway": 502,
    "unavailable": 503,
    "timeout": 504,
}
"""HTTP status by error code; codes of a single operation (`server_not_stopped` ...) have 422."""

CODE_OF = {
    400: "json_error",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "deprecated_api_endpoint",
    412: "resource_unavailable",
    422: "invalid_input",
    423: "locked",
    429: "rate_limit_exceeded",
    500: "server_error",
    502: "bad_gateway",
    503: "unavailable",
    504: "timeout",
}
"""The usual error code of an HTTP status."""


class ApiError(Exception):
    """End a request with an error answer."""

    def __init__(
        self, code: str, message: str, *, status: int | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status if status is not None else STATUS_OF.get(code, 422)
        self.details = details

    def body(self) -> dict[str, Any]:
        """Return the answer's JSON body."""
        return {"error": {"code": self.code, "message": self.message, "details": self.details}}


def invalid_input(field: str, problem: str) -> ApiError:
    """Return an error for an invalid field of the request."""
    return ApiError(
        "invalid_input",
        f"invalid input in field '{field}': {problem}",
        details={"fields": [{"name": field, "messages": [problem]}]},
    )


def not_found(kind: str, wanted: int | str) -> ApiError:
    """Return an error for a resource that does not exist."""
    return ApiError("not_found", f"{kind} with ID '{wanted}' not found")


def not_unique(field: str, message: str) -> ApiError:
    """Return an error for a value that another resource already has."""
    return ApiError("uniqueness_error", message, details={"fields": [{"name": field}]})


def limit_exceeded(limit: str) -> ApiError:
    """Return an error for a limit of the project that is reached."""
    return ApiError(
        "resource_limit_exceeded", f"{limit} limit exceeded", details={"limits": [{"name": f"{limit}_limit"}]}
    )
