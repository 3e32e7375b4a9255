"""What a stage is given in place of the world: time, certificates, a registry, names, a loop."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, TypeVar

import pytest
import trustme

from egressd.api.parse import parse_text
from egressd.api.resource import Kind
from egressd.net import Fiber, Readiness
from egressd.proxy import listener
from egressd.registry.memory import MemoryView
from egressd.registry.records import Record
from egressd.upstream import node_state
from egressd.upstream.node_state import NodeState
from egressd.upstream.tls import ContextKey, client_context

DESTINATION = ("10.2.0.1", 443)
"""Where the clients of the plain doors ("tls", "tcp") were going."""
T = TypeVar("T")


class Clock:
    """Monotonic seconds that move when a script says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
on_linger: list[Callable[[int], None]] = []  # the stage's, told of a close that will be a reset


@contextmanager
def given_clock() -> Iterator[None]:
    """Every module of egressd reads `CLOCK`; resets by SO_LINGER are noted."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in tuple(sys.modules.items()):
            if name.startswith("egressd.") and getattr(module, "monotonic", None) is monotonic:
                patch.setattr(module, "monotonic", CLOCK)
        plain = socket.socket.setsockopt

        def setsockopt(self: socket.socket, level: int, option: int, *value: Any) -> None:
            if option == socket.SO_LINGER and level == socket.SOL_SOCKET:
                on_linger[-1](self.fileno())
            plain(self, level, option, *value)

        patch.setattr(socket.socket, "setsockopt", setsockopt)
        patch.setattr(listener, "original_destination", lambda sock: DESTINATION)
        yield


class Certificates:
    """Of the origin, and of the proxy towards its client. Made once."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self._directory = TemporaryDirectory(prefix="scenes-")  # goes with the process
        self.place = Path(self._directory.name)
        self.ca_file = str(self.place / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        certificate = authority.issue_cert("a.x", "b.x", "*.w.x")
        certificate.cert_chain_pems[0].write_to_path(str(self.place / "cert.pem"))
        certificate.private_key_pem.write_to_path(str(self.place / "key.pem"))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self.server)
        self.clients = {"tls": _trusting(authority), "mutual": _trusting(authority)}
        authority.issue_cert("client.x").configure_cert(self.clients["mutual"])


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@lru_cache(maxsize=1)
def certificates() -> Certificates:
    return Certificates()


@lru_cache(maxsize=8)
def loaded(key: ContextKey) -> ssl.SSLContext:
    return client_context(key)


async def load(key: ContextKey) -> ssl.SSLContext:
    return loaded(key)


class GivenLoop(Readiness):
    """Turned by the stage, without trio: what is called of trio's is there at once."""

    async def call(self, fiber: Fiber, function: Callable[..., Awaitable[T]], *args: object) -> T:
        return await function(*args)


@lru_cache(maxsize=1)
def node() -> NodeState:
    """One for all stages: each has to leave it with nothing counted."""
    return NodeState(node_state.create(), 0)


@lru_cache(maxsize=64)
def view_of(text: str) -> MemoryView:
    parsed = parse_text(text.replace("CERTS", str(certificates().place)), "scene.yaml")
    assert not parsed.errors, parsed.errors
    return MemoryView([Record(resource=one, source="scene") for one in parsed.resources])


class ChangingView:
    """The registry as it is now."""

    def __init__(self, text: str) -> None:
        self.now = view_of(text)

    def version(self) -> int:
        return self.now.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        return self.now.claims(kind, host)

    def records(self, kind: Kind) -> tuple[Record, ...]:
        return self.now.records(kind)

    def unanswered(self) -> Mapping[str, str]:
        return self.now.unanswered()


class FixedNames:
    """Names that resolve at once, or never to anything."""

    def __init__(self, addresses: Mapping[str, tuple[str, ...]]) -> None:
        self._addresses = addresses

    def addresses(self, name: str) -> tuple[str, ...]:
        return self._addresses.get(name, ())

    def watch(self, name: str, on_change: object) -> None:
        """Nothing ever changes."""

    def unwatch(self, name: str, on_change: object) -> None:
        """Nothing was kept."""

    def trouble(self, name: str) -> str:
        """Whatever has no address is no name."""
        return "" if self._addresses.get(name) else f"{name} does not resolve: no such name"

    async def first(self, name: str) -> None:
        """Known already."""
