"""A reload, step by step: new workers beside the old ones, on the same sockets; then the old ones drain,
or, when the new ones do not serve, the new ones go and nothing has changed."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from math import inf
from time import time

import structlog

from egressd.node.bootstrap import BootstrapError
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.children import TRIES, Seat
from egressd.node.fleet import DRAIN_MARGIN_S, REGISTRY_PATIENCE_S, Fleet
from egressd.node.holdings import Holdings, worker_indices
from egressd.node.reload import ReloadPlan, Settling, plan_reload
from egressd.node.sockets import StartError
from egressd.node.status import ReloadCounts

RELOAD_TIMEOUT_S = 45.0

log = structlog.get_logger("egressd.supervisor")


class Reloaded(enum.Enum):
    """What a turn came to."""

    WAITS = enum.auto()
    BEGUN = enum.auto()  # new workers start
    DONE = enum.auto()
    REFUSED = enum.auto()  # `reason` says why


class Reloading:
    """The reloads of one supervisor, one at a time."""

    def __init__(
        self, fleet: Fleet, holdings: Holdings, load: Callable[[], Bootstrap], config_path: str
    ) -> None:
        self.is_wanted = False
        self.due = inf  # when one that waits for a still file is to be looked at, monotonic
        self.reason = ""  # why the last one was refused; "" = it was not
        self._begun = self._ended = 0  # how many were taken up, and came to an end
        self._ignored: tuple[str, ...] = ()  # changed fields that the last one could not take
        self._fleet = fleet
        self._holdings = holdings
        self._load = load
        self._config_path = config_path
        self._settling = Settling()
        self._sockets_before = holdings.listeners.counts()
        self._candidates: list[Seat] = []
        self._plan: ReloadPlan | None = None
        self._until = 0.0

    def is_due(self, now: float) -> bool:
        """Whether one is wanted, and nobody seems to write to the configuration file."""
        if not self.is_wanted:
            return False
        try:
            found = os.stat(self._config_path)
        except OSError:
            left = self._settling.left(None, 0.0, now)
        else:
            stamp = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
            left = self._settling.left(stamp, time() - found.st_mtime, now)
        self.due = now + left if left else inf
        return not left

    def counts(self) -> ReloadCounts:
        return ReloadCounts(begun=self._begun, ended=self._ended, needs_restart=self._ignored)

    def take_up(self) -> None:
        """One is about to begin: who sees that and then asks for one is not told of a file that was read
        before."""
        self._begun = self._ended + 1

    def begin(self, bootstrap: Bootstrap, now: float, announce: Callable[[], None]) -> Reloaded:
        """Read the configuration; start what it asks for. `announce` is called before anything else is
        done. A refused one changes nothing."""
        free = self._fleet.free_indices(worker_indices(bootstrap.workers))
        try:
            plan = plan_reload(bootstrap, self._load())
            if plan.replace_workers and len(free) < plan.bootstrap.workers:
                free = self._fleet.free_indices(worker_indices(plan.bootstrap.workers))
            if plan.replace_workers and len(free) < plan.bootstrap.workers:
                self._begun = self._ended
                self._fleet.changed = True
                return Reloaded.WAITS  # too many generations drain still: when one is gone
            self._announce(announce)
            self._sockets_before = self._holdings.listeners.counts()
            fresh = self._holdings.new_seats(plan.bootstrap, free) if plan.replace_workers else []
        except Exception as error:
            self._announce(announce)
            expected = isinstance(error, BootstrapError | StartError | OSError)
            return self._refuse(str(error) if expected else f"{type(error).__name__}: {error}")
        self._ignored = plan.ignored
        if plan.ignored:
            log.warning("these changes wait for a restart", fields=", ".join(plan.ignored))
        self._plan = plan
        self._candidates = fresh
        self._fleet.seats.extend(fresh)
        self._until = now + RELOAD_TIMEOUT_S
        self._fleet.fill_due(now)
        return Reloaded.BEGUN

    def _announce(self, announce: Callable[[], None]) -> None:
        if self.is_wanted:
            self.is_wanted = False
            announce()
            log.info("reloading", path=self._config_path)

    def proceed(self, now: float) -> Reloaded:
        """Whether the new workers serve."""
        if all(seat.is_serving for seat in self._candidates):
            return Reloaded.DONE
        failed = [seat for seat in self._candidates if seat.deaths >= TRIES]
        if failed or now > self._until:
            reason = failed[0].last_exit if failed else f"not ready in {RELOAD_TIMEOUT_S:g}s"
            self._fleet.retire(self._candidates, now, 0.0)
            return self._refuse(f"the new workers do not start ({reason}); see the log")
        return Reloaded.WAITS

    def commit(self, before: Bootstrap, now: float) -> Bootstrap:
        """The new workers serve: let the others drain. What is in force from now on."""
        assert self._plan is not None
        bootstrap = self._plan.bootstrap
        if self._candidates:
            old = [seat for seat in self._fleet.workers() if seat not in self._candidates]
            self._fleet.retire(old, now, before.limits.drain_timeout + DRAIN_MARGIN_S)
            self._holdings.listeners.keep_only(bootstrap)
            self._sockets_before = self._holdings.listeners.counts()
        for seat in self._fleet.seats:
            seat.bootstrap = bootstrap
            if seat.role == "registry":
                self._fleet.replace(seat, now, REGISTRY_PATIENCE_S)
        self.drop()
        self._ended = self._begun
        self.reason = ""
        return bootstrap

    def _refuse(self, reason: str) -> Reloaded:
        """The old configuration stands."""
        self._holdings.listeners.close_beyond(self._sockets_before)
        log.error("reload refused: the old configuration stands", reason=reason)
        self.drop()
        self._ended = self._begun
        self.reason = reason
        return Reloaded.REFUSED

    def drop(self) -> None:
        """No reload is under way."""
        self._candidates = []
        self._plan = None
