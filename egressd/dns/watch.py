"""The questions in use: asked ahead of their end, by one task, told of when they change."""

from __future__ import annotations

import heapq
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import count
from typing import NamedTuple, Protocol

import structlog
import trio

from egressd.dns.answer import Answer
from egressd.dns.held import DEFAULT_BOUNDS, Bounds, Held, is_usable, latest, next_state
from egressd.telemetry.episode import Episode
from egressd.telemetry.episode import Told as News

STALE_AFTER_S = 1.8
"""How long an answer from before a restart waits for a fresh one (RFC 8767 5)."""
RESOLUTION_DELAY_S = 0.05
"""How long addresses of one family wait for the other's, the first time (RFC 8305 3)."""
AT_ONCE = 64
"""Questions under way at a time."""
FOLLOW_S = 1.0
"""How long a process waits for the one from which it has an answer to renew it, at most."""
_LOGGED = 10
_MOST_EPISODES = 1000
_PENDING = Answer(outcome="pending", reason="no answer yet")

log = structlog.get_logger("egressd.dns")

Ask = Callable[[str, str], Awaitable[Answer]]


class Question(NamedTuple):
    """A name and the types of record that together answer for it."""

    name: str
    kinds: tuple[str, ...] = ("A", "AAAA")


class Told(NamedTuple):
    """What a process holds of a question, and when it said so."""

    held: Held
    at: float


class Shared(Protocol):
    """What other processes know (`egressd.dns.shared_answers`)."""

    def find(self, question: Question) -> Told | None:
        """What any process knows of a question."""

    def tell(self, question: Question, held: Held) -> None:
        """What this process knows now. Never blocks."""


class _Entry:
    """A question in use."""

    __slots__ = ("due", "held", "listeners", "renewed", "under_way")

    def __init__(self, question: Question) -> None:
        self.held = Held((None,) * len(question.kinds))
        self.due = 0.0
        self.under_way = False
        self.listeners: list[Callable[[], None]] = []
        self.renewed = (
            trio.Event()
        )  # the next time that there is news, if only that nothing changed


