"""TLS sessions: taken when their ticket has come, resumed, one full handshake for those who come at
once. Real TLS on socket pairs, both sides in this process."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest
import trustme

from egressd.net import Fiber, Stream
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.spec import EndpointSpec, TlsSpec
from egressd.upstream.tls_contexts import ContextEntry
from egressd.upstream.tls_handshake import Origination, TicketWatch, originate_tls
from egressd.upstream.tls_sessions import TICKET_WAIT_S, SessionKey, TlsSessions
from tests.net.driver import Loop, it

__all__ = ["it"]

ENDPOINT = EndpointSpec("10.0.0.1", 443)
CA = trustme.CA()
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def server_context(
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, tickets: int = 2, name: str = "*.w.example"
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(name, "peer.example").configure_cert(context)
    context.minimum_version = context.maximum_version = version
    context.num_tickets = tickets
    return context


def client_entry(*, checks_name: bool = True) -> ContextEntry:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    context.check_hostname = checks_name
    return ContextEntry(context, (), 0.0)


class Connection:
    """One connection: our side a fiber that handshakes and then reads, theirs stepped by the test."""

    def __init__(self, it: Loop, server: ssl.SSLContext, origination: Origination) -> None:
        self.it = it
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self.peer = server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
        self.stream = Stream(it.loop, ours)
        self.watch: TicketWatch | None = None
        self.error: ConnectFailed | None = None
        self.got = b""

        async def run(fiber: Fiber) -> None:
            try:
                self.watch = await originate_tls(it.loop, self.stream, fiber, ENDPOINT, origination)
                while data := await self.stream.recv(fiber):
                    self.got += data
            except ConnectFailed as failed:
                self.error = failed

        self.fiber = it.loop.spawn(run)
        it.run()

    def turn(self) -> None:
        """The server's step, then ours."""
        with suppress(ssl.SSLError):
            self.peer.do_handshake()
        self.it.run()

    def handshake(self) -> bool:
        """Both sides to the end of it. Returns whether it was resumed."""
        for _ in range(6):
            self.turn()
        assert self.watch is not None, self.error
        return bool(self.peer.session_reused)

    def close(self) -> None:
        self.fiber.cancel()
        self.it.run()
        if self.watch is not None:
            self.watch.end()
        self.stream.close()
        self.peer.close()
        self.it.run()


def originations() -> Origination:
    return Origination(TlsSpec("SIMPLE", "a.w.example"), client_entry())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_second_connection_is_resumed(it: Loop, version: ssl.TLSVersion) -> None:
    server, origination = server_context(version), originations()
    resumed = []
    for _ in range(4):
        one = Connection(it, server, origination)
        resumed.append(one.handshake())
        one.close()
    assert resumed == [False, True, True, True]


def test_a_ticket_that_comes_with_the_first_bytes_is_taken(it: Loop) -> None:
    server, origination = server_context(), originations()
    one = Connection(it, server, origination)
    one.handshake()
    one.peer.send(b"hello")
    it.run()
    assert one.got == b"hello"
    assert len(origination.entry.sessions) == 1
    one.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_for_its_name_and_endpoint(it: Loop, version: ssl.TLSVersion) -> None:
    server, entry = server_context(version), client_entry()
    for name in ("a.w.example", "b.w.example"):
        one = Connection(it, server, Origination(TlsSpec("SIMPLE", name), entry))
        assert not one.handshake()
        one.close()
    assert len(entry.sessions) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_names_are_verified_on_resumed_connections_too(it: Loop, version: ssl.TLSVersion) -> None:
    server, entry = server_context(version), client_entry(checks_name=False)
    good = TlsSpec("SIMPLE", "a.w.example", subject_alt_names=("peer.example",))
    bad = TlsSpec("SIMPLE", "a.w.example", subject_alt_names=("other.example",))
    for spec, resumed in ((good, False), (good, True)):
        one = Connection(it, server, Origination(spec, entry))
        assert one.handshake() is resumed
        one.close()
    one = Connection(it, server, Origination(bad, entry))
    for _ in range(6):
        one.turn()
    assert "SAN matcher" in str(one.error)
    one.close()


