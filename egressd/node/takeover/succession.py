"""How one supervisor comes to own the node and how it gives it away: the steps of a takeover, said in
what the supervisor has. At any moment one process owns the node (its locks, the status file, the
registry process, the word with the service manager), and workers accept throughout.
"""

from __future__ import annotations

import enum
import selectors
import signal

import structlog

from egressd.node.bootstrap_model import Bootstrap
from egressd.node.children import TRIES
from egressd.node.fleet import DRAIN_MARGIN_S, REGISTRY_PATIENCE_S, Fleet
from egressd.node.holdings import Holdings
from egressd.node.sd_notify import Notifier
from egressd.node.sockets import ADMIN_NAME, KEPT_ADMIN
from egressd.node.takeover.kept import KeptSockets
from egressd.node.takeover.line import Word, look
from egressd.node.takeover.program import Candidacy, Inheritance, command_line
from egressd.node.takeover.upgrade import Step, Upgrade

log = structlog.get_logger("egressd.supervisor")


class Turn(enum.Enum):
    """What a step of the takeover means for the supervisor."""

    NONE = enum.auto()
    OWNS = enum.auto()  # the candidate: the node is this process's now
    GIVE_UP = enum.auto()  # the candidate: end, the owner stays or somebody else comes
    LEFT = enum.auto()  # the owner: the node is another process's now
    STAYS = enum.auto()  # the owner: the new program does not serve


