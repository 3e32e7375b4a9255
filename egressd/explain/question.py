"""What is asked: a request or a connection, and the node that it comes to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from egressd.admin.state import ClusterView
from egressd.api.secret import RedactedError
from egressd.proxy.http1.request import METHODS
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.sidecar import mesh_scope
from egressd.registry.view import RegistryView
from egressd.registry.visibility import reached_view
from egressd.routing.gateway import Speech
from egressd.routing.path import PathNormalizer
from egressd.upstream.address_policy import ClientAddresses


class BadQuestion(RedactedError):
    """The question has no answer as it is put. The message says what to add."""


@dataclass(frozen=True, slots=True)
class NodeListener:
    """A listener of the node's bootstrap file."""

    name: str
    address: str
    port: int
    speech: Speech


DEFAULT_LISTENERS = (NodeListener("egress", "127.0.0.1", 15001, Speech.HTTP),)


@dataclass(frozen=True, slots=True)
class Node:
    """The node as the question finds it. `clusters` are those that its workers use, None where no node
    was asked."""

    view: RegistryView
    profile: NodeProfile = DEFAULT_PROFILE
    listeners: tuple[NodeListener, ...] = DEFAULT_LISTENERS
    gateway_address: str = "0.0.0.0"
    gateway_ports: Mapping[int, int] = field(default_factory=dict)
    connect_ports: Collection[int] = (443,)
    addresses: ClientAddresses | None = None
    paths: PathNormalizer = field(default_factory=PathNormalizer)
    methods: frozenset[bytes] = METHODS
    upgrades: frozenset[bytes] = frozenset({b"websocket"})
    overrides: bool = True
    clusters: Mapping[str, ClusterView] | None = None

    @property
    def reached(self) -> RegistryView:
        """What routes may lead to."""
        return reached_view(mesh_scope(self.view, self.profile).view, self.profile.namespace)


@dataclass(frozen=True, slots=True)
class Question:
    """A request (`head` is its raw head) or a plain connection (b"").

    `listener` is the port that the client connects to, `gateway` ("namespace/name") the Gateway that
    it belongs to. `address` and `port` are what a plain connection was meant for.
    """

    words: str
    head: bytes = b""
    is_https: bool = False
    gateway: str = ""
    listener: int | None = None
    sni: str = ""
    address: str = ""
    port: int | None = None
    source: str = ""
    principal: str = ""
