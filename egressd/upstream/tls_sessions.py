"""TLS sessions to resume, by endpoint and server name.

A TLS 1.2 session is whole after the handshake; the ticket of TLS 1.3 comes behind it (RFC 8446 4.6.1)
and is read with the peer's first bytes. While a first handshake with an endpoint is under way, others
wait for its ticket for a moment instead of making the peer do the same work again (`lead`).
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from time import time
from typing import NamedTuple

from egressd.net.fiber import Fiber

TICKET_WAIT_S = 0.2
"""How long others wait for the ticket of a first connection once its handshake is done, seconds."""
MOST_SESSIONS = 1024
"""Sessions kept for one context; the one unused for longest goes first."""


class SessionKey(NamedTuple):
    """A session is for one endpoint and the name that its certificate was verified by."""

    endpoint: str
    server_name: str


class Lead:
    """The first handshake with an endpoint, and who waits for the session that comes of it."""

    __slots__ = ("handshake_done", "waiting")

    def __init__(self) -> None:
        self.handshake_done = 0.0  # monotonic; 0 = not yet
        self.waiting: list[Fiber] = []

    def tell(self) -> None:
        """Something changed: those who wait look again."""
        for fiber in self.waiting:
            fiber.wake()


class TlsSessions:
    """The newest session of each endpoint and name, the unused ones evicted past `most`."""

    __slots__ = ("_leads", "_most", "_sessions", "_ticketless")

    def __init__(self, most: int = MOST_SESSIONS) -> None:
        self._most = most
        self._sessions: OrderedDict[SessionKey, ssl.SSLSession] = OrderedDict()
        self._leads: dict[SessionKey, Lead] = {}
        # Peers that gave no ticket in time: nobody waits for them again.
        self._ticketless: OrderedDict[SessionKey, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, key: SessionKey) -> ssl.SSLSession | None:
        """The session to resume; None without one whose ticket still lives."""
        session = self._sessions.get(key)
        if session is None:
            return None
        if not _lives(session):
            del self._sessions[key]
            return None
        self._sessions.move_to_end(key)
        return session

    def keep(self, key: SessionKey, session: ssl.SSLSession) -> None:
        """Keep the newest session of an endpoint and name."""
        self._sessions[key] = session
        self._sessions.move_to_end(key)
        self._ticketless.pop(key, None)
        if len(self._sessions) > self._most:
            self._sessions.popitem(last=False)
        self.end_lead(key, self._leads.get(key))

    def forget(self, key: SessionKey, session: ssl.SSLSession | None) -> None:
        """A handshake that offered the session failed: the next one is a full one."""
        if session is not None and self._sessions.get(key) is session:
            del self._sessions[key]

    # -- the first handshake -----------------------------------------------------------------

    def lead(self, key: SessionKey) -> Lead | None:
        """The first handshake that is under way with a peer that may give a ticket."""
        return self._leads.get(key)

    def begin_lead(self, key: SessionKey) -> Lead | None:
        """The caller's handshake is the first one, and `end_lead` follows in any case; None for a peer
        that is known to give no tickets."""
        if key in self._ticketless or key in self._leads:
            return None
        lead = self._leads[key] = Lead()
        return lead

    def end_lead(self, key: SessionKey, lead: Lead | None, *, ticketless: bool = False) -> None:
        """The ticket came, or is waited for no longer. Without effect for a lead that is over."""
        if lead is None or self._leads.get(key) is not lead:
            return
        del self._leads[key]
        if ticketless:
            self._ticketless[key] = None
            if len(self._ticketless) > self._most:
                self._ticketless.popitem(last=False)
        lead.tell()


def _lives(session: ssl.SSLSession) -> bool:
    lifetime = session.timeout
    if session.has_ticket and session.ticket_lifetime_hint:
        lifetime = min(lifetime, session.ticket_lifetime_hint)
    return time() < session.time + lifetime
