"""An explanation as values: what programs read as JSON, and `text` prints for people.

The field names are stable: docs/explain.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

ALWAYS = "no match block: always"
"""Why a route without conditions was taken."""

Value = str | int | float | bool | None | tuple[str, ...]


class By(msgspec.Struct, frozen=True):
    """The resource that decided: its ref ("VirtualService/default/reviews"; "bootstrap" for the node's
    own file), the field of it, where it stands, and the source that states it, with the part of that
    (a file, a Consul service, a key)."""

    ref: str
    field: str = ""
    file: str = ""
    line: int = 0
    source: str = ""
    origin: str = ""


class Considered(msgspec.Struct, frozen=True):
    """One thing that was looked at, and why it was not taken."""

    what: str
    chosen: bool
    why: tuple[str, ...] = ()
    by: By | None = None


class Step(msgspec.Struct, frozen=True):
    """One step in the life of a request."""

    name: str
    says: str
    by: By | None = None
    considered: tuple[Considered, ...] = ()
    notes: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """`kind`: "forwarded"; "answered" by the node itself with `status`; "closed" without an answer.
    `flag` and `details` are what the access log has then."""

    kind: str
    says: str
    status: int = 0
    flag: str = ""
    details: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Sent(msgspec.Struct, frozen=True):
    """The request head as an endpoint gets it."""

    method: str
    target: str
    authority: str
    headers: tuple[tuple[str, str], ...]


class Section(msgspec.Struct, frozen=True):
    """One section of the effective policy. `origin`: "rule", "subset", "port" (portLevelSettings),
    "cleared" (defaults, since portLevelSettings leave it out), "route" or "default"."""

    name: str
    origin: str
    values: Mapping[str, Value]
    by: By | None = None
    notes: tuple[str, ...] = ()


class EndpointLine(msgspec.Struct, frozen=True):
    """One endpoint. `health`: "healthy", "ejected", "unused" (no worker has been there) or "unknown" (no
    node was asked). `share` is its part of the destination's requests in percent, by weight."""

    id: str
    hostname: str
    weight: int
    share: float
    locality: str
    labels: Mapping[str, str]
    health: str
    ejected_for_s: float = 0.0
    times_ejected: int = 0
    consecutive_errors: int = 0


class LevelLines(msgspec.Struct, frozen=True):
    """Endpoints of one locality priority, or of one part of a distribution; `share` in percent."""

    share: float
    endpoints: tuple[EndpointLine, ...]


class HashChoice(msgspec.Struct, frozen=True):
    """Consistent hashing of this request: what the key is taken from, its value, and the endpoint that
    it leads to in each level. Without a value the choice is random."""

    by: str
    key: int | None
    endpoints: tuple[str, ...] = ()


class DestinationLine(msgspec.Struct, frozen=True):
    """One destination with what it takes to get there. `problem` is the answer in its place."""

    cluster: str
    host: str
    subset: str
    port: int
    weight: int
    share: float
    problem: Outcome | None = None
    resolution: str = ""
    protocol: str = ""
    service_entries: tuple[By, ...] = ()
    destination_rules: tuple[Considered, ...] = ()
    sent: Sent | None = None
    policy: tuple[Section, ...] = ()
    levels: tuple[LevelLines, ...] = ()
    hashing: HashChoice | None = None
    notes: tuple[str, ...] = ()


class MirrorLine(msgspec.Struct, frozen=True):
    """A copy of the request."""

    cluster: str
    percent: float
    authority: str
    problem: str = ""


class Explanation(msgspec.Struct, frozen=True):
    """The whole: what was asked, what comes of it, and the steps to it."""

    asked: str
    outcome: Outcome
    steps: tuple[Step, ...]
    destinations: tuple[DestinationLine, ...] = ()
    mirrors: tuple[MirrorLine, ...] = ()
