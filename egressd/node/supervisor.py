"""The supervisor: the life of a node from the first socket to the last child.

    starting  -> ready            every worker serves
    ready     -> reloading        SIGHUP: new workers beside the old ones, on the same sockets
    reloading -> ready            the new ones serve (the old drain), or failed (the old stay)
    any       -> stopping         SIGTERM, SIGINT: workers drain, then the registry process ends
    stopping  -> (end)            a second signal ends the draining

Holds no traffic and no registry data. No event loop library, no thread but the log's: it forks.
No exception ends it: what goes wrong in one turn of the loop is logged, and the next turn comes.
"""

from __future__ import annotations

import enum
import os
import selectors
import signal
from collections.abc import Callable, MutableMapping
from math import inf
from pathlib import Path
from time import monotonic, monotonic_ns, sleep, time

import structlog

from egressd.node.bootstrap import BootstrapError
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.children import Seat
from egressd.node.fleet import DRAIN_MARGIN_S, Entries, Fleet
from egressd.node.holdings import Holdings
from egressd.node.log import dropped_lines
from egressd.node.reload import ReloadPlan, Settling, plan_reload
from egressd.node.sd_notify import notifier_from_environment
from egressd.node.signals import SignalPipe
from egressd.node.sockets import StartError
from egressd.node.status import ListenerStatus, SupervisorStatus, write_status

__all__ = ["Entries", "ExitCode", "StartError", "Supervisor"]

RELOAD_TIMEOUT_S = 45.0
_TICK_S = 0.2
_FAULT_PAUSE_S = 0.05
_OVERSLEPT_S = 3.0  # a tick this late: the machine stood still, old pulses prove nothing
_DEATHS_THAT_REFUSE = 3  # of a new worker before it ever served
_REGISTRY_PATIENCE_S = 10.0

log = structlog.get_logger("egressd.supervisor")


