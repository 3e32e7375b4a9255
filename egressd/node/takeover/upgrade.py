"""The owner's side of an upgrade in place: try the new program, start it, hear how it gets on.

    CHECKING  ->  STARTING  ->  SERVING  ->  TAKING  ->  TAKEN
        \\____________\\____________\\___________\\____->  FAILED

The supervisor moves from SERVING to TAKING itself, once its registry process has ended.
"""

from __future__ import annotations

import enum
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from egressd.node.takeover.line import TakeoverLine, Word, look
from egressd.node.takeover.program import Inheritance, start

CHECK_S = 30.0
READY_S = 45.0
TAKE_S = 15.0
_LAST_WORDS = 2000
CHECK_OPTION = "--check"
"""`egressd run --check`: load everything, read the configuration, say what is wrong; start nothing."""

log = structlog.get_logger("egressd.supervisor")


class Step(enum.Enum):
    """How far it has come."""

    CHECKING = enum.auto()
    STARTING = enum.auto()
    SERVING = enum.auto()
    TAKING = enum.auto()
    TAKEN = enum.auto()
    FAILED = enum.auto()


class Upgrade:
    """One try. `reason` says why it failed; `pid` is the candidate's, 0 while there is none."""

    def __init__(
        self,
        command: Sequence[str],
        inheritance: Callable[[], Inheritance],
        selector: selectors.BaseSelector,
        now: float,
    ) -> None:
        """Starts the check. Raises OSError where the program cannot be run at all."""
        self.step = Step.CHECKING
        self.reason = ""
        self.pid = 0
        self._command = command
        self._inheritance = inheritance
        self._selector = selector
        self._until = now + CHECK_S
        self._line: TakeoverLine | None = None
        self._pidfd = -1
        # Not a file: a process that outlived its unit's restart has no /tmp any more (PrivateTmp=).
        self._words = open(os.memfd_create("egressd-check"), "w+b")  # noqa: SIM115 - see `_let_go`
        try:
            self._check = subprocess.Popen(
                [*command, CHECK_OPTION],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                start_new_session=True,  # see `start`
            )
        except OSError:
            self._words.close()
            raise

    def proceed(self, now: float) -> None:
        """See what has happened by `now` (monotonic seconds). Call it every turn."""
        if self.step is Step.CHECKING:
            status = self._check.poll()
            if status == 0:
                self._start(now)
            elif status is not None:
                self._fail(self._last_words(status))
        if self._line is not None:
            self._hear(self._line)
        if now > self._until and self.step in {Step.CHECKING, Step.STARTING, Step.TAKING}:
            self._fail(f"it did not serve in time ({self.step.name.lower()})")

    def _last_words(self, status: int) -> str:
        self._words.seek(0)
        said = self._words.read()[-_LAST_WORDS:].decode("utf-8", "replace").strip()
        if "No such option" in said and CHECK_OPTION in said:
            return "the new program is too old to take over from a running one; restart the node"
        last = said if status == 1 and "Traceback" not in said else said.rpartition("\n")[2]
        return last or f"it ended with {status}"

    def _start(self, now: float) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line = TakeoverLine(ours)
        self._selector.register(ours, selectors.EVENT_READ, look)
        self.step, self._until = Step.STARTING, now + READY_S
        try:
            self.pid = start(self._command, self._inheritance(), theirs)
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self._fail(f"it cannot be started: {error.strerror}")
        finally:
            theirs.close()
        log.info("the new program is starting", pid=self.pid)

    def _hear(self, line: TakeoverLine) -> None:
        while (heard := line.hear()) is not None:
            word, reason = heard
            if word is Word.READY and self.step is Step.STARTING:
                self.step = Step.SERVING
            elif word is Word.MINE and self.step is Step.TAKING:
                self.step = Step.TAKEN
            elif word is Word.FAILED:
                self._fail(reason)
                return
            elif word is Word.GONE:
                self._fail("it ended before it had taken over; the log has its last words")
                return

    def yours(self, now: float) -> None:
        """The registry process has ended: let the candidate own the node."""
        assert self._line is not None
        self.step, self._until = Step.TAKING, now + TAKE_S
        self._line.say(Word.YOURS)

    def told(self) -> None:
        """The service manager knows the candidate as the main process."""
        assert self._line is not None
        self._line.say(Word.TOLD)
        self._let_go()

    def forward(self, number: signal.Signals) -> None:
        """Signal the new program, when there is one."""
        with suppress(OSError, ValueError):
            signal.pidfd_send_signal(self._pidfd, number)

    def has_ended(self) -> bool:
        """Whether the new program is no more."""
        poll = selectors.DefaultSelector()
        with poll:
            poll.register(self._pidfd, selectors.EVENT_READ)
            return bool(poll.select(0))

    def cancel(self) -> None:
        """The node stops or restarts meanwhile."""
        if self.step is not Step.TAKEN:
            self._fail("the node is stopping")

    def _fail(self, reason: str) -> None:
        if self.step is Step.FAILED:
            return
        was, self.step, self.reason = self.step, Step.FAILED, reason
        if self._check.poll() is None:
            self._check.kill()
            self._check.wait()
        # Its workers finish what they have taken. One that may own the node by now must be no more
        # before this supervisor owns it again; its workers see that and leave.
        self.forward(signal.SIGKILL if was is Step.TAKING else signal.SIGTERM)
        self._let_go()

    def _let_go(self) -> None:
        self._words.close()
        if self._line is not None:
            self._selector.unregister(self._line.sock)
            self._line.close()
            self._line = None

    def leave_behind(self) -> None:
        """In a child of the owner: close its copies."""
        self._words.close()
        if self._line is not None:
            self._line.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def close(self) -> None:
        """Close what is left."""
        self.cancel()
        self._let_go()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
