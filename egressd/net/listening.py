"""The addresses that a process listens on, so that it never connects to itself.

A proxy whose endpoint is its own port would ask itself over and over, until it has no descriptors left.
"""

from __future__ import annotations

import socket
from collections import Counter

_ANY = ("0.0.0.0", "::")


class Listening:
    """Listening sockets by address; several may listen on one."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int]] = Counter()

    def add(self, sock: socket.socket) -> tuple[str, int] | None:
        """Note a socket. What `remove` takes; None for an abstract Unix one. Others have port 0."""
        name = sock.getsockname()
        if isinstance(name, bytes):
            return None
        address, port = (name, 0) if isinstance(name, str) else name[:2]
        self._counts[address, port] += 1
        return address, port

    def remove(self, place: tuple[str, int] | None) -> None:
        """The socket of this place is closed."""
        if place is not None:
            self._counts[place] -= 1
            if not self._counts[place]:
                del self._counts[place]

    def has(self, address: str, port: int) -> bool:
        """Whether exactly this address is listened on."""
        return (address, port) in self._counts

    def has_any(self, port: int) -> bool:
        """Whether a port is listened on at every address of the host."""
        return any((address, port) in self._counts for address in _ANY)


def is_of_this_host(local: str, peer: str) -> bool:
    """Whether a connection with these two addresses stays on the host: the kernel takes the address
    itself as the source towards one of its own, 127.0.0.1 for all of 127.0.0.0/8."""
    return local == peer or peer.startswith("127.")
