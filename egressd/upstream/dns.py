"""Names of DNS clusters: resolved ahead, renewed by TTL, kept through failures (RFC 8767).

`next_state` decides; `DnsWatch` asks. Addresses come from literals, the hosts file, and A and AAAA
answers, CNAMEs followed by the resolver.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver
import structlog
import trio

MIN_TTL_S = 1.0
MAX_TTL_S = 300.0
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
_LOOKUP_S = 5.0
_HOSTS = "/etc/hosts"

log = structlog.get_logger("egressd.dns")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is known of a name. `addresses` None: never answered, () = the name has none."""

    addresses: tuple[str, ...] | None = None
    failures: int = 0
    refresh_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one look-up gave; `failed` for no answer at all. TTL in seconds."""

    addresses: tuple[str, ...] = ()
    ttl_s: float = MIN_TTL_S
    failed: str = ""


@dataclass(frozen=True, slots=True)
class TtlBounds:
    """Bounds of how long an answer is used, whatever its TTL; seconds."""

    least_s: float = MIN_TTL_S
    most_s: float = MAX_TTL_S


def next_state(
    known: Resolved, answer: Answer, now: float, jitter: float, bounds: TtlBounds = TtlBounds()
) -> Resolved:
    """The state after an answer. A failure, or a name gone empty, leaves the last good addresses in
    force and is asked again with back-off; `jitter` in [0, 1) spreads renewals of many names."""
    if answer.failed or (not answer.addresses and known.addresses):
        failures = known.failures + 1
        wait = min(FIRST_RETRY_S * 2.0 ** (failures - 1), MAX_RETRY_S)
        error = answer.failed or "the name has no addresses any more"
        return Resolved(known.addresses, failures, now + wait * (0.5 + jitter / 2), error)
    ttl = min(max(answer.ttl_s, bounds.least_s), bounds.most_s)
    return Resolved(answer.addresses, 0, now + ttl * (0.9 + jitter / 10))


class DnsWatch:
    """The names that a worker has in use. One task renews them all."""

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        bounds: TtlBounds = TtlBounds(),
        rng: Callable[[], float] = random.random,
        hosts_file: str = _HOSTS,
    ) -> None:
        self._bounds = bounds
        self._resolver = _make_resolver(nameservers)
        self._rng = rng
        self._hosts = read_hosts(hosts_file)
        self._known: dict[str, Resolved] = {}
        self._listeners: dict[str, list[Callable[[], None]]] = {}
        self._under_way: dict[str, trio.Event] = {}
        self._wake = trio.Event()

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """The addresses in force; None before the first answer (() after a first one without any)."""
        known = self._known.get(name)
        if known is None:
            return None
        if known.addresses is None:
            return () if known.failures else None
        return known.addresses

    def watch(self, name: str, on_change: Callable[[], None]) -> None:
        """Keep a name resolved; `on_change` is called after each change."""
        self._listeners.setdefault(name, []).append(on_change)
        if name not in self._known:
            self._known[name] = Resolved()
            local = literal_or_hosts(name, self._hosts)
            if local:
                self._known[name] = Resolved(local, 0, float("inf"))
        self._wake.set()

    def unwatch(self, name: str, on_change: Callable[[], None]) -> None:
        """Stop telling; a name that nobody watches is forgotten."""
        listeners = self._listeners.get(name, [])
        if on_change in listeners:
            listeners.remove(on_change)
        if not listeners:
            self._listeners.pop(name, None)
            self._known.pop(name, None)

    async def first(self, name: str) -> None:
        """Wait until a watched name has been asked for once, well or not."""
        while self.addresses(name) is None and name in self._known:
            event = self._under_way.get(name)
            if event is None:
                await self._look_up(name)
            else:
                await event.wait()

    async def run(self) -> None:
        """Renew names as they come due, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                now = monotonic()
                due = [n for n, k in self._known.items() if k.refresh_at <= now]
                for name in due:
                    if name not in self._under_way:
                        nursery.start_soon(self._look_up, name)
                soonest = min((k.refresh_at for k in self._known.values()), default=float("inf"))
                self._wake = trio.Event()
                with trio.move_on_after(min(max(soonest - monotonic(), 0.05), 60.0)):
                    await self._wake.wait()

    async def _look_up(self, name: str) -> None:
        if name in self._under_way:
            return
        event = self._under_way[name] = trio.Event()
        try:
            answer = await self._ask(name)
            before = self._known.get(name)
            if before is None:
                return
            after = next_state(before, answer, monotonic(), self._rng(), self._bounds)
            self._known[name] = after
            if after.error and after.error != before.error:
                log.warning("name not resolved", name=name, reason=after.error)
            if after.addresses != before.addresses or before.failures == 0:
                for listener in tuple(self._listeners.get(name, ())):
                    listener()
        finally:
            del self._under_way[name]
            event.set()

    async def _ask(self, name: str) -> Answer:
        answers: list[Answer] = []

        async def ask(kind: dns.rdatatype.RdataType) -> None:
            answers.append(await self._query(name, kind))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, dns.rdatatype.A)
            nursery.start_soon(ask, dns.rdatatype.AAAA)
        good = [answer for answer in answers if not answer.failed]
        incomplete = len(good) < len(answers)
        if not good or (incomplete and not any(answer.addresses for answer in good)):
            return next(answer for answer in answers if answer.failed)
        addresses = sorted({address for answer in good for address in answer.addresses})
        ttl = min((answer.ttl_s for answer in good if answer.addresses), default=MIN_TTL_S)
        return Answer(tuple(addresses), ttl)

    async def _query(self, name: str, kind: dns.rdatatype.RdataType) -> Answer:
        try:
            answer = await self._resolver.resolve(name, kind, search=False, lifetime=_LOOKUP_S)
        except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
            return Answer()
        except (dns.exception.DNSException, OSError) as error:
            return Answer(failed=f"{type(error).__name__}: {error}")
        if answer.rrset is None:
            return Answer()
        return Answer(tuple(str(record) for record in answer.rrset), float(answer.rrset.ttl))


def _make_resolver(nameservers: Sequence[str]) -> dns.asyncresolver.Resolver:
    """The system's resolver, or one for the given "address" or "address:port" servers."""
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
    if nameservers:
        resolver.nameservers = [_nameserver(server) for server in nameservers]
    return resolver


def _nameserver(text: str) -> dns.nameserver.Nameserver:
    """A server written "address", "address:port" or "[v6]:port"."""
    host, port = text, 53
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = int(rest.removeprefix(":") or port)
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
        port = int(number)
    return dns.nameserver.Do53Nameserver(host, port)


def read_hosts(path: str) -> Mapping[str, tuple[str, ...]]:
    """The hosts file: name to addresses. A file that cannot be read is empty."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    names: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            names[name.lower()] = (*names.get(name.lower(), ()), words[0])
    return names


def literal_or_hosts(name: str, hosts: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Addresses that need no server: a literal, the hosts file, localhost (RFC 6761)."""
    try:
        return (str(ipaddress.ip_address(name)),)
    except ValueError:
        pass
    found = hosts.get(name.lower(), ())
    if not found and (name == "localhost" or name.endswith(".localhost")):
        return ("127.0.0.1", "::1")
    return found
