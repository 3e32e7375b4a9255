"""Plays a scene: as it is written, or with a write split in two, or with one side closing early.

As written, every byte on both sides and every log line is compared. With an early close, laws hold
instead: an answer is the one that was expected, a local reply, or a beginning of the expected one with
a reset behind it; a request that was read is logged once; nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tests.proxy.scenes.peers import Peer
from tests.proxy.scenes.script import Line, Scene, Step
from tests.proxy.scenes.stage import Stage
from tests.proxy.scenes.wire import Message, fields, merged_requests, merged_responses
from tests.proxy.scenes.wire import requests as read_requests
from tests.proxy.scenes.wire import responses as read_responses

LONGEST_WAIT_S = 8.0
"""A client that is gone frees its exchange within this, whatever its origin does."""


class Split(NamedTuple):
    """The n-th step, a write, happens in two."""

    step: int
    at: int


class Close(NamedTuple):
    """An actor closes when it has written so much, and does nothing more."""

    side: str
    actor: int
    at: int
    by: str  # "ends", "resets"


Variation = Split | Close | None


def splits(scene: Scene) -> Iterator[Split]:
    for number, step in enumerate(scene.steps):
        if step.what == "sends":
            yield from (Split(number, at) for at in range(1, len(step.data)))


def closes(scene: Scene, side: str, by: str) -> Iterator[Close]:
    for actor in scene.actors(side):
        total = len(scene.writes(side, actor))
        yield from (Close(side, actor, at, by) for at in range(total + 1))


class Play:
    """One replay."""

    def __init__(self, scene: Scene, variation: Variation, *, tls: bool) -> None:
        self.scene, self.variation = scene, variation
        self._is_exact = not isinstance(variation, Close)
        origin_closes = isinstance(variation, Close) and variation.side == "origin"
        self.stage = Stage(
            scene.resources,
            **scene.speaks(tls=tls),
            connects=scene.connects or ("ok",) * (len(scene.actors("origin")) or 1),
            mirror=scene.mirror,
            settings=scene.settings,
            names=scene.names,
        )
        self._hangs_up = origin_closes  # an origin that is asked what it does not expect
        self._written: dict[tuple[str, int], int] = {}
        self._expected: dict[tuple[str, int], bytes] = {}
        self._stuck: set[tuple[str, int]] = set()
        self.problems: list[str] = []

    def run(self) -> list[str]:
        try:
            for number, step in enumerate(self.scene.steps):
                self._do(number, step)
                if self._is_exact and self.problems:
                    break
            if self._is_exact:
                self._compare_log()
            else:
                self._hold_laws()
                self.stage.hang_up()
                self._hold_log()
        except Exception as error:
            self.problems.append(f"raised {error!r}")
            raise
        finally:
            self.problems += self.stage.close()
        return self.problems

    # -- steps ---------------------------------------------------------------------------------

    def _do(self, number: int, step: Step) -> None:
        if not step.side:
            self._happens(step)
            return
        if step.actor in self._stuck:
            return
        peer = self._peer(step)
        if step.what == "is_not_there":
            if peer is not None and self._is_exact:
                self.problems.append(f"{step.side} {step.at} is there already")
            return
        if peer is None:
            self._blocked(step, "is not there")
            return
        self._close_if_due(step.actor, peer)
        if step.actor in self._stuck:
            return
        getattr(self, f"_{step.what}")(number, step, peer)

    def _happens(self, step: Step) -> None:
        if step.what == "waits":
            self.stage.wait(step.seconds)
        elif step.what == "changes":
            self.stage.change(step.data.decode())
        elif step.what == "sweeps":
            self.stage.sweep()
        else:
            self.stage.drain(step.seconds)

    def _peer(self, step: Step) -> Peer | None:
        stage = self.stage
        if step.side == "client":
            while len(stage.clients) <= step.at:
                stage.connect()
                stage.settle()
            return stage.clients[step.at]
        peers = stage.origins if step.side == "origin" else stage.mirrors
        return peers[step.at] if step.at < len(peers) else None

    def _sends(self, number: int, step: Step, peer: Peer) -> None:
        data = step.data
        if isinstance(self.variation, Split) and self.variation.step == number:
            peer.send(data[: self.variation.at])
            self.stage.settle()
            data = data[self.variation.at :]
        elif isinstance(self.variation, Close) and self._closes(step.actor):
            written = self._written.get(step.actor, 0)
            data = data[: self.variation.at - written]
        if data:
            if data is step.data and step.cut:
                peer.send(data[: step.cut])
                peer.send(data[step.cut :])
            else:
                peer.send(data)
            self.stage.settle()
        self._written[step.actor] = self._written.get(step.actor, 0) + len(data)
        self._close_if_due(step.actor, peer)

    def _closes(self, actor: tuple[str, int]) -> bool:
        return isinstance(self.variation, Close) and self.variation[:2] == actor

    def _close_if_due(self, actor: tuple[str, int], peer: Peer) -> None:
        if not isinstance(self.variation, Close) or not self._closes(actor):
            return
        if self._written.get(actor, 0) >= self.variation.at and not peer.gone:
            peer.rst() if self.variation.by == "resets" else peer.fin()
            self.stage.settle()
            self._stuck.add(actor)

    def _gets(self, number: int, step: Step, peer: Peer) -> None:
        wanted = self._expected.get(step.actor, b"") + step.data
        self._expected[step.actor] = wanted
        found, wanted = self._merged(step, peer.received), self._merged(step, wanted)
        if self._is_exact and found != wanted:
            self.problems.append(f"{step.side} {step.at}: expected\n{wanted!r}\nfound\n{found!r}")
        elif not found.startswith(wanted):
            self._blocked(step, "got something else")

    def _merged(self, step: Step, data: bytes) -> bytes:
        if step.side != "client":
            return merged_requests(data)
        return merged_responses(data, self._methods(step.at))

    def _methods(self, client: int) -> list[bytes]:
        return methods_of(self.scene.writes("client", client))

    def _ends(self, number: int, step: Step, peer: Peer) -> None:
        peer.fin()
        self.stage.settle()

    def _resets(self, number: int, step: Step, peer: Peer) -> None:
        peer.rst()
        self.stage.settle()

    def _sees_end(self, number: int, step: Step, peer: Peer) -> None:
        if not peer.ended:
            self._blocked(step, f"ended: {peer.ended}, reset: {peer.reset}")

    def _sees_reset(self, number: int, step: Step, peer: Peer) -> None:
        if not peer.reset:
            self._blocked(step, f"ended: {peer.ended}, reset: {peer.reset}")

    def _pauses(self, number: int, step: Step, peer: Peer) -> None:
        peer.paused = True

    def _reads_on(self, number: int, step: Step, peer: Peer) -> None:
        peer.paused = False
        self.stage.settle()

    def _blocked(self, step: Step, why: str) -> None:
        """The script cannot go on for this actor."""
        self._stuck.add(step.actor)
        if self._is_exact:
            self.problems.append(f"step {step}: {why}")
        elif self._hangs_up and step.side == "origin" and step.at < len(self.stage.origins):
            self.stage.origins[step.at].fin()
            self.stage.settle()

    # -- as written ----------------------------------------------------------------------------

    def _compare_log(self) -> None:
        lines, wanted = self.stage.lines, self.scene.log
        if len(lines) != len(wanted) or any(map(Line.differs, wanted, lines)):
            found = "\n".join(f"  {Line.of(one)} {one['path']}" for one in lines)
            self.problems.append(f"log: expected {wanted}, found\n{found}")

    # -- laws ----------------------------------------------------------------------------------

    def _hold_laws(self) -> None:
        assert isinstance(self.variation, Close)
        for _ in range(6):  # retries of requests one after the other
            self.stage.wait(0.5)
        if self.variation.side == "client":
            self.stage.wait(LONGEST_WAIT_S)
        for at, peer in enumerate(self.stage.clients):
            self._hold_answers(at, peer)
        if self._is_single() and not self.stage.lines and not self.scene.is_tunnel:
            self._one_line("while its connections were open")

    def _hold_answers(self, client: int, peer: Peer) -> None:
        methods = methods_of(self._sent(client))
        wanted, tunnel = read_responses(self.scene.reads("client", client), methods)
        found, behind = read_responses(peer.received, methods)
        closed = self._closes(("client", client))
        if behind and not tunnel.startswith(behind):
            self.problems.append(f"client {client} got {behind!r} behind its answers")
        finals = [one for one in wanted if one.status >= 200 or one.status == 101]
        interim = {one.head for one in wanted if one.status < 200} | {_CONTINUE}
        at = 0
        for number, message in enumerate(found):
            if message.complete and message.status < 200 and message.status != 101:
                if message.head not in interim:
                    self.problems.append(f"client {client}: unexpected {message.head!r}")
                continue
            last = number == len(found) - 1
            if not self._is_lawful(message, finals[at] if at < len(finals) else None):
                self.problems.append(f"client {client}: answer {at} is {message!r}")
            whole = message.complete and not message.until_close
            if not whole and last and not closed and not self._may_end(message, peer):
                self.problems.append(f"client {client}: broken off without a reset: {message!r}")
            at += 1
        self._hold_some_answer(client, peer, at)

    def _is_lawful(self, found: Message, wanted: Message | None) -> bool:
        if found.complete and is_local(found):
            return True
        if wanted is None:
            return False
        ends = self.scene.ends_by_close and self.variation == (
            "origin",
            *self.variation[1:3],
            "ends",
        )
        if found.complete and not ends:
            return is_same(found, wanted)
        return is_beginning(found, wanted)

    def _may_end(self, found: Message, peer: Peer) -> bool:
        return peer.reset or (found.until_close and (self.scene.ends_by_close or peer.ended))

    def _hold_some_answer(self, client: int, peer: Peer, answers: int) -> None:
        """A client that is there and has asked gets something, or its connection ends."""
        whole = [one for one in read_requests(self._sent(client))[0] if one.complete]
        asked = len(whole)
        closed = self.variation
        assert isinstance(closed, Close)
        # While another client is gone, an origin may be silent for long: its script is stuck.
        waits = answers < asked and not peer.ended and closed.side != "client"
        if waits:
            self.problems.append(f"client {client} waits for answer {answers}")

    def _sent(self, client: int) -> bytes:
        written = self._written.get(("client", client), 0)
        return self.scene.writes("client", client)[:written]

    def _hold_log(self) -> None:
        lines = self.stage.lines
        heads = answers = broken = 0
        for client, peer in enumerate(self.stage.clients):
            sent, _ = read_requests(self._sent(client))
            whole = [one for one in sent if one.head.endswith(b"\r\n\r\n")]
            heads += len(whole)
            broken += len(sent) - len(whole) or not whole
            got, _ = read_responses(peer.received, methods_of(self._sent(client)))
            answers += sum(1 for one in got if one.status >= 200 and one.complete)
        if not answers <= len(lines) <= heads + broken:
            self.problems.append(f"{len(lines)} log lines for {heads} heads, {answers} answers")
        if self._is_single() and len(lines) != 1:
            self._one_line("in all")
        if self.stage.counted() != len(lines):
            self.problems.append(f"{self.stage.counted()} requests counted, {len(lines)} logged")

    def _one_line(self, when: str) -> None:
        if read_requests(self._sent(0))[0][:1] and methods_of(self._sent(0)):
            self.problems.append(f"one request, {len(self.stage.lines)} log lines {when}")

    def _is_single(self) -> bool:
        clients = self.scene.actors("client")
        return len(clients) == 1 and len(self._methods(clients[0])) == 1


_LAST = b"connection: close\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def is_same(found: Message, wanted: Message) -> bool:
    """Whether an answer is the expected one; an early close may make it the connection's last."""
    if found.until_close and wanted.until_close:
        return is_beginning(found, wanted)
    return _same_head(found, wanted) and (found.body, found.trailers) == (
        wanted.body,
        wanted.trailers,
    )


def is_beginning(found: Message, wanted: Message) -> bool:
    if not found.head.endswith(b"\r\n\r\n"):
        return wanted.head.startswith(found.head)
    return _same_head(found, wanted) and wanted.body.startswith(found.body)


def _same_head(found: Message, wanted: Message) -> bool:
    return found.head.replace(_LAST, b"") == wanted.head.replace(_LAST, b"")


def methods_of(sent: bytes) -> list[bytes]:
    """The methods of the requests in what a client wrote."""
    whole = (one.head for one in read_requests(sent)[0] if one.head.endswith(b"\r\n\r\n"))
    return [head.partition(b" ")[0] for head in whole]


def is_local(message: Message) -> bool:
    """Whether the proxy says itself that it made this answer."""
    named = fields(message.head)
    return b"x-egressd-response-flags" in named
