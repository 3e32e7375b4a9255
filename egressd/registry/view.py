"""What a reader asks of the registry, whatever holds it (the LMDB store, or memory offline).

`claims` answers for one exact host key as resources spell it ("a.example", "*.example", "*"),
lower-cased, without a trailing dot. Climbing from a name to its wildcards is in `lookup`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from egressd.api.resource import Kind
from egressd.registry.records import Record, never_answered

_SHOWN = 2
"""Sources whose reason is in a message; of more it has the names."""


class RegistryView(Protocol):
    """A read-only registry. Cheap to ask: one indexed read a call."""

    def version(self) -> int:
        """Grows with every publication; 0 = nothing published yet."""

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        """The records of a kind that name this exact host key, the one that wins first: by the order of
        sources, of one source the older first."""

    def records(self, kind: Kind) -> tuple[Record, ...]:
        """All records of a kind, ordered by ref. For tables and gateways, not for requests."""

    def unanswered(self) -> Mapping[str, str]:
        """The node's sources that have never said anything, each with why ("" = not known yet)."""


def awaited(view: RegistryView) -> str:
    """What a message about something that is not in the registry goes on with: "" where all sources have
    answered, else which have not, and why."""
    silent = list(view.unanswered().items())
    said = "".join(f"; source {name} {never_answered(error)}" for name, error in silent[:_SHOWN])
    more = ", ".join(name for name, _ in silent[_SHOWN:])
    return f"{said}; nor have {more}" if more else said