def test_those_who_come_at_once_wait_for_the_first_ones_ticket(it: Loop) -> None:
    server, origination = server_context(), originations()
    crowd = [Connection(it, server, origination) for _ in range(5)]
    resumed = []
    for one in crowd:
        resumed.append(one.handshake())
    assert resumed == [False, True, True, True, True]
    for one in crowd:
        one.close()


def test_when_the_first_fails_the_next_one_is_first(it: Loop) -> None:
    server, origination = server_context(), originations()
    wrong = Connection(it, server_context(name="other.example"), origination)
    others = [Connection(it, server, origination) for _ in range(2)]
    for _ in range(6):
        wrong.turn()
    assert wrong.error is not None and wrong.error.tls
    assert [one.handshake() for one in others] == [False, True]
    for one in (wrong, *others):
        one.close()


def test_when_the_first_leaves_the_next_one_is_first(it: Loop) -> None:
    server, origination = server_context(), originations()
    leaves, stays = (Connection(it, server, origination) for _ in range(2))
    leaves.close()
    assert not stays.handshake()
    stays.close()
    again = Connection(it, server, origination)
    assert again.handshake()
    again.close()


def test_a_peer_without_tickets_is_waited_for_once(it: Loop) -> None:
    server, origination = server_context(tickets=0), originations()
    first, second = (Connection(it, server, origination) for _ in range(2))
    assert not first.handshake()
    for _ in range(4):
        second.turn()
    assert second.watch is None
    it.advance(TICKET_WAIT_S + 0.01)
    assert not second.handshake()
    third = Connection(it, server, origination)
    assert not third.handshake()  # and nobody waited
    for one in (first, second, third):
        one.close()


def test_nothing_is_left_of_a_connection_that_closes_before_its_ticket(it: Loop) -> None:
    origination = originations()
    one = Connection(it, server_context(tickets=0), origination)
    one.handshake()
    one.close()
    assert origination.entry.sessions.lead(SessionKey(ENDPOINT.id, "a.w.example")) is None


def test_a_session_that_the_server_does_not_know_is_a_full_handshake(it: Loop) -> None:
    origination = originations()
    for _ in range(2):
        one = Connection(it, server_context(), origination)  # a server with keys of its own
        assert not one.handshake()
        one.close()


def test_a_name_that_tls_cannot_carry_is_a_failure_of_the_connection(it: Loop) -> None:
    spec = TlsSpec("SIMPLE", "a" * 70 + ".example")
    one = Connection(it, server_context(), Origination(spec, client_entry()))
    assert one.error is not None
    one.close()


def _session(it: Loop) -> ssl.SSLSession:
    origination = originations()
    one = Connection(it, server_context(), origination)
    one.handshake()
    one.close()
    session = origination.entry.sessions.get(SessionKey(ENDPOINT.id, "a.w.example"))
    assert session is not None
    return session


def test_the_session_unused_for_longest_goes_first(it: Loop) -> None:
    session = _session(it)
    sessions = TlsSessions(most=3)
    first, *others = (SessionKey("e", f"n{number}") for number in range(6))
    sessions.keep(first, session)
    for key in others:
        sessions.keep(key, session)
        assert sessions.get(first) is session
        assert len(sessions) <= 3
    assert sessions.get(others[0]) is None


def test_a_session_whose_ticket_has_expired_is_not_offered(
    it: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = _session(it)
    sessions = TlsSessions()
    key = SessionKey("e", "n")
    sessions.keep(key, session)
    later = session.time + session.ticket_lifetime_hint + 1
    monkeypatch.setattr("egressd.upstream.tls_sessions.time", lambda: later)
    assert sessions.get(key) is None
    assert len(sessions) == 0
