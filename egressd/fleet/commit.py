"""A change as transactions of the store. Pure.

Each transaction writes resources, the next version and its history, on condition that the version is
the one that was read: whoever comes second looks again. A set that fits is one transaction; a larger
one is several, each a version of its own, in an order that breaks no traffic in between.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from egressd.api.resource import Kind
from egressd.fleet.change import Action, Change
from egressd.fleet.errors import FleetError
from egressd.fleet.history import KEPT_VERSIONS, entry_of
from egressd.fleet.layout import Layout
from egressd.fleet.resource_set import ResourceSet, Version
from egressd.registry.keyvalue import Write

MAX_WRITES = 64
"""What stores take in one transaction (Consul)."""
MAX_RESOURCES = MAX_WRITES - 3  # the version, its history, the oldest history that goes
MAX_BYTES = 256 * 1024
"""Of the resources of one transaction: Consul takes 512 KiB, in which they stand as base64."""
_ORDER = (
    Kind.AUTHORIZATION_POLICY,
    Kind.SERVICE_ENTRY,
    Kind.WORKLOAD_ENTRY,
    Kind.DESTINATION_RULE,
    Kind.GATEWAY,
    Kind.SIDECAR,
    Kind.VIRTUAL_SERVICE,
)
"""What others point to is written first and deleted last."""


class Note(msgspec.Struct, frozen=True):
    """Who changes, when (seconds since the epoch), and why."""

    author: str
    at: float
    message: str = ""


def check_sizes(changes: Iterable[Change]) -> None:
    """Raises `FleetError` for a resource that no transaction takes."""
    for change in changes:
        size = len(change.after.encode())
        if size > MAX_BYTES:
            raise FleetError(
                f"{change.ref}: found {size} bytes, expected at most {MAX_BYTES}: "
                "the stores take no larger values"
            )


def next_part(changes: Iterable[Change]) -> tuple[Change, ...]:
    """What the next transaction writes; () when nothing is left."""
    due = [change for change in changes if change.action is not Action.UNCHANGED]
    part: list[Change] = []
    size = 0
    for change in sorted(due, key=_rank):
        size += len(change.after.encode())
        if part and (len(part) == MAX_RESOURCES or size > MAX_BYTES):
            break
        part.append(change)
    return tuple(part)


def writes_of(
    layout: Layout, base: ResourceSet, part: tuple[Change, ...], note: Note
) -> tuple[Write, ...]:
    """The transaction of one part."""
    version = Version(base.version.version + 1, note.at, note.author)
    writes = [Write(layout.version, msgspec.json.encode(version), base.version_revision)]
    for change in part:
        value = change.after.encode() or None
        key = layout.resource(change.ref)
        writes.append(Write(key, value, base.revision_of(change.ref)))
    history = entry_of(version, note.message, part)
    writes.append(Write(layout.history_of(version.version), history))
    if version.version > KEPT_VERSIONS:
        writes.append(Write(layout.history_of(version.version - KEPT_VERSIONS), None))
    return tuple(writes)


def _rank(change: Change) -> tuple[bool, int, str]:
    is_delete = change.action is Action.DELETED
    rank = _ORDER.index(Kind(change.ref.partition("/")[0]))
    return is_delete, -rank if is_delete else rank, change.ref
