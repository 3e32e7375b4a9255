"""The static adapter: look, publish, wait for the kernel to say that something changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec
import structlog
import trio

from adapters.options import convert_options
from adapters.static.files import Tree
from adapters.static.inotify import Inotify
from adapters.static.settling import PATIENCE
from adapters.static.writers import Writers
from egressd.api.other_kinds import ALL, kinds_named
from egressd.api.resource import Problem
from egressd.api.secret import shown
from egressd.registry.adapter import (
    CONFIRM_S,
    Adapter,
    AdapterConfigError,
    AdapterContext,
    Sink,
)
from egressd.registry.adapter_options import declares_options

log = structlog.get_logger("egressd.static")
T = TypeVar("T")
_SETTLE_S = 0.02
"""Several files are often written together: wait for the last one."""
_POLL_S = 2.0
"""Also look without being told: network file systems tell nothing."""


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of a `static` adapter may say."""

    paths: str | tuple[str, ...]  # files, directories, patterns, include files
    require_checksums: bool = False  # take only files with a FILE.sha256 that is theirs
    ignore_kinds: bool | tuple[str, ...] = ()  # kinds to skip; true: of all API groups but Istio's


class StaticAdapter:
    """Follows files and directories. A file that is not valid, or that may be half of what its writer
    means, keeps what it said before."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._problems: tuple[Problem, ...] | None = None
        self._skipped = ""
        self._reread_at = float("inf")  # a loss is held: everything is read afresh then

    async def run(self, sink: Sink) -> None:
        """Publish now and after every change."""
        try:
            inotify = Inotify()
        except OSError as error:
            sink.failed(f"inotify: {error}; looking every {_POLL_S:g} s instead")
            while True:
                wait_s = min(_POLL_S, await self._look(sink, Writers()))
                await trio.sleep(wait_s)
        with inotify:
            writers = Writers(inotify.events)
            while True:
                wait_s = min(_POLL_S, await self._look(sink, writers))
                try:
                    if inotify.watch_only(self._tree.watch):
                        continue  # it may have changed before it was watched
                except OSError as error:
                    sink.failed(f"inotify: {error}; looking every {_POLL_S:g} s instead")
                with trio.move_on_after(wait_s):
                    await inotify.changed()
                    await trio.sleep(_SETTLE_S)

    async def _look(self, sink: Sink, writers: Writers) -> float:
        """Look and say what there is. Returns in how many seconds to look again."""
        now = trio.current_time()
        is_reread = now >= self._reread_at
        look = await _aside(
            partial(
                self._tree.look,
                is_reread=is_reread,
                now=now,
                writers=writers,
                known=sink.known(),
            )
        )
        if look.problems != self._problems:
            self._problems = look.problems
            sink.problems(look.problems)
        self._say_skipped()
        if is_reread:
            self._reread_at = float("inf")
        if look.snapshot is not None:
            if not sink.publish(look.snapshot) and not is_reread:
                self._reread_at = now + CONFIRM_S
        elif not look.missing:
            sink.in_sync()
        if look.missing:
            sink.failed(look.missing)
        return min(look.again_s, max(0.0, self._reread_at - trio.current_time()))

    def _say_skipped(self) -> None:
        """Once, and again when it changes."""
        skipped = self._tree.skipped()
        if skipped != self._skipped:
            self._skipped = skipped
            log.info("skipped, kinds of others", source=self._tree.source, kinds=skipped or "none")


async def _aside(function: Callable[[], T]) -> T:
    """In a thread: a large tree takes a while, and other sources go on. A thread that is given up
    finishes its look for nobody."""
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)


@declares_options(Options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """Options: see `Options`. Raises `AdapterConfigError`."""
    expected = {
        "paths": "a path or a list of paths",
        "requireChecksums": "true or false",
        "ignoreKinds": "true or a list of kinds",
    }
    given = convert_options(context.name, options, Options, expected)
    paths = (given.paths,) if isinstance(given.paths, str) else given.paths
    if not paths or not all(paths):
        raise AdapterConfigError(
            f"adapter {context.name}: options.paths: found {shown(given.paths)}, "
            f"expected {expected['paths']}"
        )
    kinds = given.ignore_kinds
    names = (ALL,) if kinds is True else kinds or ()
    tree = Tree(
        context.name,
        paths,
        needs_checksum=given.require_checksums,
        patience=PATIENCE,
        others=kinds_named(names),
    )
    return StaticAdapter(tree)
