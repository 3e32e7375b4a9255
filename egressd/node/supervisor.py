"""The supervisor: the life of a node from the first socket to the last child.

    starting  -> ready            every worker serves
    ready     -> reloading        SIGHUP: new workers beside the old ones, on the same sockets
    reloading -> ready            the new ones serve (the old drain), or failed (the old stay)
    ready     -> upgrading        SIGUSR2: the new program starts beside this one, on its sockets
    upgrading -> leaving          it serves and owns the node: workers here drain; or back to ready
    candidate -> ready            this is the new program: it owns the node
    any       -> stopping         SIGTERM, SIGINT: workers drain, then the registry process ends
    any       -> (end)            SIGRTMIN: the workers serve on until the next supervisor's do
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

import egressd
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.children import Seat
from egressd.node.fleet import DRAIN_MARGIN_S, REGISTRY_PATIENCE_S, Entries, Fleet
from egressd.node.holdings import Holdings, first_indices
from egressd.node.log import dropped_lines
from egressd.node.reloading import Reloaded, Reloading
from egressd.node.sd_notify import notifier_from_environment
from egressd.node.signals import SignalPipe
from egressd.node.sockets import StartError
from egressd.node.status import SupervisorStatus, write_status
from egressd.node.takeover.program import Candidacy
from egressd.node.takeover.succession import Succession, Turn

__all__ = ["Entries", "ExitCode", "StartError", "Supervisor"]

_TICK_S = 0.2
_FAULT_PAUSE_S = 0.05
_OVERSLEPT_S = 3.0  # a tick this late: the machine stood still, old pulses prove nothing
_LOCK_PATIENCE_S = 3.0  # a supervisor that ends may not be gone yet

log = structlog.get_logger("egressd.supervisor")


class Phase(enum.StrEnum):
    """Where the node stands."""

    STARTING = "starting"
    READY = "ready"
    RELOADING = "reloading"
    UPGRADING = "upgrading"
    CANDIDATE = "candidate"
    LEAVING = "leaving"
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
        candidacy: Candidacy | None = None,
    ) -> None:
        """Opens everything. With a `candidacy` the node is taken over from a supervisor that runs.
        Raises StartError."""
        self._bootstrap = bootstrap
        self._config_path = config_path
        self._notifier = notifier_from_environment(environ, os.getpid())
        has_manager = self._notifier.has_manager
        self._holdings = Holdings(
            bootstrap,
            environ,
            locks=candidacy.locks if candidacy else (),
            patience_s=_LOCK_PATIENCE_S if has_manager else 0.0,
        )
        try:
            indices = first_indices(bootstrap, is_candidate=candidacy is not None)
            workers = self._holdings.new_seats(bootstrap, indices)
        except StartError:
            self._holdings.close()
            raise
        self._signals = SignalPipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals, selectors.EVENT_READ, self._take_signals)
        stray = self._holdings.stray
        self._selector.register(stray, selectors.EVENT_READ, stray.take)
        self._fleet = Fleet(
            self._holdings,
            entries,
            self._selector,
            self._leave_behind,
            workers_outlive=has_manager,
        )
        self._reloading = Reloading(self._fleet, self._holdings, load, config_path)
        self._succession = Succession(
            self._fleet, self._holdings, self._notifier, self._selector, candidacy
        )
        self._fleet.seats = [*workers]
        if candidacy is None:
            self._fleet.seat_registry(bootstrap)
        self._phase = Phase.STARTING if candidacy is None else Phase.CANDIDATE
        self._upgrade_wanted = False
        self._upgrade_failed_at = 0.0
        self._has_abdicated = False
        self._generation = 1
        self._cut_short = False
        self._started_at = time()
        self._lines_dropped = self._faults = 0  # faults: turns in a row that failed
        self._awake_since = self._last_tick = self._last_ping = monotonic()

    def run(self) -> ExitCode:
        """Serve until a signal ends the node."""
        try:
            self._attempt(self._tick)
            while not self._is_over():
                self._turn()
        finally:
            if not self._has_abdicated:
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
        self._attempt(self._tick)
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

    def _pause(self, now: float) -> float:
        due = inf if self._phase is Phase.STOPPING else self._fleet.next_due() - now
        return max(0.0, min(_TICK_S, self._ping_interval(), due, self._reloading.due - now))

    def _tick(self) -> None:
        now = monotonic()
        if now - self._last_tick > _OVERSLEPT_S:
            self._awake_since = now
        self._last_tick = now
        is_ending = self._phase in {Phase.STOPPING, Phase.LEAVING}
        if not is_ending:
            self._fleet.fill_due(now)
        if self._fleet.watch(now, self._awake_since) and is_ending:
            self._cut_short = True
        if not is_ending:
            self._fleet.attend(now)
        self._proceed(now)
        self._ping(now)
        dropped = dropped_lines()
        if self._fleet.changed or dropped != self._lines_dropped:
            self._lines_dropped = dropped
            self._fleet.changed = False
            if self._phase in {
                Phase.READY,
                Phase.RELOADING,
            }:  # all that came with the start is claimed
                self._succession.keep()
            self._write_status()

    def _proceed(self, now: float) -> None:
        """Move to the next phase when this one is complete."""
        if self._phase is Phase.STARTING and self._all_serve(self._fleet.workers()):
            self._become_ready()
        elif self._phase is Phase.RELOADING:
            self._end_reload(self._reloading.proceed(now), now)
        elif self._phase is Phase.CANDIDATE:
            self._proceed_candidate()
        elif self._phase is Phase.UPGRADING:
            self._proceed_upgrade(now)
        elif self._phase is Phase.STOPPING and not self._fleet.leaving:
            registry = [seat for seat in self._fleet.seats if seat.role == "registry"]
            self._fleet.retire(registry, now, REGISTRY_PATIENCE_S)
        if self._succession.settle():
            self._become_ready()
        if self._upgrade_wanted and self._phase is Phase.READY:
            self._begin_upgrade(now)
        if self._phase is Phase.READY and self._reloading.is_due(now):
            self._begin_reload(now)

    def _is_over(self) -> bool:
        if self._has_abdicated:
            return True
        is_empty = not self._fleet.seats and not self._fleet.leaving
        if self._phase is Phase.LEAVING:
            return is_empty and self._succession.has_successor_ended()
        return self._phase is Phase.STOPPING and is_empty

    def _become_ready(self) -> None:
        self._fleet.claim_sockets()
        self._enter(Phase.READY)
        self._write_status()  # first: whoever hears READY may read it
        self._notifier.ready(self._summary())
        log.info("serving", workers=self._bootstrap.workers, generation=self._generation)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._fleet.changed = True

    def _take_signals(self) -> None:
        for number in self._signals.take():
            if self._phase is Phase.LEAVING:
                self._succession.forward(number)
            elif number in {signal.SIGTERM, signal.SIGINT}:
                self._stop(number.name)
            elif number == signal.SIGUSR2:
                self._upgrade_wanted = True
            elif number == signal.SIGRTMIN:
                self._abdicate()
            elif number == signal.SIGHUP:
                self._reloading.is_wanted = True
            elif number == signal.SIGUSR1:
                for child in (seat.child for seat in self._fleet.workers()):
                    if child is not None:
                        child.send(signal.SIGUSR1)

    # -- reload ------------------------------------------------------------------------------

    def _begin_reload(self, now: float) -> None:
        self._reloading.take_up()
        self._write_status()
        found = self._reloading.begin(
            self._bootstrap, now, lambda: self._notifier.reloading(monotonic_ns())
        )
        if found is Reloaded.BEGUN:
            self._enter(Phase.RELOADING)
            found = self._reloading.proceed(now)
        self._end_reload(found, now)

    def _end_reload(self, found: Reloaded, now: float) -> None:
        if found is Reloaded.DONE:
            self._bootstrap = self._reloading.commit(self._bootstrap, now)
            self._generation += 1
        if found in {Reloaded.DONE, Reloaded.REFUSED}:
            self._become_ready()

    # -- one supervisor after the other ------------------------------------------------------

    def _begin_upgrade(self, now: float) -> None:
        self._upgrade_wanted = False
        try:
            self._succession.begin(now)
        except OSError as error:
            self._refuse_upgrade(f"the new program cannot be run: {error}")
            return
        self._enter(Phase.UPGRADING)

    def _proceed_upgrade(self, now: float) -> None:
        turn = self._succession.proceed(now, self._bootstrap)
        if turn is Turn.STAYS:
            self._refuse_upgrade(self._succession.reason)
        elif turn is Turn.LEFT:
            self._enter(Phase.LEAVING)
            if self._reloading.is_wanted:
                self._succession.forward(signal.SIGHUP)

    def _refuse_upgrade(self, reason: str) -> None:
        """This supervisor and its workers stay."""
        self._upgrade_failed_at = time()
        self._upgrade_wanted = False  # who asked meanwhile has this answer
        log.error("not upgraded: the running program stays", reason=reason)
        self._become_ready()

    def _proceed_candidate(self) -> None:
        turn = self._succession.proceed_candidate(self._all_serve(self._fleet.workers()))
        if turn is Turn.OWNS:
            self._holdings.own_files()
            self._fleet.seat_registry(self._bootstrap)
            self._become_ready()
            self._succession.announce()
        elif turn is Turn.GIVE_UP:
            self._stop("no takeover")

    def _abdicate(self) -> None:
        """The service manager restarts the node: end at once, and let the workers serve on."""
        if not self._notifier.has_manager or self._phase in {Phase.STARTING, Phase.STOPPING}:
            self._stop("restart")
            return
        log.info("restarting: the workers serve on until the next supervisor's do")
        self._succession.cancel()
        self._notifier.stopping("Restarting: the workers serve on")
        self._has_abdicated = True

    # -- stop --------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        now = monotonic()
        if self._phase is Phase.STOPPING:
            log.warning("second signal: not waiting for requests in flight", signal=reason)
            self._fleet.kill_leaving()
            return
        log.info("stopping: draining", signal=reason)
        self._enter(Phase.STOPPING)
        self._reloading.drop()
        self._notifier.stopping("Draining")
        # Workers have their own copies: they take what waits in the queue, then close, and from
        # then on connections are refused.
        self._holdings.listeners.close()
        if self._succession.is_owner:
            self._fleet.desk.close_sockets()
        else:
            self._fleet.desk.abandon()
        self._succession.cancel()
        patience = self._bootstrap.limits.drain_timeout + DRAIN_MARGIN_S
        others_serve = not self._succession.is_owner  # a candidate's, which gives up
        self._fleet.retire(self._fleet.workers(), now, patience, others_serve=others_serve)
        for seat in self._fleet.seats:
            seat.is_last = True

    def _leave_behind(self) -> None:
        """In a child: close what is only the supervisor's."""
        self._signals.close_in_child()
        self._selector.close()
        self._notifier.close()
        self._succession.leave_behind()

    def _close(self) -> None:
        self._succession.close()
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
        refused = {"reload": self._reloading.reason, "upgrade": self._succession.reason}
        text += "".join(f"; last {what} refused" for what, reason in refused.items() if reason)
        return text

    def _write_status(self) -> None:
        if not self._succession.is_owner:
            return
        bootstrap, fleet = self._bootstrap, self._fleet
        stopping = self._phase is Phase.STOPPING
        status = SupervisorStatus(
            pid=os.getpid(),
            state=self._phase.value,
            started_at=self._started_at,
            generation=self._generation,
            config_path=self._config_path,
            config_error=self._reloading.reason,
            admin_address=bootstrap.admin_address,
            worker_restarts=fleet.restarts["worker"],
            registry_restarts=fleet.restarts["registry"],
            listeners=() if stopping else fleet.listeners(bootstrap),
            children=fleet.statuses(),
            log_lines_dropped=self._lines_dropped,
            version=egressd.__version__,
            upgrade_error=self._succession.reason,
            upgrade_failed_at=self._upgrade_failed_at,
            reloads=self._reloading.counts(),
        )
        self._notifier.status(self._summary())
        try:
            write_status(Path(bootstrap.status_path), status)
        except OSError as error:
            log.warning("cannot write the status file", error=str(error))  # which names it
