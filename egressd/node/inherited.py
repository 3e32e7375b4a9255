"""What the supervisor opens once and every child process inherits by fork."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Inherited:
    """Descriptors that outlive any one child.

    A worker's sockets stay open in the supervisor, so that connections waiting in the accept queue
    of a dead worker are served by its replacement.
    """

    listeners: tuple[
        tuple[tuple[str, socket.socket], ...], ...
    ]  # [worker][n] = (name, listening socket)
    bells: tuple[int, ...]  # one eventfd a worker: readable = the registry or the names have news
    health_fd: int  # memfd of `egressd.upstream.node_state`: ejections and circuit breaker counts
    names_fd: int  # memfd of `egressd.dns.shared_answers`: what workers know of names
    admin: socket.socket | None = None
    extra: dict[str, int] = field(default_factory=dict)
    calls: tuple[int, ...] = ()  # one eventfd a worker: readable = another worker called it
