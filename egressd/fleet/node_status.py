"""What a node says of the fleet's resources, and what others read out of that. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from egressd.registry.keyvalue import Entry

STATUS_TTL_S = 3600.0
"""How long the last word of a dead node stays to be seen."""
MISSED_BEFORE_STALE = 3


class Rejection(msgspec.Struct, frozen=True, rename="camel"):
    """A resource that a node does not run as it is written. `in_force` is the earlier revision that it
    runs instead; 0 = none, or not known since its restart."""

    resource: str
    revision: int
    in_force: int
    reason: str


class NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The last word of a node. `version` is in force there but for what is `rejected` (the first of
    `rejections`) and, while its mass-loss guard holds (`held`), what was deleted.

    `at` is seconds since the epoch by the node's clock, renewed every `interval_s`.
    """

    node: str
    at: float
    interval_s: float
    version: int
    rejected: tuple[Rejection, ...] = ()
    rejections: int = 0
    held: bool = False


class NodeState(enum.StrEnum):
    """How a node stands to the fleet's version."""

    CURRENT = "current"
    BEHIND = "behind"  # it has not taken the newest version yet
    REJECTS = "rejects"
    HOLDS = "holds"  # it does not believe yet that so much was deleted
    STALE = "stale"  # it has not been heard of for a while


def state_of(status: NodeStatus, version: int, now: float) -> NodeState:
    """A node's state when the fleet is at `version`."""
    if now - status.at > MISSED_BEFORE_STALE * status.interval_s:
        return NodeState.STALE
    if status.rejected:
        return NodeState.REJECTS
    if status.held:
        return NodeState.HOLDS
    return NodeState.CURRENT if status.version >= version else NodeState.BEHIND


def read_statuses(entries: Iterable[Entry]) -> tuple[list[NodeStatus], list[str]]:
    """Statuses by node, and the keys of those that are none."""
    statuses: list[NodeStatus] = []
    unread: list[str] = []
    for entry in entries:
        try:
            statuses.append(msgspec.json.decode(entry.value, type=NodeStatus))
        except msgspec.DecodeError:
            unread.append(entry.key)
    return sorted(statuses, key=lambda status: status.node), unread
