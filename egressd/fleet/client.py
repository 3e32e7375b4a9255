"""Asks the store: reads the set, writes changes of it, as often as somebody else was first."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable

import msgspec
import trio

from egressd.api.resource import Problem, Resource
from egressd.fleet.change import Change, check_untouched
from egressd.fleet.check import check_change
from egressd.fleet.commit import Note, check_sizes, next_part, writes_of
from egressd.fleet.errors import FleetError, Refused
from egressd.fleet.history import HistoryEntry, read_history
from egressd.fleet.layout import Layout
from egressd.fleet.node_status import NodeStatus, read_statuses
from egressd.fleet.resource_set import ResourceSet, Stored, assemble, read_resource
from egressd.registry.keyvalue import Conflict, Entry, KeyValue

_ATTEMPTS = 20
_PAUSE_S = 0.05  # at most, between attempts: those who met must not meet again
_STRIDE = 8  # resources parsed, some milliseconds each, between two looks at other tasks

Planner = Callable[[ResourceSet], tuple[Change, ...]]


class Outcome(msgspec.Struct, frozen=True):
    """What a change came to. `version` is the set's after it."""

    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...]
    version: int


class FleetClient:
    """One fleet in one store. Raises `FleetError`, and the store's `KeyValueError`. `beside` is what a
    node of it has from elsewhere: destinations may lead there, too."""

    def __init__(
        self, store: KeyValue, layout: Layout, beside: Callable[[], Iterable[Resource]] = tuple
    ) -> None:
        self._store = store
        self._beside = functools.cache(lambda: tuple(beside()))
        self.layout = layout
        self._known: dict[str, tuple[Entry, Stored]] = {}

    async def read(
        self, on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> ResourceSet:
        """The set as it is now. What did not change since the last call is the same object."""
        listing = await self._store.list(self.layout.resources)
        known: dict[str, tuple[Entry, Stored]] = {}
        parsed = 0
        for number, entry in enumerate(listing.entries):
            ref = self.layout.ref(entry.key)
            if ref is None:
                continue
            before = self._known.get(ref)
            if before is not None and before[0] == entry:
                known[ref] = before
                continue
            known[ref] = entry, read_resource(ref, entry)
            parsed += 1
            if parsed % _STRIDE == 0:
                on_progress(number, len(listing.entries))
                await trio.lowlevel.checkpoint()
        self._known = known
        return assemble(self.layout, listing, {ref: stored for ref, (_, stored) in known.items()})

    async def change(self, plan: Planner, note: Note, *, dry_run: bool = False) -> Outcome:
        """Write what `plan` makes of the set, in one transaction if it fits into one.

        Where somebody else was first, it is planned and checked again, unless he changed the same
        resource. Raises `Refused`, `ChangedMeanwhile`; a note on the error says what of a larger change
        is written already.
        """
        read = base = await self.read()
        planned = changes = plan(base)
        warnings = self._check(base, changes)
        lost = written = 0
        try:
            while not dry_run and (part := next_part(changes)):
                check_untouched(read, base, changes)
                try:
                    await self._store.commit(writes_of(self.layout, base, part, note))
                except Conflict as error:
                    lost += 1
                    if lost == _ATTEMPTS:
                        raise FleetError(f"others were first {lost} times: {error}") from None
                    await trio.sleep(random.random() * _PAUSE_S)
                    base = await self.read()
                    changes = plan(base)
                    self._check(base, changes)
                else:
                    written += len(part)
                    ours, base = base.version.version + 1, await self.read()
                    done = {change.ref for change in part}
                    changes = tuple(change for change in changes if change.ref not in done)
                    if base.version.version != ours:
                        self._check(base, changes)
        except Exception as error:
            if written:
                error.add_note(f"{written} resources are written, version {base.version.version}")
            raise
        return Outcome(planned, warnings, base.version.version)

    async def history(self) -> tuple[HistoryEntry, ...]:
        """The versions that are still known, the newest first."""
        return read_history((await self._store.list(self.layout.history)).entries)

    async def statuses(self) -> tuple[list[NodeStatus], list[str]]:
        """What nodes say, and the keys of what is no status."""
        return read_statuses((await self._store.list(self.layout.statuses)).entries)

    def _check(self, base: ResourceSet, changes: tuple[Change, ...]) -> tuple[Problem, ...]:
        check_sizes(changes)
        checked = check_change(base, changes, self._beside())
        if checked.errors:
            raise Refused(checked.errors)
        return checked.warnings
