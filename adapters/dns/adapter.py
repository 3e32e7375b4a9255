"""The DNS adapter: keep every name resolved, publish what changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import trio

from adapters.dns.names import Known, all_fail, look_at, snapshot_of
from adapters.dns.options import Name, Options, read_options
from egressd.api.resource import Problem
from egressd.dns.resolver import Resolver
from egressd.dns.watch import Question, Watch
from egressd.registry.adapter import CONFIRM_S, Adapter, AdapterContext, Sink
from egressd.registry.adapter_options import declares_options

_SETTLE_S = 0.02
"""Names are often renewed together: wait for the last one."""
_FIRST_S = 5.0
"""How long the first snapshot waits for the names that are slow."""
_ROUND_S = 5.0
"""How often the registry hears that all is well, or is not."""


class DnsAdapter:
    """Follows the names of its options."""

    def __init__(self, source: str, options: Options, names: Sequence[Name]) -> None:
        self._source = source
        self._namespace = options.namespace
        self._names = {name.host: name for name in names}
        self._watch = Watch(Resolver(options.nameservers).ask, options.bounds)
        self._known: dict[str, Known] = {}
        self._told: dict[str, Callable[[], None]] = {
            host: partial(self._note, host) for host in self._names
        }
        self._dirty: set[str] = set(self._names)
        self._gone_s = options.bounds.gone_s
        self._old_at = 0.0
        self._expired: list[str] = []
        self._bell = trio.Event()
        self._problems: tuple[Problem, ...] = ()

    async def run(self, sink: Sink) -> None:
        """Publish now and after every change."""
        self._old_at = trio.current_time() + self._gone_s
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch.run)
            self._look()
            with trio.move_on_after(_FIRST_S):
                while not all(known.is_asked for known in self._known.values()):
                    self._report_progress(sink)
                    await self._bell.wait()
                    self._look()
            await self._publish(sink)
            while True:
                self._report(sink)
                with trio.move_on_after(_ROUND_S):
                    await self._bell.wait()
                    await trio.sleep(_SETTLE_S)
                if self._look():
                    await self._publish(sink)

    def _note(self, host: str) -> None:
        """One of the name's questions has news (the watch's call)."""
        self._dirty.add(host)
        self._bell.set()

    def _look(self) -> bool:
        """Look at the names with news, and at those that fail: only time changes these. Whether there
        is anything to publish."""
        self._bell = trio.Event()
        hosts, self._dirty = self._dirty, set()
        hosts |= {host for host, known in self._known.items() if known.problem is not None}
        is_news = False
        while hosts:
            host = hosts.pop()
            before = self._known.get(host)
            known = look_at(
                self._names[host],
                self._watch.held,
                before,
                self._source,
                self._namespace,
                is_young=trio.current_time() < self._old_at,
            )
            self._follow(host, before.questions if before is not None else (), known.questions)
            self._known[host] = known
            if known.has_expired:
                self._expired.append(host)
            is_news |= before is None or before.record is not known.record
            if before is None or set(known.questions) != set(before.questions):
                hosts.add(host)  # what others watch, too, is known already: nobody will tell of it
        return is_news

    def _follow(self, host: str, before: Sequence[Question], now: Sequence[Question]) -> None:
        told = self._told[host]
        for question in now:
            if question not in before:
                self._watch.watch(question, told)
        for question in before:
            if question not in now:
                self._watch.unwatch(question, told)

    async def _publish(self, sink: Sink) -> None:
        """Publish; a loss that the registry holds is looked at again, asking every server anew."""
        expired, self._expired = self._expired, []
        if sink.publish(snapshot_of(self._all(), expired=expired)):
            return
        await trio.sleep(CONFIRM_S)
        await self._watch.renew(q for known in self._known.values() for q in known.questions)
        self._look()
        sink.publish(snapshot_of(self._all(), is_reread=True))

    def _all(self) -> list[tuple[Name, Known]]:
        return [(name, self._known[host]) for host, name in self._names.items()]

    def _report_progress(self, sink: Sink) -> None:
        sink.progress(sum(known.is_asked for known in self._known.values()), len(self._known))

    def _report(self, sink: Sink) -> None:
        """Names that fail are problems; that all fail is a failure of the source."""
        problems = tuple(one.problem for one in self._known.values() if one.problem is not None)
        if problems != self._problems:
            self._problems = problems
            sink.problems(problems)
        if all_fail(self._known.values()):
            sink.failed(problems[0].found)
        else:
            sink.in_sync()


@declares_options(Options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """Options: see `adapters.dns.options`. Raises `AdapterConfigError`."""
    return DnsAdapter(context.name, *read_options(context.name, options))
