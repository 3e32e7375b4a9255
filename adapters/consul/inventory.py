"""What is known of one Consul datacenter, and which of its services must be read again. Pure.

Three kinds of answer come in: the list of services, the lists of checks that do not pass, and the
instances of one service. The lists say *which* service changed; only the instances say *what* it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from adapters.consul.options import Options
from adapters.consul.pace import is_much_smaller
from adapters.consul.translate import Part, Rules, read_part
from adapters.consul.wire import PASSING, Check, Instance

Ailment = tuple[str, str, str]
"""A check that does not pass: node, check id, status."""


class Reading(msgspec.Struct, frozen=True):
    """The last good answer about one service. `part` None: none of its instances is wanted."""

    part: Part | None
    nodes: frozenset[str]
    ailments: frozenset[Ailment]
    body: int  # hash of the answer
    changed_at: int  # counts the changes of the datacenter


def is_wanted(name: str, options: Options) -> bool:
    """Whether the options ask for a service of this name."""
    return (
        name.startswith(options.prefix)
        and any(fnmatchcase(name, pattern) for pattern in options.include)
        and not any(fnmatchcase(name, pattern) for pattern in options.exclude)
    )


class Inventory:
    """One datacenter. Settled: all services were asked about since the last doubt about the whole;
    only then are its changes taken, so that a loss shows at once and not service by service."""

    def __init__(self, rules: Rules, wants: Callable[[str], bool]) -> None:
        self._rules = rules
        self._wants = wants
        self._wanted: dict[str, bool] = {}
        self._tags: dict[str, tuple[str, ...]] = {}
        self._readings: dict[str, Reading] = {}
        self._ailing: set[str] = set()  # names with ailments
        self._on_node: dict[str, set[str]] = {}
        self._listed: dict[str, tuple[Check, ...]] = {}
        self._failed: set[str] = set()
        self._changed: set[str] = set()
        self._changes = 0
        self._unread: set[str] | None = None  # None = not even the list was read
        self._is_filtered: bool | None = None
        self._before: int | None = None  # endpoints, when it was last settled
        self.index = 0  # of the newest list
        self.was_settled = False
        self.doubt = ""  # why what is missing may not be gone

    @property
    def names(self) -> Iterable[str]:
        """The services that there are."""
        return self._tags.keys()

    @property
    def failures(self) -> Iterable[str]:
        """Services that could not be read the last time."""
        return self._failed

    @property
    def unknown(self) -> Iterable[str]:
        """Those of the failures that could never be read."""
        return {name for name in self._failed if name not in self._readings}

    @property
    def has_news(self) -> bool:
        """At least one service was read, or there is none."""
        return bool(self._readings) or not self._tags

    @property
    def is_settled(self) -> bool:
        return self._unread is not None and not self._unread

    @property
    def progress(self) -> tuple[int, int]:
        """Services asked about and services to ask about."""
        total = len(self._tags)
        return total - len(self._unread if self._unread is not None else self._tags), total

    def unsettle(self, doubt: str = "") -> None:
        """Nothing that was heard need hold any more: all will be read again."""
        if self.is_settled:
            self._before = self._endpoints()
        self._unread = None
        self.doubt = self.doubt or doubt

    def heard_services(
        self, index: int, services: Mapping[str, tuple[str, ...]], is_filtered: bool = False
    ) -> set[str]:
        """The list of all services with their tags; those that are new or have other tags. Forgets
        those that are gone."""
        self.index = index
        self._note_rights(services, is_filtered)
        before, wanted, now = self._tags, self._wanted, {}
        changed = set()
        for name, tags in services.items():
            if name not in wanted:
                wanted[name] = self._wants(name)
            if wanted[name] and (not self._rules.tags or self._rules.tags <= set(tags)):
                now[name] = tags
                known = before.get(name)
                if known is None or (known != tags and set(known) != set(tags)):
                    changed.add(name)
        self._tags = now
        for gone in before.keys() - now.keys():
            self._forget(gone)
        if self._unread is None:
            self._unread = set(now)
        self._settle()
        return changed

    def heard_checks(self, state: str, checks: tuple[Check, ...]) -> set[str]:
        """All checks in a state; the services whose last answer says otherwise. What is compared is
        the state itself and not its change: a change that falls between two answers is not lost."""
        self._listed[state] = checks
        if len(self._listed) < 2:
            return set()
        listed: dict[str, set[Ailment]] = {}
        for check in (check for checks in self._listed.values() for check in checks):
            ailment = (check.node, check.check_id, check.status)
            of_node = self._on_node.get(check.node, ())
            for name in (check.service_name,) if check.service_name else of_node:
                listed.setdefault(name, set()).add(ailment)
        return {
            name
            for name in listed.keys() | self._ailing
            if name in self._readings
            and self._readings[name].ailments != listed.get(name, frozenset())
        }

    def heard_instances(
        self, name: str, body: bytes, decode: Callable[[], tuple[Instance, ...]]
    ) -> bool:
        """All instances of one service; whether anything is new. Raises what `decode` raises."""
        if name not in self._tags:
            return False
        before = self._readings.get(name)
        recovered = name in self._failed
        digest = hash(body)
        is_new = before is None or before.body != digest
        if is_new:
            self._read(name, digest, decode(), before)
        self._failed.discard(name)
        if recovered:
            self._changed.add(name)
        self._asked(name)
        return is_new or recovered

    def failed(self, name: str) -> None:
        """One service could not be read. Its last reading stands."""
        if name in self._tags and name not in self._failed:
            self._failed.add(name)
            self._changed.add(name)
        self._asked(name)

    def take(self) -> set[str]:
        """The services that changed since the last call; none while it is not settled."""
        if not self.is_settled:
            return set()
        taken, self._changed = self._changed, set()
        return taken

    def part(self, name: str) -> Part | None:
        """What the datacenter says of a service; None = it has none."""
        reading = self._readings.get(name)
        return reading.part if reading else None

    def has_instances(self, name: str) -> bool:
        """Whether the last reading of a service had any, whatever their health."""
        reading = self._readings.get(name)
        return reading is not None and bool(reading.nodes)

    def lately_changed(self, names: Iterable[str]) -> list[str]:
        """Names in the order of their last change: what changed changes again (a rolling restart)."""
        readings = self._readings
        return sorted(names, key=lambda n: -readings[n].changed_at if n in readings else 0)

    def _read(
        self, name: str, digest: int, instances: tuple[Instance, ...], before: Reading | None
    ) -> None:
        part = read_part(instances, self._rules)
        nodes = frozenset(instance.node.node for instance in instances)
        ailments = frozenset(
            (check.node, check.check_id, check.status)
            for instance in instances
            for check in instance.checks or ()
            if check.status != PASSING
        )
        if before is None or before.part != part:
            self._changes += 1
            self._changed.add(name)
        self._index_nodes(name, before.nodes if before else frozenset(), nodes)
        (self._ailing.add if ailments else self._ailing.discard)(name)
        self._readings[name] = Reading(part, nodes, ailments, digest, self._changes)

    def _index_nodes(self, name: str, before: frozenset[str], now: frozenset[str]) -> None:
        for node in now - before:
            self._on_node.setdefault(node, set()).add(name)
        for node in before - now:
            names = self._on_node[node]
            names.discard(name)
            if not names:
                del self._on_node[node]

    def _forget(self, name: str) -> None:
        reading = self._readings.pop(name, None)
        if reading:
            self._index_nodes(name, reading.nodes, frozenset())
        self._ailing.discard(name)
        self._failed.discard(name)
        self._changed.add(name)
        if self._unread:
            self._unread.discard(name)

    def _asked(self, name: str) -> None:
        if self._unread:
            self._unread.discard(name)
            self._settle()

    def _settle(self) -> None:
        if not self.is_settled:
            return
        self.was_settled = True
        before, self._before = self._before, None
        if before is not None and is_much_smaller(before, self._endpoints()):
            self.doubt = self.doubt or "the first answer after an error is much smaller"

    def _note_rights(self, services: Mapping[str, object], is_filtered: bool) -> None:
        """Consul hides what a token may not see. Every catalog lists the service "consul": one that is
        empty is of a token without rights."""
        if not services:
            self.doubt = self.doubt or "the catalog is empty: the token may have lost its rights"
        if is_filtered and self._is_filtered is False:
            self.doubt = self.doubt or "Consul began to filter its answers by the token's rights"
        self._is_filtered = is_filtered

    def _endpoints(self) -> int:
        return sum(len(r.part.found) for r in self._readings.values() if r.part)
