"""The compiled form of one host's routing: what a worker keeps for each host in use.

Everything that can be known when configuration changes is worked out here once. Header names are
lower case; all request-side strings are bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar, cast

from egressd.routing.client import LeftOut
from egressd.routing.request import Request

Predicate = Callable[[Request], bool]


class ClusterKey(NamedTuple):
    """Names a cluster: a service host, one of its subsets ("" = all) and a service port."""

    host: str
    subset: str
    port: int

    def __str__(self) -> str:
        return f"outbound|{self.port}|{self.subset}|{self.host}"


@dataclass(frozen=True, slots=True)
class HeaderOps:
    """Header operations in order: set, add, remove (Istio `Headers.HeaderOperations`)."""

    set: tuple[tuple[bytes, bytes], ...] = ()
    add: tuple[tuple[bytes, bytes], ...] = ()
    remove: frozenset[bytes] = frozenset()
    has_commands: bool = False  # a value has Envoy's % commands in it


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """One destination of a route; `cumulative` is the sum of weights up to and with this one."""

    key: ClusterKey
    weight: int
    cumulative: int
    request_headers: HeaderOps | None = None
    response_headers: HeaderOps | None = None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When and how often an exchange is tried again (Istio `HTTPRetry`, Envoy's retry policy)."""

    attempts: int  # retries after the first try
    retry_on: frozenset[
        str
    ]  # Envoy condition names, retriable-status-codes resolved into `statuses`
    statuses: frozenset[int] = frozenset()
    header_names: frozenset[bytes] = frozenset()  # lower case: a response that has one of them
    per_try_timeout_s: float | None = None
    backoff_base_s: float = 0.025
    backoff_max_s: float = 0.25
    ignore_previous_hosts: bool = True  # Istio retryIgnorePreviousHosts: rather one not tried yet
    remote_localities: bool = False  # Istio retryRemoteLocalities
    explicit: bool = False  # written by the user (allows non-idempotent methods where it says so)


@dataclass(frozen=True, slots=True)
class Fault:
    """Injected delay and abort (Istio `HTTPFaultInjection`). Percentages are 0.0 to 100.0."""

    delay_s: float = 0.0
    delay_percent: float = 0.0
    abort_status: int = 0  # HTTP; with `abort_grpc_status` set, what it is in HTTP
    abort_percent: float = 0.0
    abort_grpc_status: int | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """A copy of the request goes to `key` for `percent` of requests (Istio `HTTPMirrorPolicy`)."""

    key: ClusterKey
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class Cors:
    """Istio `CorsPolicy`, header values ready to send; b"" = the header is not sent."""

    origins: tuple[Callable[[bytes], bool], ...] = ()
    methods: bytes = b""
    headers: bytes = b""
    expose: bytes = b""
    max_age: bytes = b""
    credentials: bool = False
    forward_unmatched_preflights: bool = True


@dataclass(frozen=True, slots=True)
class Redirect:
    """Istio `HTTPRedirect`; empty parts are taken from the request."""

    status: int = 301
    scheme: bytes = b""
    authority: bytes = b""
    port: int | None = None  # None: see derive_port
    derive_port: str = ""  # "", FROM_PROTOCOL_DEFAULT, FROM_REQUEST_PORT
    path: bytes | None = None
    prefix: bytes | None = None


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """Istio `HTTPDirectResponse`."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Istio `HTTPRewrite`: `uri` replaces the matched prefix or, after an exact match, the path."""

    uri: bytes | None = None
    authority: bytes | None = None
    regex: Callable[[bytes], bytes] | None = None  # path without query -> path without query


@dataclass(frozen=True, slots=True)
class Match:
    """One match block: all predicates hold. `path_kind`/`path` are split out for the rewrite and the
    fast scan ("" = no uri condition, "exact", "prefix", "regex"); `text` is for explain."""

    path_kind: str
    path: bytes
    ignore_case: bool
    path_predicate: Predicate | None  # regex or ignore-case forms; None for plain exact and prefix
    predicates: tuple[Predicate, ...]
    text: tuple[tuple[str, str, Predicate], ...]  # (field path, condition in words, its predicate)
    index: int = 0  # of the block as it is written
    needs_headers: bool = False  # some condition looks at headers other than Host
    stat_prefix: str = ""  # Istio HTTPMatchRequest.statPrefix: names the route in metrics

    @property
    def takes_everything(self) -> bool:
        """No request gets past it: prefix "/" or regex ".*", and no other condition (Istio
        `IsCatchAllRoute`)."""
        every = ("prefix", b"/"), ("regex", b".*"), ("", b"")
        return not self.predicates and (self.path_kind, self.path) in every


@dataclass(frozen=True, slots=True)
class Route:
    """One `http` route, ready to act. Exactly one of destinations, redirect, direct_response acts."""

    name: str
    place: str  # "VirtualService/default/reviews spec.http[0]" or "implicit"
    matches: tuple[Match, ...]  # empty = always
    destinations: tuple[WeightedCluster, ...] = ()
    total_weight: int = 0
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout_s: float | None = None
    retry: RetryPolicy | None = None  # None: no retries
    fault: Fault | None = None
    request_headers: HeaderOps | None = None
    response_headers: HeaderOps | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    closed: tuple[str, ...] = ()  # why other match blocks of it are not for this client


T = TypeVar("T", bound=Hashable)


@functools.lru_cache(maxsize=8192)
def _first_equal(value: Hashable) -> Hashable:
    return value


def shared(value: T) -> T:
    """The object that stands for all equal ones: routes of thousands of hosts mostly have the same
    destinations and policies, and what is shared stays in the processor's cache."""
    return cast(T, _first_equal(value))


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All routes of the host claim that won for a name, in order."""

    claim: str  # "reviews.example", "*.example"
    resource: str  # "VirtualService/default/reviews"; the ServiceEntry's ref for an implicit one
    port: int  # the service port that the request addresses
    routes: tuple[Route, ...]
    depends_on: frozenset[
        str
    ]  # every host key looked up while compiling: a change of one of these drops it
    needs_headers: bool = False  # some match or operation looks at headers other than Host
    service: str = ""  # host of the ServiceEntry addressed, where there is one
    left_out: tuple[LeftOut, ...] = ()  # routes that are not for this client
    merged: tuple[str, ...] = ()  # younger VirtualServices whose routes are in it, too (Gateways)
