"""Accept queues that their worker does not take from are lent to the workers that do.

With SO_REUSEPORT the kernel deals new connections to all sockets of a port, also to that of a worker
that hangs, is stopped, or has died and is not back yet: its clients would wait until it is replaced.
The supervisor has every socket open, so it passes a copy to the other workers, which accept from it
beside their own until the owner gives signs of life again. The kernel gives each connection to one of
those who accept, so that nothing is lost or doubled when the owner comes back.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from egressd.node.socket_desk import Lent, Line, Recalled
from egressd.telemetry.trouble import Trouble

SILENT_S = 0.8
"""Without a sign of life for so long, a worker's queues are lent: three of `lifeline.BEAT_S`, and a
quarter of a second for a loop that is late."""
_QUIET_S = 5.0

log = structlog.get_logger("egressd.supervisor")


@dataclass(frozen=True, slots=True)
class Holder:
    """A worker's seat as lending sees it."""

    index: int
    line: Line | None  # None: there is no worker
    last_sign: float  # monotonic: when it was last known to serve
    is_serving: bool
    queues: Mapping[socket.socket, Lent]  # what it accepts from; the number is not set yet

    def is_well(self, now: float) -> bool:
        """Whether it takes from its queues."""
        return self.is_serving and now - self.last_sign <= SILENT_S


@dataclass(slots=True, eq=False)
class _Loan:
    number: int
    to: set[Line] = field(default_factory=set)


class Sender(Protocol):
    """Passes a message to a worker; False: not now."""

    def __call__(
        self, line: Line, message: Lent | Recalled, sock: socket.socket | None = None
    ) -> bool: ...


def unattended(holders: Iterable[Holder], now: float) -> dict[socket.socket, Holder]:
    """The queues that nobody has taken from for `SILENT_S`, each with one who should."""
    found: dict[socket.socket, Holder] = {}
    attended: set[socket.socket] = set()
    for holder in holders:
        if holder.is_well(now) or now - holder.last_sign <= SILENT_S:
            attended.update(holder.queues)
        else:
            found.update(dict.fromkeys(holder.queues, holder))
    return {sock: holder for sock, holder in found.items() if sock not in attended}


class Lending:
    """Who has a copy of whose queue."""

    def __init__(self, send: Sender) -> None:
        self._send = send
        self._loans: dict[socket.socket, _Loan] = {}
        self._recalls: list[tuple[Line, int]] = []  # to be said yet
        self._troubles: dict[int, Trouble] = {}  # by worker index
        self._numbers = 0

    def update(
        self, holders: list[Holder], now: float, spare: Mapping[socket.socket, Lent] | None = None
    ) -> None:
        """Lend what is unattended to all that are well, and recall what is attended again. Queues that
        are `spare` have no worker: a supervisor before had more of them."""
        wanted = unattended(holders, now)
        lent = {sock: owner.queues[sock] for sock, owner in wanted.items()} | dict(spare or {})
        for sock in self._loans.keys() - lent.keys():
            self._recall(sock)
        helpers = [one.line for one in holders if one.line is not None and one.is_well(now)]
        for sock, place in lent.items():
            if helpers:
                self._lend(sock, place, helpers)
        self._tell({owner.index: owner for owner in wanted.values()} if helpers else {}, now)
        self._recalls = [
            (line, number) for line, number in self._recalls if self._keep(line, number)
        ]

    def _tell(self, owners: Mapping[int, Holder], now: float) -> None:
        """A line when it begins and when it is over, and not each time for a loop that is late again
        and again."""
        for index, owner in owners.items():
            if self._troubles.setdefault(index, Trouble()).happened(now):
                log.warning(
                    "a worker takes no connections: others do for it",
                    index=index,
                    silent_s=round(now - owner.last_sign, 1),
                )
        for index, trouble in tuple(self._troubles.items()):
            if trouble.passed(now, _QUIET_S):
                del self._troubles[index]
                log.info("a worker takes its connections again", index=index)

    def _lend(self, sock: socket.socket, place: Lent, helpers: list[Line]) -> None:
        loan = self._loans.get(sock)
        if loan is None:
            self._numbers += 1
            loan = self._loans[sock] = _Loan(self._numbers)
        message = Lent(loan.number, place.name, place.address, place.port)
        for line in helpers:
            if line not in loan.to and self._send(line, message, sock):
                loan.to.add(line)

    def _recall(self, sock: socket.socket) -> None:
        loan = self._loans.pop(sock)
        self._recalls.extend((line, loan.number) for line in loan.to)

    def _keep(self, line: Line, number: int) -> bool:
        """Say one recall. Whether it has to be said again."""
        return line.is_open and not self._send(line, Recalled(number))
