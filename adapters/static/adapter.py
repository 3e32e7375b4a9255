"""The static adapter: look, publish, wait for the kernel to say that something changed."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from adapters.static.files import Tree
from adapters.static.inotify import Inotify
from egressd.registry.adapter import Adapter, AdapterConfigError, AdapterContext, Sink

_SETTLE_S = 0.02
"""Several files are often written together: wait for the last one."""
_POLL_S = 2.0
"""Also look without being told: network file systems and links out of the tree tell nothing."""


class StaticAdapter:
    """Follows files and directories. A file that is not valid keeps what it said before."""

    def __init__(self, name: str, paths: tuple[str, ...]) -> None:
        self._tree = Tree(name, paths)

    async def run(self, sink: Sink) -> None:
        """Publish now and after every change."""
        try:
            inotify = Inotify()
        except OSError as error:
            sink.failed(f"inotify: {error}; looking every {_POLL_S:g} s instead")
            while True:
                self._look(sink)
                await trio.sleep(_POLL_S)
        with inotify:
            while True:
                for directory in self._tree.directories():
                    inotify.watch(directory)
                self._look(sink)
                with trio.move_on_after(_POLL_S):
                    await inotify.changed()
                    await trio.sleep(_SETTLE_S)

    def _look(self, sink: Sink) -> None:
        found = self._tree.look()
        if found is None:
            sink.in_sync()
            return
        snapshot, problems = found
        sink.problems(problems)
        sink.publish(snapshot)


def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """Options: `paths`, a list of files and directories. Raises `AdapterConfigError`."""
    unknown = options.keys() - {"paths"}
    if unknown:
        raise AdapterConfigError(f"options.{sorted(unknown)[0]}: unknown, expected paths")
    paths = options.get("paths")
    if isinstance(paths, str):
        paths = [paths]
    if not isinstance(paths, list | tuple) or not paths:
        raise AdapterConfigError(f"options.paths: found {paths!r}, expected a list of paths")
    for number, path in enumerate(paths):
        if not isinstance(path, str) or not path:
            raise AdapterConfigError(f"options.paths[{number}]: found {path!r}, expected a path")
    return StaticAdapter(context.name, tuple(str(path) for path in paths))
