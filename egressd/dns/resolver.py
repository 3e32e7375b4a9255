"""Ask for one name and type: local names first, then the servers in order, with CNAMEs followed.

A server that is slow is not given up: the next one is asked beside it, and the first answer wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic

import dns.exception
import dns.name
import structlog
import trio

from egressd.dns.answer import FOUND, NO_DATA, Answer, read_answer
from egressd.dns.exchange import Malformed, exchange
from egressd.dns.hosts import FileText, addresses_in, local_addresses, names_to_ask
from egressd.dns.servers import Server, Standing, servers_in, split_server

TRY_S = 1.0
"""How long a server is waited for before the next one is asked, too."""
LOOK_UP_S = 6.0
"""How long all servers together have."""
_ROUNDS = 2  # a datagram may be lost
_MAX_ALIASES = 8
_LOCAL_TTL_S = 5.0
_RESOLV_CONF = "/etc/resolv.conf"
_HOSTS = "/etc/hosts"

log = structlog.get_logger("egressd.dns")


class Resolver:
    """A stub resolver. `nameservers` as in `split_server`; none: those of /etc/resolv.conf, which is
    read again when it changes, as is /etc/hosts. `counts` has look-ups by outcome."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        search: Sequence[str] = (),
        *,
        hosts_file: str = _HOSTS,
        resolv_conf: str = _RESOLV_CONF,
    ) -> None:
        self._given = tuple(split_server(text) for text in nameservers)
        self._search = tuple(search)
        self._hosts = FileText(hosts_file, addresses_in)
        self._system = FileText(resolv_conf, servers_in)
        self._standing = Standing()
        self.counts: dict[str, int] = {}

    async def ask(self, name: str, kind: str) -> Answer:
        """The answer for a name and a record type ("A", "AAAA", "SRV"). Never raises for what servers
        do: see `Answer.is_failed`. Takes `LOOK_UP_S` for each name that is tried at most."""
        try:
            dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError) as error:
            return Answer(outcome="badname", reason=f"not a DNS name: {error}")
        hosts = self._hosts.value()
        answer = Answer(outcome=NO_DATA)
        for full in names_to_ask(name, self._search):
            answer = await self._ask_full(full, kind, hosts)
            if answer.records or answer.is_failed:
                break
        self.counts[answer.outcome] = self.counts.get(answer.outcome, 0) + 1
        return answer

    async def _ask_full(self, name: str, kind: str, hosts: Mapping[str, tuple[str, ...]]) -> Answer:
        local = local_addresses(name, kind, hosts)
        if local is not None:
            return Answer(local, _LOCAL_TTL_S, FOUND if local else NO_DATA)
        ttl_s = float("inf")
        for _ in range(_MAX_ALIASES):
            answer = await self._ask_servers(name, kind)
            ttl_s = min(ttl_s, answer.ttl_s)
            if not answer.alias_of:
                return replace(answer, ttl_s=ttl_s)
            name = answer.alias_of
        return Answer(outcome="loop", reason=f"more than {_MAX_ALIASES} aliases, up to {name}")

    async def _ask_servers(self, name: str, kind: str) -> Answer:
        servers = self._given or self._system.value()
        order = self._standing.order(servers, monotonic())
        race = _Race(name, kind)
        with trio.move_on_after(LOOK_UP_S):
            async with trio.open_nursery() as nursery:
                for server in order * _ROUNDS:
                    if server in race.answered:
                        continue  # and not usefully, or the race would be over
                    ended = trio.Event()
                    nursery.start_soon(self._try, race, server, ended, nursery.cancel_scope.cancel)
                    with trio.move_on_after(TRY_S) as patience:
                        await ended.wait()
                    if patience.cancelled_caught:
                        race.slow.add(server)
        for server in race.slow - race.answered:
            self._note_silent(server, f"no answer within {TRY_S:g} s")
        return race.result(order)

    async def _try(
        self, race: _Race, server: Server, ended: trio.Event, end_race: Callable[[], None]
    ) -> None:
        """Ask one server. A failure makes room for the next at once, an answer ends the race."""
        try:
            message = await exchange(server, race.name, race.kind, race.note_garbage)
            answer = read_answer(message, race.kind, str(server))
        except OSError as error:
            reason = f"{server}: {error.strerror or error}"
            self._note_silent(server, str(error.strerror or error))
            answer = Answer(outcome="unreachable", reason=reason)
        except (Malformed, dns.exception.DNSException) as error:
            answer = Answer(outcome="malformed", reason=f"malformed answer from {server}: {error}")
        else:
            race.answered.add(server)
            if self._standing.note_answer(server):
                log.info("name server answers again", server=str(server))
        if answer.is_failed:
            race.note_failure(answer)
            ended.set()
        else:
            race.answer = answer
            end_race()

    def _note_silent(self, server: Server, reason: str) -> None:
        if self._standing.note_silent(server, monotonic()):
            log.warning("name server does not answer", server=str(server), reason=reason)


class _Race:
    """One question to several servers."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.answer: Answer | None = None
        self.answered: set[Server] = set()
        self.slow: set[Server] = set()
        self._failure: Answer | None = None
        self._has_garbage = False

    def note_garbage(self) -> None:
        self._has_garbage = True

    def note_failure(self, failure: Answer) -> None:
        """The first server's word is the one to report: the others may know less of the name."""
        self._failure = self._failure or failure

    def result(self, asked: Sequence[Server]) -> Answer:
        """The answer, or why there is none."""
        if self.answer is not None:
            return self.answer
        if self._failure is not None:
            return self._failure
        names = ", ".join(map(str, asked))
        if self._has_garbage:
            reason = f"only malformed or foreign answers from {names}"
            return Answer(outcome="malformed", reason=reason)
        return Answer(outcome="timeout", reason=f"no answer from {names} within {LOOK_UP_S:g} s")
