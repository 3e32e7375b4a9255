"""Which of several resources is the older: Istio orders by creation, and the older keeps what it has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from egressd.api.resource import Resource

UNKNOWN: Final = 2**40 - 1
"""Behind every time that a resource can state."""


def creation_order(resource: Resource) -> int:
    """Sorts the older first: `creationTimestamp` in seconds since the epoch, 0 to `UNKNOWN`; those that
    do not say when they were made, or not in a form that is a time (RFC 3339), come last."""
    try:
        created = datetime.fromisoformat(resource.metadata.creation_timestamp)
    except ValueError:
        return UNKNOWN
    aware = created if created.tzinfo else created.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp()))
