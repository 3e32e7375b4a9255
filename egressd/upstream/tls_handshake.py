"""TLS on a connected stream: the handshake, resumed where a session is at hand, and the peer's names."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from egressd.net.fiber import Fiber
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.spec import EndpointSpec, TlsSpec
from egressd.upstream.tls import verify_peer
from egressd.upstream.tls_contexts import ContextEntry
from egressd.upstream.tls_sessions import TICKET_WAIT_S, Lead, SessionKey, TlsSessions

_HANDSHAKE_WAIT_S = 1.0
"""How long others wait for a first handshake: a peer may answer them though that one hangs."""
_READS_FOR_A_TICKET = 8
"""Reads with data after which no ticket is waited for any more: it comes before them or not at all."""


class Origination(NamedTuple):
    """TLS of new connections of a cluster."""

    spec: TlsSpec
    entry: ContextEntry


class TicketWatch:
    """Takes the session of a connection once its ticket has come, as a part of reading from it."""

    __slots__ = ("_key", "_lead", "_left", "_sessions", "_stream", "_tls")

    def __init__(
        self,
        stream: Stream,
        tls: ssl.SSLSocket,
        sessions: TlsSessions,
        key: SessionKey,
        lead: Lead | None,
    ) -> None:
        self._stream = stream
        self._tls = tls
        self._sessions = sessions
        self._key = key
        self._lead = lead  # this connection's, where others wait for its session
        self._left = _READS_FOR_A_TICKET
        stream.start_tls(tls, self._recv)
        if tls.version() != "TLSv1.3":
            self._look()

    def _recv(self, size: int) -> bytes:
        try:
            data = self._tls.recv(size)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._look()
            raise
        self._left -= 1
        self._look()
        return data

    def _look(self) -> None:
        session = self._tls.session
        if session is not None and _is_whole(session, self._tls):
            self._sessions.keep(self._key, session)
        elif self._left > 0:
            return
        else:
            self._sessions.end_lead(self._key, self._lead, ticketless=True)
        self._stream.start_tls(self._tls)

    def end(self) -> None:
        """The connection closes."""
        self._sessions.end_lead(self._key, self._lead)


def _is_whole(session: ssl.SSLSession, tls: ssl.SSLSocket) -> bool:
    """Whether a session can be resumed: in TLS 1.3 once its ticket is there."""
    if tls.version() == "TLSv1.3":
        return session.has_ticket
    return session.has_ticket or bool(session.id)


async def originate_tls(
    loop: Readiness,
    stream: Stream,
    fiber: Fiber,
    endpoint: EndpointSpec,
    origination: Origination,
) -> TicketWatch:
    """Handshake as a client. Raises `ConnectFailed`, `StreamClosed`, `Deadline`."""
    spec, entry = origination
    sessions = entry.sessions
    key = SessionKey(endpoint.id, spec.sni)
    session = sessions.get(key)
    if session is None and await _wait_for_first(loop, fiber, sessions, key):
        session = sessions.get(key)
    lead = sessions.begin_lead(key) if session is None else None
    kept = False
    try:
        tls = entry.context.wrap_socket(
            stream.sock,
            server_hostname=spec.sni or None,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=session,
        )
        stream.start_tls(tls)
        await drive_handshake(stream, fiber, tls)
        refused = verify_peer(tls, spec)
        if refused is not None:
            raise ConnectFailed(endpoint.id, f"TLS: {refused}", tls=True)
        watch = TicketWatch(stream, tls, sessions, key, lead)
        kept = True
    except ssl.SSLError as error:
        sessions.forget(key, session)
        raise ConnectFailed(endpoint.id, f"TLS: {_tls_reason(error)}", tls=True) from None
    except (OSError, ValueError) as error:  # ValueError: a name that TLS cannot carry
        sessions.forget(key, session)
        raise ConnectFailed(endpoint.id, f"TLS: {error}", tls=True) from None
    finally:
        if lead is not None and not kept:
            sessions.end_lead(key, lead)
    if lead is not None:
        lead.handshake_done = loop.clock()
        lead.tell()
    return watch


async def _wait_for_first(
    loop: Readiness, fiber: Fiber, sessions: TlsSessions, key: SessionKey
) -> bool:
    """Wait for the ticket of a first handshake that is under way. Returns whether there was one; a
    handshake that hangs is not waited for longer than `_HANDSHAKE_WAIT_S`."""
    waited = False
    until = loop.clock() + _HANDSHAKE_WAIT_S
    while (lead := sessions.lead(key)) is not None:
        waited = True
        lead.waiting.append(fiber)
        try:
            if not lead.handshake_done:
                if loop.clock() >= until:
                    return True
                await fiber.nap(until - loop.clock())
                continue
            left = lead.handshake_done + TICKET_WAIT_S - loop.clock()
            if left <= 0:
                sessions.end_lead(key, lead, ticketless=True)
            else:
                await fiber.nap(left)
        finally:
            lead.waiting.remove(fiber)
    return waited


async def drive_handshake(stream: Stream, fiber: Fiber, tls: ssl.SSLSocket) -> None:
    """Handshake, either side. Raises `ssl.SSLError`, `OSError`, `Deadline`."""
    while True:
        try:
            tls.do_handshake()
            return
        except ssl.SSLWantReadError:
            stream.readable = False
            await stream.wait_readable(fiber)
        except ssl.SSLWantWriteError:
            stream.writable = False
            await stream.wait_writable(fiber)


_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""What OpenSSL makes of an answer that is no TLS."""


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    said = (error.reason or str(error)).replace("_", " ").lower()
    return f"{said} (does the port speak TLS?)" if error.reason in _NO_TLS else said
