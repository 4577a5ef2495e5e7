"""Time in the API's format."""

from datetime import UTC, datetime


def now() -> str:
    """Return the current time in RFC 3339 format, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
