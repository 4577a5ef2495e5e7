"""Points in time as the API writes them."""

from datetime import UTC, datetime


def now() -> str:
    """The present in RFC 3339, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