class Phase(enum.StrEnum):
    """Where the node stands."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


class ExitCode(enum.IntEnum):
    """How `egressd run` ends (2 is click's for a wrong command line)."""

    CLEAN = 0
    BAD_CONFIG = 1
    CANNOT_START = 3  # a port, a directory, another node
    CUT_SHORT = 4  # workers were killed with requests in flight
    FAILED = 70  # a fault of egressd itself (EX_SOFTWARE of sysexits.h): a restart may help


class Supervisor:
    """One node. `load` reads the configuration again at SIGHUP and may raise BootstrapError."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        entries: Entries,
        load: Callable[[], Bootstrap],
        *,
        config_path: str = "",
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        """Opens everything. Raises StartError."""
        self._bootstrap = bootstrap
        self._load = load
        self._config_path = config_path
        self._notifier = notifier_from_environment(environ, os.getpid())
        self._holdings = Holdings(bootstrap, environ)
        try:
            workers = self._new_seats(bootstrap, list(range(bootstrap.workers)))
        except StartError:
            self._holdings.close()
            raise
        self._signals = SignalPipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ, self._take_signals)
        stray = self._holdings.stray
        self._selector.register(stray, selectors.EVENT_READ, stray.take)
        self._fleet = Fleet(self._holdings, entries, self._selector, self._leave_behind)
        self._fleet.seats = [Seat("registry", 0, bootstrap), *workers]
        self._sockets_before = self._holdings.listeners.counts()
        self._phase = Phase.STARTING
        self._generation = 1
        self._config_error = ""
        self._candidates: list[Seat] = []  # workers of a reload, until all of them serve
        self._plan: ReloadPlan | None = None
        self._reload_wanted = False
        self._reload_until = 0.0
        self._reload_due = inf  # one that waits until the configuration file is still
        self._settling = Settling()
        self._cut_short = False
        self._started_at = time()
        self._lines_dropped = 0
        self._faults = 0  # turns in a row that failed
        self._awake_since = self._last_tick = self._last_ping = monotonic()

    def run(self) -> ExitCode:
        """Serve until a signal ends the node."""
        try:
            self._attempt(self._tick_now)
            while not self._is_over():
                self._turn()
        finally:
            self._close()  # children that an error left behind get SIGTERM at our end
        return ExitCode.CUT_SHORT if self._cut_short else ExitCode.CLEAN

    # -- the loop ----------------------------------------------------------------------------

    def _turn(self) -> None:
        """One round of events. Each is handled whatever became of the others."""
        before = self._faults
        found = [key for key, _ in self._selector.select(self._pause(monotonic()))]
        # A signal to the whole process group ends children, too: know of it before they have ended.
        self._attempt(self._take_signals)
        for key in found:
            self._attempt(key.data)
        self._attempt(self._tick_now)
        if self._faults == before:
            self._faults = 0
        else:  # what failed may be ready again at once
            sleep(min(_TICK_S, _FAULT_PAUSE_S * self._faults))

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:
            self._faults += 1
            log.exception("the supervisor met an error and goes on", in_a_row=self._faults)

    def _tick_now(self) -> None:
        self._tick(monotonic())

    def _pause(self, now: float) -> float:
        due = inf if self._phase is Phase.STOPPING else self._fleet.next_due() - now
        return max(0.0, min(_TICK_S, self._ping_interval(), due, self._reload_due - now))

    def _tick(self, now: float) -> None:
        if now - self._last_tick > _OVERSLEPT_S:
            self._awake_since = now
        self._last_tick = now
        if self._phase is not Phase.STOPPING:
            self._fleet.fill_due(now)
        if self._fleet.watch(now, self._awake_since) and self._phase is Phase.STOPPING:
            self._cut_short = True
        if self._phase is not Phase.STOPPING:
            self._fleet.attend(now)
        self._proceed(now)
        self._ping(now)
        dropped = dropped_lines()
        if self._fleet.changed or dropped != self._lines_dropped:
            self._lines_dropped = dropped
            self._fleet.changed = False
            self._write_status()

    def _proceed(self, now: float) -> None:
        """Move to the next phase when this one is complete."""
        if self._phase is Phase.STARTING and self._all_serve(self._fleet.workers()):
            self._become_ready()
        elif self._phase is Phase.RELOADING:
            self._proceed_reload(now)
        elif self._phase is Phase.STOPPING and not self._fleet.leaving:
            registry = [seat for seat in self._fleet.seats if seat.role == "registry"]
            self._fleet.retire(registry, now, _REGISTRY_PATIENCE_S)
        if self._reload_wanted and self._phase is Phase.READY and self._is_config_still(now):
            self._begin_reload(now)

    def _is_over(self) -> bool:
        return self._phase is Phase.STOPPING and not self._fleet.seats and not self._fleet.leaving

    def _become_ready(self) -> None:
        self._enter(Phase.READY)
        self._write_status()  # first: whoever hears READY may read it
        self._notifier.ready(self._summary())
        log.info("serving", workers=self._bootstrap.workers, generation=self._generation)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._fleet.changed = True

    def _take_signals(self) -> None:
        for number in self._signals.take():
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._stop(number.name)
            elif number == signal.SIGHUP:
                self._reload_wanted = True
            elif number == signal.SIGUSR1:
                for child in (seat.child for seat in self._fleet.workers()):
                    if child is not None:
                        child.send(signal.SIGUSR1)

    # -- reload ------------------------------------------------------------------------------

    def _is_config_still(self, now: float) -> bool:
        """Whether nobody seems to write to the configuration file."""
        try:
            found = os.stat(self._config_path)
        except OSError:
            left = self._settling.left(None, 0.0, now)
        else:
            stamp = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
            left = self._settling.left(stamp, time() - found.st_mtime, now)
        self._reload_due = now + left if left else inf
        return not left

    def _begin_reload(self, now: float) -> None:
        """Read the configuration; start what it asks for. A refused one changes nothing."""
        free = self._fleet.free_indices(2 * self._bootstrap.workers)
        try:
            plan = plan_reload(self._bootstrap, self._load())
            if plan.replace_workers and len(free) < plan.bootstrap.workers:
                free = self._fleet.free_indices(2 * plan.bootstrap.workers)
            if plan.replace_workers and len(free) < plan.bootstrap.workers:
                return  # two generations are draining still: when one is gone
            self._announce_reload()
            self._sockets_before = self._holdings.listeners.counts()
            fresh = self._new_seats(plan.bootstrap, free) if plan.replace_workers else []
        except Exception as error:
            if self._reload_wanted:
                self._announce_reload()
            expected = isinstance(error, BootstrapError | StartError | OSError)
            self._refuse_reload(str(error) if expected else f"{type(error).__name__}: {error}")
            return
        if plan.ignored:
            log.warning("these changes wait for a restart", fields=", ".join(plan.ignored))
        self._plan = plan
        self._candidates = fresh
        self._fleet.seats.extend(fresh)
        self._reload_until = now + RELOAD_TIMEOUT_S
        self._enter(Phase.RELOADING)
        self._fleet.fill_due(now)
        self._proceed_reload(now)

    def _announce_reload(self) -> None:
        self._reload_wanted = False
        self._notifier.reloading(monotonic_ns())
        log.info("reloading", path=self._config_path)

    def _proceed_reload(self, now: float) -> None:
        if self._all_serve(self._candidates):
            self._commit_reload(now)
            return
        failed = [seat for seat in self._candidates if seat.deaths >= _DEATHS_THAT_REFUSE]
        if failed or now > self._reload_until:
            reason = failed[0].last_exit if failed else f"not ready in {RELOAD_TIMEOUT_S:g}s"
            self._fleet.retire(self._candidates, now, 0.0)
            self._refuse_reload(f"the new workers do not start ({reason}); see the log")

    def _commit_reload(self, now: float) -> None:
        assert self._plan is not None
        before, self._bootstrap = self._bootstrap, self._plan.bootstrap
        if self._candidates:
            old = [seat for seat in self._fleet.workers() if seat not in self._candidates]
            self._fleet.retire(old, now, before.limits.drain_timeout + DRAIN_MARGIN_S)
            self._holdings.listeners.keep_only(self._bootstrap)
            self._sockets_before = self._holdings.listeners.counts()
        for seat in self._fleet.seats:
            seat.bootstrap = self._bootstrap
            if seat.role == "registry":
                self._fleet.replace(seat, now, _REGISTRY_PATIENCE_S)
        self._candidates = []
        self._plan = None
        self._generation += 1
        self._config_error = ""
        self._become_ready()

    def _refuse_reload(self, reason: str) -> None:
        """The old configuration stands."""
        self._holdings.listeners.close_beyond(self._sockets_before)
        log.error("reload refused: the old configuration stands", reason=reason)
        self._candidates = []
        self._plan = None
        self._config_error = reason
        self._become_ready()

    def _new_seats(self, bootstrap: Bootstrap, indices: list[int]) -> list[Seat]:
        """Seats for the workers of `bootstrap`, with sockets. Raises StartError."""
        self._holdings.need_bells(2 * bootstrap.workers)
        shares = self._holdings.listeners.shares(bootstrap)
        return [
            Seat("worker", index, bootstrap, share, slot=slot)
            for slot, (index, share) in enumerate(zip(indices, shares, strict=False))
        ]

    # -- stop --------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        now = monotonic()
        if self._phase is Phase.STOPPING:
            log.warning("second signal: not waiting for requests in flight", signal=reason)
            self._fleet.kill_leaving()
            return
        log.info("stopping: draining", signal=reason)
        self._enter(Phase.STOPPING)
        self._candidates = []
        self._notifier.stopping("Draining")
        # Workers have their own copies: they take what waits in the queue, then close, and from
        # then on connections are refused.
        self._holdings.listeners.close()
        self._fleet.desk.close_sockets()
        patience = self._bootstrap.limits.drain_timeout + DRAIN_MARGIN_S
        self._fleet.retire(self._fleet.workers(), now, patience, others_serve=False)
        for seat in self._fleet.seats:
            seat.is_last = True

    def _leave_behind(self) -> None:
        """In a child: close what is only the supervisor's."""
        self._signals.close_in_child()
        self._selector.close()
        self._notifier.close()

    def _close(self) -> None:
        self._fleet.desk.close()
        self._selector.close()
        self._signals.close()
        self._notifier.close()
        self._holdings.close()

    # -- telling -----------------------------------------------------------------------------

    @staticmethod
    def _all_serve(seats: list[Seat]) -> bool:
        return all(seat.is_serving for seat in seats)

    def _ping_interval(self) -> float:
        return self._notifier.watchdog_s / 2 or _TICK_S

    def _ping(self, now: float) -> None:
        """Feed the manager's watchdog, unless a node that should serve has no worker that does."""
        if not self._notifier.watchdog_s or now - self._last_ping < self._ping_interval() / 2:
            return
        serving = any(seat.is_serving for seat in self._fleet.workers())
        if serving or self._phase in {Phase.STARTING, Phase.STOPPING}:
            self._last_ping = now
            self._notifier.watchdog()

    def _summary(self) -> str:
        workers = self._fleet.workers()
        serving = sum(seat.is_serving for seat in workers)
        looping = sum(seat.in_crash_loop for seat in self._fleet.seats)
        text = f"{self._phase}: {serving} of {len(workers)} workers serve"
        if looping:
            text += f"; {looping} in a crash loop, see the log"
        if self._config_error:
            text += "; last reload refused"
        return text

    def _listeners(self) -> tuple[ListenerStatus, ...]:
        own = self._holdings.listeners.addresses(self._bootstrap)
        asked = self._fleet.desk.places()
        return (
            *(ListenerStatus(*place) for place in own),
            *(ListenerStatus(one.name, one.address, one.port, error) for one, error in asked),
        )

    def _write_status(self) -> None:
        bootstrap, fleet = self._bootstrap, self._fleet
        stopping = self._phase is Phase.STOPPING
        status = SupervisorStatus(
            pid=os.getpid(),
            state=self._phase.value,
            started_at=self._started_at,
            generation=self._generation,
            config_path=self._config_path,
            config_error=self._config_error,
            admin_address=bootstrap.admin_address,
            worker_restarts=fleet.restarts["worker"],
            registry_restarts=fleet.restarts["registry"],
            listeners=() if stopping else self._listeners(),
            children=fleet.statuses(),
            log_lines_dropped=self._lines_dropped,
        )
        self._notifier.status(self._summary())
        try:
            write_status(Path(bootstrap.status_path), status)
        except OSError as error:
            log.warning(
                "cannot write the status file", path=bootstrap.status_path, error=str(error)
            )