class Watch:
    """Keeps questions answered. `ask` is `Resolver.ask`; `rng` gives numbers in [0, 1); `remembered`
    is what `answers` gave before a restart, for the time in which no server answers; `shared` what other
    processes know: `heard` is to be called with their news."""

    def __init__(
        self,
        ask: Ask,
        bounds: Bounds = DEFAULT_BOUNDS,
        rng: Callable[[], float] = random.random,
        remembered: Mapping[Question, Held] | None = None,
        shared: Shared | None = None,
    ) -> None:
        self._ask = ask
        self._bounds = bounds
        self._rng = rng
        self._shared = shared
        self._entries: dict[Question, _Entry] = {}
        self._queue: list[tuple[float, int, Question]] = []
        self._serial = count()
        self._remembered = dict(remembered or {})
        self._room = trio.Semaphore(AT_ONCE)
        self._room_again = trio.Semaphore(AT_ONCE)  # names that fail hold up nobody else
        self._wake = trio.Event()
        self._failing: set[Question] = set()
        self._episodes: dict[Question, Episode] = {}
        self.changes = 0  # of records: worth being written down

    def held(self, question: Question) -> Held | None:
        """What is known of a watched question."""
        entry = self._entries.get(question)
        return None if entry is None else entry.held

    def answers(self) -> dict[Question, Held]:
        """Everything that has records, to be remembered."""
        now = trio.current_time()
        known = {
            question: held
            for question, held in self._remembered.items()
            if any(part and now < part.good_until + self._bounds.stale_s for part in held.parts)
        }
        known.update((q, entry.held) for q, entry in self._entries.items() if entry.held.records)
        return known

    @property
    def failing(self) -> int:
        """How many questions live on their last answer, or have none yet."""
        return len(self._failing)

    def __len__(self) -> int:
        return len(self._entries)

    def watch(self, question: Question, on_change: Callable[[], None]) -> None:
        """Keep a question answered; `on_change` is called after each change of its records or of its
        error, and after the first answer."""
        entry = self._entries.get(question)
        if entry is None:
            entry = self._entries[question] = _Entry(question)
            self._schedule(question, entry, self._begin(question, entry))
        entry.listeners.append(on_change)

    def unwatch(self, question: Question, on_change: Callable[[], None]) -> None:
        """Stop telling; a question that nobody watches is forgotten."""
        entry = self._entries.get(question)
        if entry is None:
            return
        if on_change in entry.listeners:
            entry.listeners.remove(on_change)
        if not entry.listeners:
            del self._entries[question]
            self._failing.discard(question)
            entry.renewed.set()

    def _begin(self, question: Question, entry: _Entry) -> float:
        """Go on with what other processes know. Returns when to ask."""
        told = self._shared.find(question) if self._shared is not None else None
        if told is None:
            return 0.0
        if is_usable(told.held, told.at, trio.current_time(), self._bounds):
            entry.held = told.held
            self._note(question, Held(()), told.held)
            return self._follow(told.held)
        if told.held.records:
            self._remembered.setdefault(question, told.held)
        return 0.0

    def _follow(self, held: Held) -> float:
        """When to ask for what another process has asked for: it renews it first, while it lives."""
        if held.refresh_at <= trio.current_time():
            return 0.0
        return held.refresh_at + FOLLOW_S * (0.5 + self._rng() / 2)

    def heard(self, question: Question, held: Held) -> None:
        """Another process told what it holds of a question."""
        entry = self._entries.get(question)
        if entry is None:
            return
        before, after = entry.held, latest(entry.held, held)
        if after is before:
            return
        self._remembered.pop(question, None)
        self._change(question, entry, after)
        if not entry.under_way:
            self._schedule(question, entry, self._follow(after))

    async def first(self, question: Question) -> None:
        """Wait until a watched question has been asked once, well or not."""
        while (entry := self._entries.get(question)) is not None and not entry.held.is_asked:
            await entry.renewed.wait()

    async def renew(self, questions: Iterable[Question]) -> None:
        """Ask watched questions again now, whatever their TTL, and wait for the answers."""
        entries = [(q, entry) for q in questions if (entry := self._entries.get(q)) is not None]
        waiting = [entry.renewed for _, entry in entries]
        for question, entry in entries:
            self._schedule(question, entry, 0.0)
        for event in waiting:
            await event.wait()

    async def run(self) -> None:
        """Ask as questions come due, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                now = trio.current_time()
                while self._queue and self._queue[0][0] <= now:
                    due, _, question = heapq.heappop(self._queue)
                    entry = self._entries.get(question)
                    if entry is not None and entry.due == due and not entry.under_way:
                        entry.under_way = True
                        nursery.start_soon(self._look_up, question, entry)
                self._wake = trio.Event()
                with trio.move_on_at(self._queue[0][0] if self._queue else float("inf")):
                    await self._wake.wait()

    def _schedule(self, question: Question, entry: _Entry, at: float) -> None:
        entry.due = at
        heapq.heappush(self._queue, (at, next(self._serial), question))
        self._wake.set()

    async def _look_up(self, question: Question, entry: _Entry) -> None:
        answers = [_PENDING] * len(question.kinds)
        room = self._room_again if entry.held.failures else self._room
        async with room, trio.open_nursery() as nursery:

            async def ask(at: int, kind: str) -> None:
                answers[at] = await self._ask(question.name, kind)
                if _PENDING not in answers:
                    nursery.cancel_scope.cancel()
                elif answers[at].records and not entry.held.is_asked:
                    await trio.sleep(RESOLUTION_DELAY_S)
                    self._take(question, entry, answers)

            async def lose_patience() -> None:
                await trio.sleep(STALE_AFTER_S)
                self._take(question, entry, answers)

            for at, kind in enumerate(question.kinds):
                nursery.start_soon(ask, at, kind)
            if question in self._remembered:
                nursery.start_soon(lose_patience)
        entry.under_way = False
        self._take(question, entry, answers)
        if self._entries.get(question) is entry:
            self._schedule(question, entry, entry.held.refresh_at)

    def _take(self, question: Question, entry: _Entry, answers: list[Answer]) -> None:
        """Go on with what was learnt; whoever watches hears of it when it is news."""
        if self._entries.get(question) is not entry:
            return
        before = entry.held
        known = self._remembered.pop(question, before)
        after = next_state(known, answers, trio.current_time(), self._rng(), self._bounds)
        # A name that never had records is not worth telling of: clients may invent any number.
        if self._shared is not None and (after.records or before.records):
            self._shared.tell(question, after)
        self._change(question, entry, after)

    def _change(self, question: Question, entry: _Entry, after: Held) -> None:
        before, entry.held = entry.held, after
        self.changes += before.records != after.records
        self._note(question, before, after)
        if _news(after) != _news(before):
            for listener in tuple(entry.listeners):
                listener()
        renewed, entry.renewed = entry.renewed, trio.Event()
        renewed.set()

    def _episode(self, question: Question) -> Episode:
        """What was told of a name. Of many names the oldest is forgotten: it is told of anew."""
        episode = self._episodes.setdefault(question, Episode())
        if len(self._episodes) > _MOST_EPISODES:
            del self._episodes[next(iter(self._episodes))]
        return episode

    def _note(self, question: Question, before: Held, after: Held) -> None:
        """One line when a name fails, another when it is well again; of very many only some."""
        if after.error == _PENDING.reason:
            return
        now = trio.current_time()
        if after.error:
            self._failing.add(question)
            news = self._episode(question).failed(after.error, now)
            few = len(self._failing) <= _LOGGED or not len(self._failing) % 1000
            if few and news is not News.NOTHING:
                stands = "its last answer stands" if after.records else "it has no answer"
                again = " again and again" if news is News.TURNS else ""
                log.warning(
                    f"name not resolved{again}, {stands}",
                    name=question.name,
                    reason=after.error,
                    records=len(after.records),
                    failing=len(self._failing),
                )
        elif question in self._failing:
            self._failing.discard(question)
            news = self._episode(question).well(now)
            if news is News.NEWS and len(self._failing) < _LOGGED:
                log.info("name resolved again", name=question.name, failing=len(self._failing))
        if before.records and not after.records:
            log.warning("name has no records any more", name=question.name, reason=after.error)


def _news(held: Held) -> tuple[tuple[str, ...], str, bool]:
    """What whoever watches wants to hear of."""
    return held.records, held.error, held.is_asked
