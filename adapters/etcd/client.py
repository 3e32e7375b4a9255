"""A cluster as one thing to ask: other members when one fails, logins when a token has ended.

One member is talked to at a time, whichever answered last; each of many nodes begins with another.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import trio

from adapters.backoff import backoff_s
from adapters.etcd.options import Connection, Target, targets
from adapters.etcd.rpc import Member
from adapters.etcd.wire import Heard, Page, RpcFailed, range_end
from adapters.options import seconds
from egressd.api.secret import RedactedError, Secret

Answer = TypeVar("Answer")
_MIN_ATTEMPTS = 2  # a connection that the server closed while it was idle is no failure


class EtcdError(RedactedError):
    """etcd could not be asked. The message names the address and what happened."""


class Unreachable(EtcdError):
    """No member answers."""


class Refused(EtcdError):
    """etcd answers that it will not: wrong password, no permission, a bad request."""


class CompactedRevision(EtcdError):
    """The revision that was asked about is forgotten."""


class FutureRevision(EtcdError):
    """The revision that was asked about is not reached yet: the store counts from anew."""


class EtcdClient:
    """One cluster. Needs no event loop to be made; gRPC is loaded by the first question."""

    def __init__(self, name: str, options: Connection) -> None:
        """Raises `AdapterConfigError`."""
        self._options = options
        self._targets = targets(name, options.endpoints)
        self._timeout_s = seconds(options.request_timeout)
        self._probe_s = seconds(options.probe_interval)
        self._max_backoff_s = seconds(options.max_backoff)
        self._next = random.randrange(len(self._targets))
        self._member: Member | None = None
        self._token = Secret()
        self._lost: dict[str, str] = {}  # members that failed when they were asked last, and how

    @property
    def target(self) -> Target:
        """The member that is asked now, or next."""
        return self._targets[self._next]

    @property
    def lost(self) -> Mapping[str, str]:
        """Members that do not answer, and how that began, while others do."""
        return self._lost if len(self._lost) < len(self._targets) else {}

    async def call(self, ask: Callable[[Member, Secret], Awaitable[Answer]]) -> Answer:
        """Ask members with a token until one answers. Raises `EtcdError`."""
        failed: dict[str, str] = {}
        left = max(_MIN_ATTEMPTS, len(self._targets))
        while left:
            url = self.target.url
            try:
                return await self.call_once(ask)
            except Unreachable as error:
                left -= 1
                failed[url] = str(error)
        raise Unreachable("; ".join(failed[url] for url in sorted(failed)))

    async def call_once(self, ask: Callable[[Member, Secret], Awaitable[Answer]]) -> Answer:
        """Ask one member. When it fails the next question goes to another one. Raises `EtcdError`."""
        has_new_token = False
        while True:
            member = self._connected()
            url = member.target.url
            try:
                token = await self._login(member)
                answer = await ask(member, token)
            except RpcFailed as error:
                if error.is_old_token and self._options.user and not has_new_token:
                    has_new_token, self._token = True, Secret()
                elif error.is_members:
                    self._leave(member, str(error))
                    raise Unreachable(f"{url}: {error}") from error
                else:
                    raise _refusal(url, error) from error
            else:
                self._lost.pop(url, None)
                return answer

    async def page(self, first: bytes, end: bytes, *, revision: int = 0, limit: int = 0) -> Page:
        """Keys from `first` to before `end` (b"" = the one key) as of a revision (0 = now)."""
        return await self.call(
            lambda member, token: member.range(token, first, end, revision=revision, limit=limit)
        )

    async def pages(self, prefix: bytes, limit: int) -> AsyncIterator[Page]:
        """All keys below a prefix as of the first page's revision. Raises `CompactedRevision` when
        that is forgotten before the last page."""
        page = await self.page(prefix, range_end(prefix), limit=limit)
        revision = page.revision
        yield page
        while page.after:
            page = await self.page(page.after, range_end(prefix), revision=revision, limit=limit)
            yield page

    async def follow(
        self,
        prefix: bytes,
        since: Callable[[], int],
        heard: Callable[[Heard], Awaitable[bool]],
    ) -> None:
        """Hear of every change below a prefix since a revision, itself included, and of probes that
        found nothing wrong, until `heard` says False. Raises `EtcdError` as soon as the member does
        not answer a probe any more, whatever the watch itself says."""

        async def ask(member: Member, token: Secret) -> None:
            failures: list[RpcFailed] = []

            async def fenced(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except RpcFailed as error:
                    failures.append(error)
                nursery.cancel_scope.cancel()

            async def probe() -> None:
                while True:
                    await trio.sleep(self._probe_s)
                    known = since() - 1  # the watch may overtake the answer
                    page = await member.range(
                        token, prefix, range_end(prefix), limit=1, keys_only=True
                    )
                    word = Heard(page.cluster, page.revision, is_probe=True, expected=known)
                    if not await heard(word):
                        return
                    await self._revisit()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(fenced, probe)
                nursery.start_soon(fenced, lambda: member.watch(token, prefix, since(), heard))
            if failures:
                raise failures[0]

        await self.call_once(ask)

    async def pause(self, failures: int) -> None:
        """Wait after the n-th failure in a row."""
        await trio.sleep(backoff_s(failures, self._max_backoff_s, random.random()))

    def close(self) -> None:
        """Close the connection; never waits."""
        if self._member is not None:
            self._member.close()
            self._member = None

    def _connected(self) -> Member:
        if self._member is None:
            self._member = self._connect(self.target)
        return self._member

    def _connect(self, target: Target) -> Member:
        try:
            return Member(target, self._options.tls, self._timeout_s)
        except OSError as error:
            raise Refused(f"{target.url}: options.tls: {error}") from error

    async def _revisit(self) -> None:
        """Ask the members that failed, so that one that is back is not called lost for ever."""
        for target in self._targets:
            if target.url in self._lost:
                member = self._connect(target)
                try:
                    await member.range(self._token, b"\0", b"", keys_only=True)
                except RpcFailed as error:
                    if error.is_members:
                        continue
                finally:
                    member.close()
                self._lost.pop(target.url, None)

    def _leave(self, member: Member, reason: str) -> None:
        """Unless another task did already."""
        if self._member is member:
            self._lost.setdefault(member.target.url, reason)
            self._next = (self._next + 1) % len(self._targets)
            self.close()

    async def _login(self, member: Member) -> Secret:
        options = self._options
        if not options.user or self._token:
            return self._token
        try:
            self._token = await member.login(options.user, _password(options))
        except RpcFailed as error:
            if "authentication is not enabled" not in error.details:
                raise
        return self._token


def _password(options: Connection) -> Secret:
    if not options.password_file:
        return options.password
    try:
        return Secret(Path(options.password_file).read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"options.passwordFile: {error}") from error


def _refusal(url: str, error: RpcFailed) -> EtcdError:
    if error.is_compacted:
        return CompactedRevision(f"{url}: {error}")
    if error.is_future:
        return FutureRevision(f"{url}: {error}")
    hint = " (options.user is not set)" if "user name is empty" in error.details else ""
    return Refused(f"{url}: {error}{hint}")
