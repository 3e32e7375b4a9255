"""The interface between the registry process and its sources.

An adapter is found by name in the entry-point group `egressd.adapters`; the entry point is an
`AdapterFactory`. One instance runs per entry of the bootstrap's `adapters:` list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from egressd.api.resource import Problem
from egressd.api.secret import RedactedError
from egressd.registry.records import Record, Snapshot

ENTRY_POINT_GROUP = "egressd.adapters"

CONFIRM_S = 2.0
"""How long after a held answer (`Sink.publish`) a source is read a second time."""


class OptionFault(msgspec.Struct, frozen=True):
    """One wrong option: its path from `options` on, what was found there, what is expected ("" = that is
    said already)."""

    option: str
    found: str
    expected: str = ""

    def __str__(self) -> str:
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.option}: found {self.found}{expected}"


class AdapterConfigError(RedactedError):
    """The options of an adapter are wrong: the message names the option, what was found, what is
    expected, as "options.NAME: found X, expected Y". `faults` has each option for itself, where it is
    known."""

    def __init__(self, message: str = "", faults: tuple[OptionFault, ...] = ()) -> None:
        super().__init__(message)
        self.faults = faults


class Sink(Protocol):
    """Where an adapter says what it knows. Never blocks; safe to call from the adapter's own tasks."""

    def publish(self, snapshot: Snapshot) -> bool:
        """Replace all that this source said before. Also means: in sync with the source now (but for
        `Snapshot.is_failing`).

        False: the snapshot drops so much that the mass-loss guard holds what is gone (what is new or
        changed is taken). Read the source afresh `CONFIRM_S` later, not from a cache or a running
        picture, and publish that with `is_reread`: it confirms the loss, unless a `doubt` stands.
        An adapter that cannot do this may go on; the guard's grace period ends the hold as well.
        """

    def progress(self, done: int, total: int) -> None:
        """How far a first read of many parts is, before its `publish`; total 0 = not known."""

    def in_sync(self) -> None:
        """The source was heard of and nothing changed (keeps the sync age small)."""

    def failed(self, reason: str) -> None:
        """The source could not be read; what it said last stands."""

    def problems(self, problems: tuple[Problem, ...]) -> None:
        """The current problems of this source's resources, errors and warnings; () when all is well."""

    def known(self) -> tuple[Record, ...]:
        """What the registry holds of this source, at first from an earlier run: with it a source goes on
        of several parts one of which cannot be read yet."""

    def overruled(self) -> tuple[Problem, ...] | None:
        """What the registry does not run of all that was published, and why: another VirtualService has
        its host, a source of precedence says the same. Other sources change it, so ask again; None: not
        decided yet."""


class Adapter(Protocol):
    """One running source."""

    async def run(self, sink: Sink) -> None:
        """Watch the source until cancelled. An exception that leaves is logged and `run` is called
        again after a back-off; what the source said last stands."""


class AdapterContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an adapter may know of its node."""

    name: str  # the instance's name: the `source` of its records
    node_id: str = ""
    zone: str = ""
    region: str = ""


class AdapterFactory(Protocol):
    """Makes an adapter from its options in the bootstrap config.

    Raises `AdapterConfigError`.
    """

    def __call__(self, context: AdapterContext, options: Mapping[str, object]) -> Adapter: ...
