"""What the registry process knows of itself and its sources."""

from __future__ import annotations

from collections.abc import Sequence

from egressd.api.resource import Problem
from egressd.node.bootstrap_model import AdapterConfig
from egressd.node.sources import SourceStatus, statuses
from egressd.registry.store import StoreWriter


class RegistryState:
    """What the registry process knows of itself, for the admin server in the same process."""

    def __init__(self, store: StoreWriter, sources: Sequence[AdapterConfig]) -> None:
        self.view = store
        self.version = store.version()
        self.published_at = 0.0
        self.write_error = ""  # why the store cannot be written now
        self._statuses = statuses(sources)
        self.conflicts: tuple[Problem, ...] = ()
        self.file_problems: tuple[Problem, ...] = ()  # of the TLS settings of what is in force

    def sources(self) -> list[SourceStatus]:
        """Every configured source, in order of precedence."""
        return list(self._statuses.values())

    def status(self, source: str) -> SourceStatus:
        return self._statuses[source]

    @property
    def is_loaded(self) -> bool:
        """Whether there is something to serve from: every source has spoken or failed once, or the
        store held a last-known-good copy."""
        return self.version > 0 or self.has_heard_all

    @property
    def has_heard_all(self) -> bool:
        """Whether every source has spoken, or failed, since this process started."""
        return all(source.is_synced or source.error for source in self._statuses.values())

    @property
    def unanswered(self) -> list[SourceStatus]:
        """The required sources that have never said anything to this node, now or in an earlier run."""
        return [s for s in self._statuses.values() if s.is_required and not s.has_answered]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Current problems of all sources' resources, of files that they name, and conflicts."""
        found = [problem for status in self._statuses.values() for problem in status.problems]
        return (*found, *self.file_problems, *self.conflicts)
