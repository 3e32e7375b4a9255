"""Listening sockets that the service manager keeps for the next supervisor (FDSTORE of sd_notify(3)).

Without them a supervisor that follows a killed one could not listen: workers that serve on have the
ports. A socket of a SO_REUSEPORT group that nobody accepts from would take its share of the
connections and let them wait, so what is no longer wanted is taken out at once.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence

from egressd.node.sd_notify import Notifier

Sockets = Mapping[str, Sequence[socket.socket]]


class KeptSockets:
    """What the manager holds of this node, by name. Every name has one place's sockets."""

    def __init__(self, notifier: Notifier, held: Iterable[tuple[str, socket.socket]] = ()) -> None:
        """`held` came with the start, by name."""
        self._notifier = notifier
        self._held: dict[str, frozenset[int]] = {}
        for name, sock in held:
            inode = os.fstat(sock.fileno()).st_ino
            self._held[name] = self._held.get(name, frozenset()) | {inode}

    def sync(self, wanted: Sockets) -> None:
        """Let the manager hold exactly `wanted`. What it cannot be told now is told the next time."""
        for name in tuple(self._held):
            if name not in wanted and self._notifier.drop(name):
                del self._held[name]
        for name, sockets in wanted.items():
            unique = {os.fstat(sock.fileno()).st_ino: sock.fileno() for sock in sockets}
            held = self._held.get(name)
            if unique.keys() == held:
                continue
            if held and not held <= unique.keys() and not self._notifier.drop(name):
                continue
            # The manager keeps one copy of a socket that it is told of twice.
            if self._notifier.store(name, list(unique.values())):
                self._held[name] = frozenset(unique)
