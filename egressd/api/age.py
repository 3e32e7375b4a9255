"""Which of several resources is the older: Istio orders by creation, and the older keeps what it has."""

from __future__ import annotations

from datetime import UTC, datetime

from egressd.api.resource import Resource


def creation_order(resource: Resource) -> str:
    """Sorts the older first, by `creationTimestamp`; those that do not say when they were made, or not
    in a form that is a time (RFC 3339), come last."""
    try:
        created = datetime.fromisoformat(resource.metadata.creation_timestamp)
    except ValueError:
        return "~"
    aware = created if created.tzinfo else created.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat()