class Succession:
    """The takeovers of one supervisor: into office at its start, out of it once."""

    def __init__(
        self,
        fleet: Fleet,
        holdings: Holdings,
        notifier: Notifier,
        selector: selectors.BaseSelector,
        candidacy: Candidacy | None,
    ) -> None:
        self._fleet = fleet
        self._holdings = holdings
        self._notifier = notifier
        self._selector = selector
        self._candidacy = candidacy
        self._has_said_ready = False
        self._upgrade: Upgrade | None = None
        self._kept = KeptSockets(notifier, holdings.kept)
        self.is_owner = candidacy is None
        self.reason = ""  # why the last upgrade failed
        notifier.is_muted = candidacy is not None
        if candidacy is not None:
            selector.register(candidacy.line, selectors.EVENT_READ, look)

    # -- into office -------------------------------------------------------------------------

    def proceed_candidate(self, is_serving: bool) -> Turn:
        """One turn of a candidate. `is_serving`: all its workers do."""
        assert self._candidacy is not None
        line = self._candidacy.line
        failed = [seat for seat in self._fleet.workers() if seat.deaths >= TRIES]
        if failed:
            line.say(Word.FAILED, f"its workers do not start ({failed[0].last_exit}); see the log")
            return self._give_up()
        if is_serving and not self._has_said_ready:
            self._has_said_ready = True
            line.say(Word.READY)
        heard = line.hear()
        if heard is not None and heard[0] is Word.YOURS:
            self.is_owner = True
            return Turn.OWNS
        if heard is not None and heard[0] is Word.GONE:
            log.error("the node to take over from is gone before it could hand over")
            return self._give_up()
        return Turn.NONE

    def _give_up(self) -> Turn:
        self._close_line()
        self._holdings.disown()
        return Turn.GIVE_UP

    def announce(self) -> None:
        """Registry process and status file are this process's."""
        if self._candidacy is not None:
            self._candidacy.line.say(Word.MINE)

    def settle(self) -> bool:
        """Whether the service manager was told of this process at this turn."""
        if self._candidacy is None or not self.is_owner:
            return False
        heard = self._candidacy.line.hear()
        if heard is None or heard[0] not in {Word.TOLD, Word.GONE}:
            return False
        self._close_line()
        self._notifier.is_muted = False
        return True

    def _close_line(self) -> None:
        if self._candidacy is not None:
            self._selector.unregister(self._candidacy.line)
            self._candidacy.line.close()
            self._candidacy = None

    # -- in office ---------------------------------------------------------------------------

    def keep(self) -> None:
        """Let the service manager hold what the next supervisor will listen on."""
        if self.is_owner and not self._notifier.is_muted:
            own = self._holdings.listeners.own() | self._fleet.desk.own()
            if self._holdings.owns_admin:
                own[KEPT_ADMIN] = [self._holdings.admin]
            self._kept.sync(own)

    # -- out of office -----------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Start an upgrade. Raises OSError where the new program cannot be run at all."""
        command = command_line()
        log.info("upgrading: trying the new program", command=" ".join(command))
        self._upgrade = Upgrade(command, self._inheritance, self._selector, now)

    def _inheritance(self) -> Inheritance:
        listeners, desk = self._holdings.listeners, self._fleet.desk
        own = listeners.own() | desk.own()
        own[KEPT_ADMIN if self._holdings.owns_admin else ADMIN_NAME] = [self._holdings.admin]
        kept = [(name, sock) for name, sockets in own.items() for sock in sockets]
        return Inheritance(
            [*listeners.passed(), *kept], self._holdings.lock_fds, self._notifier.environment()
        )

    def proceed(self, now: float, bootstrap: Bootstrap) -> Turn:
        """One turn of an owner that upgrades."""
        upgrade = self._upgrade
        assert upgrade is not None
        upgrade.proceed(now)
        if upgrade.step is Step.FAILED:
            self.reason = upgrade.reason
            upgrade.close()
            self._upgrade = None
            self._fleet.seat_registry(bootstrap)
            return Turn.STAYS
        if upgrade.step is Step.SERVING:
            self._end_registry(upgrade, now)
        elif upgrade.step is Step.TAKEN:
            self._leave(upgrade, now, bootstrap)
            return Turn.LEFT
        return Turn.NONE

    def _end_registry(self, upgrade: Upgrade, now: float) -> None:
        """One writer: the candidate's registry process starts when this one has ended."""
        registry = [seat for seat in self._fleet.seats if seat.role == "registry"]
        self._fleet.retire(registry, now, REGISTRY_PATIENCE_S)
        if not any(seat.role == "registry" for seat, _ in self._fleet.leaving):
            upgrade.yours(now)

    def _leave(self, upgrade: Upgrade, now: float, bootstrap: Bootstrap) -> None:
        """The candidate owns the node: tell the manager, drain what is left here."""
        self.is_owner = False
        self._notifier.hand_over(upgrade.pid)
        upgrade.told()
        log.info("another supervisor runs the node: draining", pid=upgrade.pid)
        self._holdings.disown()
        self._fleet.desk.abandon()
        self._holdings.listeners.close()
        patience = bootstrap.limits.drain_timeout + DRAIN_MARGIN_S
        self._fleet.retire(self._fleet.workers(), now, patience)

    def has_successor_ended(self) -> bool:
        """Whether nobody waits for this process any more: with a service manager at once; without one
        it is what was started, and ends with the program that followed it."""
        if self._notifier.has_manager or self._upgrade is None:
            return True
        return self._upgrade.has_ended()

    def forward(self, number: signal.Signals) -> None:
        """A signal that is the successor's, when there is one."""
        if self._upgrade is not None and not self._notifier.has_manager:
            self._upgrade.forward(number)

    def cancel(self) -> None:
        """The node stops, or restarts: no upgrade any more. A candidate that was told to end says so:
        the owner would wait for it, without a registry process."""
        if self._candidacy is not None and not self.is_owner:
            self._candidacy.line.say(Word.FAILED, "it was told to stop")
            self._give_up()
        if self._upgrade is not None and self.is_owner:
            self._upgrade.close()
            self._upgrade = None

    def leave_behind(self) -> None:
        """In a child: a worker outlives its supervisor, and with a copy of the line the other side would
        never hear of that supervisor's death."""
        if self._candidacy is not None:
            self._candidacy.line.close()
        if self._upgrade is not None:
            self._upgrade.leave_behind()

    def close(self) -> None:
        """Close what is left."""
        self._close_line()
        if self._upgrade is not None:
            self._upgrade.close()
