"""Istio `networking.istio.io` VirtualService: the messages as immutable types, a class each."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from egressd.api.grammar import (
    authority_fault,
    free_fault,
    header_value_fault,
    location_path_fault,
    path_template_fault,
    request_path_fault,
)
from egressd.api.message import (
    Duration,
    Fault,
    Int32,
    Message,
    Percent,
    PortSelector,
    StringMatch,
    UInt32,
)


class RedirectPortSelection(enum.StrEnum):
    """Istio `HTTPRedirect.RedirectPortSelection`."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


class UnmatchedPreflights(enum.StrEnum):
    """Istio `CorsPolicy.UnmatchedPreflights`."""

    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


class VirtualService(Message, frozen=True):
    """Istio `VirtualService`."""

    hosts: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    http: tuple[HTTPRoute, ...] = ()
    tls: tuple[TLSRoute, ...] = ()
    tcp: tuple[TCPRoute, ...] = ()
    export_to: tuple[str, ...] = ()


class Destination(Message, frozen=True):
    """Istio `Destination`."""

    host: str
    subset: str = ""
    port: PortSelector | None = None


class HTTPRoute(Message, frozen=True):
    """Istio `HTTPRoute`."""

    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"mirrorPercent"})
    name: str = ""
    match: tuple[HTTPMatchRequest, ...] = ()
    route: tuple[HTTPRouteDestination, ...] = ()
    redirect: HTTPRedirect | None = None
    direct_response: HTTPDirectResponse | None = None
    delegate: Delegate | None = None
    rewrite: HTTPRewrite | None = None
    timeout: Duration | None = None
    retries: HTTPRetry | None = None
    fault: HTTPFaultInjection | None = None
    mirror: Destination | None = None
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()
    mirror_percent: UInt32 | None = None
    mirror_percentage: Percent | None = None
    cors_policy: CorsPolicy | None = None
    headers: Headers | None = None


class Delegate(Message, frozen=True):
    """Istio `Delegate`."""

    name: str = ""
    namespace: str = ""


class Headers(Message, frozen=True):
    """Istio `Headers`."""

    request: HeaderOperations | None = None
    response: HeaderOperations | None = None


class HeaderOperations(Message, frozen=True):
    """Istio `Headers.HeaderOperations`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"set": header_value_fault, "add": header_value_fault}
    set: Mapping[str, str] = msgspec.field(default_factory=dict)
    add: Mapping[str, str] = msgspec.field(default_factory=dict)
    remove: tuple[str, ...] = ()


class TLSRoute(Message, frozen=True):
    """Istio `TLSRoute`."""

    match: tuple[TLSMatchAttributes, ...]
    route: tuple[RouteDestination, ...] = ()


class TCPRoute(Message, frozen=True):
    """Istio `TCPRoute`."""

    match: tuple[L4MatchAttributes, ...] = ()
    route: tuple[RouteDestination, ...] = ()


class HTTPMatchRequest(Message, frozen=True):
    """Istio `HTTPMatchRequest`."""

    name: str = ""
    uri: StringMatch | None = None
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch] = msgspec.field(default_factory=dict)
    port: UInt32 = 0
    source_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    query_params: Mapping[str, StringMatch] = msgspec.field(default_factory=dict)
    ignore_uri_case: bool = False
    without_headers: Mapping[str, StringMatch] = msgspec.field(default_factory=dict)
    source_namespace: str = ""
    stat_prefix: str = ""


class HTTPRouteDestination(Message, frozen=True):
    """Istio `HTTPRouteDestination`."""

    destination: Destination
    weight: Int32 = 0
    headers: Headers | None = None


class RouteDestination(Message, frozen=True):
    """Istio `RouteDestination`."""

    destination: Destination
    weight: Int32 = 0


class L4MatchAttributes(Message, frozen=True):
    """Istio `L4MatchAttributes`."""

    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_subnet: str = ""
    source_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class TLSMatchAttributes(Message, frozen=True):
    """Istio `TLSMatchAttributes`."""

    sni_hosts: tuple[str, ...]
    destination_subnets: tuple[str, ...] = ()
    port: UInt32 = 0
    source_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    gateways: tuple[str, ...] = ()
    source_namespace: str = ""


class HTTPRedirect(Message, frozen=True):
    """Istio `HTTPRedirect`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {
        "uri": location_path_fault,
        "authority": authority_fault,
        "prefixRewrite": request_path_fault,
    }
    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "redirect_port": (
            "port",
            "derivePort",
        )
    }
    uri: str = ""
    authority: str = ""
    port: UInt32 | None = None
    derive_port: RedirectPortSelection | None = None
    scheme: str = ""
    redirect_code: UInt32 = 0
    prefix_rewrite: str = ""


class HTTPDirectResponse(Message, frozen=True):
    """Istio `HTTPDirectResponse`."""

    status: UInt32
    body: HTTPBody | None = None


class HTTPBody(Message, frozen=True):
    """Istio `HTTPBody`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"string": free_fault}
    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "specifier": (
            "string",
            "bytes",
        )
    }
    string: str | None = None
    raw: bytes | None = msgspec.field(name="bytes", default=None)


class HTTPRewrite(Message, frozen=True):
    """Istio `HTTPRewrite`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {
        "uri": request_path_fault,
        "authority": authority_fault,
    }
    uri: str = ""
    authority: str = ""
    uri_regex_rewrite: RegexRewrite | None = None


class RegexRewrite(Message, frozen=True):
    """Istio `RegexRewrite`."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"rewrite": path_template_fault}
    match: str = ""
    rewrite: str = ""


class HTTPRetry(Message, frozen=True):
    """Istio `HTTPRetry`."""

    attempts: Int32 = 0
    per_try_timeout: Duration | None = None
    retry_on: str = ""
    retry_remote_localities: bool | None = None
    retry_ignore_previous_hosts: bool | None = None
    backoff: Duration | None = None


class CorsPolicy(Message, frozen=True):
    """Istio `CorsPolicy`."""

    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"allowOrigin"})
    allow_origin: tuple[str, ...] = ()
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: Duration | None = None
    allow_credentials: bool | None = None
    unmatched_preflights: UnmatchedPreflights = UnmatchedPreflights.UNSPECIFIED


class HTTPFaultInjection(Message, frozen=True):
    """Istio `HTTPFaultInjection`."""

    delay: FaultDelay | None = None
    abort: FaultAbort | None = None


class FaultDelay(Message, frozen=True):
    """Istio `HTTPFaultInjection.Delay`."""

    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "http_delay_type": (
            "fixedDelay",
            "exponentialDelay",
        )
    }
    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"percent"})
    percent: Int32 = 0
    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percent | None = None


class FaultAbort(Message, frozen=True):
    """Istio `HTTPFaultInjection.Abort`."""

    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "error_type": (
            "httpStatus",
            "grpcStatus",
            "http2Error",
        )
    }
    OLD_NAMES: ClassVar[Mapping[str, str]] = {"percent": "percentage"}
    http_status: Int32 | None = None
    grpc_status: str | None = None
    http2_error: str | None = None
    percentage: Percent | None = None


class HTTPMirrorPolicy(Message, frozen=True):
    """Istio `HTTPMirrorPolicy`."""

    destination: Destination
    percentage: Percent | None = None
