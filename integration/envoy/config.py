"""From Istio resources to a static Envoy configuration, by the rules of Istio's own translation
(pilot's route and cluster builders). Knows nothing of how egressd compiles them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from egressd.api.destination_rule import DestinationRule
from egressd.api.message import StringMatch
from egressd.api.resource import Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import (
    CorsPolicy,
    Destination,
    HTTPMatchRequest,
    HTTPRedirect,
    HTTPRetry,
    HTTPRoute,
    VirtualService,
)
from egressd.api.virtual_service import Headers as RouteHeaders

Json = dict[str, Any]
_TYPES = "type.googleapis.com/envoy."
_CODES = {
    301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}  # fmt: skip


def configuration(resources: Iterable[Resource], port: int) -> Json:
    """The bootstrap of an Envoy that listens on loopback `port` as a sidecar's egress would."""
    services: dict[str, ServiceEntry] = {}
    routes: dict[str, VirtualService] = {}
    rules: dict[str, DestinationRule] = {}
    for resource in resources:
        spec = resource.spec
        if isinstance(spec, ServiceEntry):
            services.update(dict.fromkeys(spec.hosts, spec))
        elif isinstance(spec, VirtualService):
            routes.update(dict.fromkeys(spec.hosts, spec))
        elif isinstance(spec, DestinationRule):
            rules[spec.host] = spec
    hosts = [
        _virtual_host(host, [r for route in spec.http for r in _routes(route, services)])
        for host, spec in routes.items()
    ]
    for host in services:
        if host not in routes:
            route = {"cluster": _cluster_name(host), "timeout": "0s", "retry_policy": _retry(None)}
            hosts.append(_virtual_host(host, [{"match": {"prefix": "/"}, "route": route}]))
    if "*" not in routes:  # outboundTrafficPolicy REGISTRY_ONLY
        block = {"match": {"prefix": "/"}, "direct_response": {"status": 502}}
        hosts.append({"name": "block_all", "domains": ["*"], "routes": [block]})
    clusters = [c for host, entry in services.items() for c in _clusters(host, entry, rules)]
    return {
        "static_resources": {"listeners": [_listener(port, hosts)], "clusters": clusters},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}]},
    }


def _listener(port: int, hosts: list[Json]) -> Json:
    def filter_(name: str, kind: str) -> Json:
        return {"name": name, "typed_config": {"@type": f"{_TYPES}extensions.filters.http.{kind}"}}

    manager = {
        "@type": f"{_TYPES}extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "egress",
        "route_config": {"virtual_hosts": hosts},
        "normalize_path": True,
        "use_remote_address": False,
        "server_header_transformation": "PASS_THROUGH",
        "generate_request_id": True,
        "http_filters": [
            filter_("envoy.filters.http.cors", "cors.v3.Cors"),
            filter_("envoy.filters.http.fault", "fault.v3.HTTPFault"),
            filter_("envoy.filters.http.router", "router.v3.Router"),
        ],
        "strip_any_host_port": False,
    }
    return {
        "name": "egress",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }


def _virtual_host(host: str, routes: list[Json]) -> Json:
    domains = ["*"] if host == "*" else [host, f"{host}:*"]
    return {"name": host, "domains": domains, "routes": routes}


# -- routes -----------------------------------------------------------------------------------------


def _routes(route: HTTPRoute, services: Mapping[str, ServiceEntry]) -> list[Json]:
    """Istio: one Envoy route a match block."""
    return [_route(route, match, services) for match in route.match or (HTTPMatchRequest(),)]


def _route(route: HTTPRoute, match: HTTPMatchRequest, services: Mapping[str, ServiceEntry]) -> Json:
    made: Json = {"match": _match(match)}
    if route.redirect is not None:
        made["redirect"] = _redirect(route.redirect)
    elif route.direct_response is not None:
        direct: Json = {"status": route.direct_response.status}
        body = route.direct_response.body
        if body is not None:
            direct["body"] = {"inline_string": body.string or ""}
        made["direct_response"] = direct
    else:
        made["route"] = _action(route)
    made |= _header_ops(route.headers)
    if len(route.route) == 1:  # Istio: a single destination's operations come after the route's
        for key, ops in _header_ops(route.route[0].headers).items():
            made[key] = made.get(key, []) + ops
    filters: Json = {}
    if route.fault is not None:
        filters["envoy.filters.http.fault"] = _fault(route)
    if route.cors_policy is not None:
        filters["envoy.filters.http.cors"] = _cors(route.cors_policy)
    if filters:
        made["typed_per_filter_config"] = filters
    return made


def _match(match: HTTPMatchRequest) -> Json:
    made: Json = {}
    uri = match.uri
    if uri is None or (uri.exact is None and uri.prefix is None and uri.regex is None):
        made["prefix"] = "/"
    elif uri.exact is not None:
        made["path"] = uri.exact
    elif uri.prefix is not None:
        made["prefix"] = uri.prefix
    else:
        made["safe_regex"] = {"regex": uri.regex}
    if match.ignore_uri_case:
        made["case_sensitive"] = False
    headers = [_header(name, value) for name, value in match.headers.items()]
    for name, value in match.without_headers.items():
        inverted = {**_header(name, value), "invert_match": True}
        if "string_match" in inverted:  # Istio: a header that is not there does not match
            inverted["treat_missing_header_as_empty"] = True
        headers.append(inverted)
    for pseudo, text in (
        (":method", match.method), (":scheme", match.scheme), (":authority", match.authority),
    ):  # fmt: skip
        if text is not None:
            headers.append(_header(pseudo, text))
    if headers:
        made["headers"] = headers
    if match.query_params:
        made["query_parameters"] = [_query(n, v) for n, v in match.query_params.items()]
    return made


def _string(value: StringMatch) -> Json | None:
    if value.regex == "*":
        return None
    if value.exact is not None:
        return {"exact": value.exact}
    if value.prefix is not None:
        return {"prefix": value.prefix}
    if value.regex is not None:
        return {"safe_regex": {"regex": value.regex}}
    return None


def _header(name: str, value: StringMatch) -> Json:
    text = _string(value)
    return {"name": name, "string_match": text} if text else {"name": name, "present_match": True}


def _query(name: str, value: StringMatch) -> Json:
    text = _string(value)
    return {"name": name, "string_match": text} if text else {"name": name, "present_match": True}


def _redirect(redirect: HTTPRedirect) -> Json:
    made: Json = {"response_code": _CODES[redirect.redirect_code or 301]}
    if redirect.authority:
        made["host_redirect"] = redirect.authority
    if redirect.scheme:
        made["scheme_redirect"] = redirect.scheme
    if redirect.uri:
        made["path_redirect"] = redirect.uri
    if redirect.prefix_rewrite:
        made["prefix_rewrite"] = redirect.prefix_rewrite
    default = {"http": 80, "https": 443}[redirect.scheme or "http"]
    if redirect.port is not None and redirect.port != default:
        made["port_redirect"] = redirect.port
    return made


def _action(route: HTTPRoute) -> Json:
    action: Json = {"timeout": f"{route.timeout or 0:g}s", "retry_policy": _retry(route.retries)}
    if len(route.route) == 1:
        target = route.route[0]
        action["cluster"] = _cluster_of(target.destination)
    else:
        weighted = []
        for target in route.route:
            if not target.weight:
                continue
            one: Json = {"name": _cluster_of(target.destination), "weight": target.weight}
            weighted.append(one | _header_ops(target.headers))
        action["weighted_clusters"] = {"clusters": weighted}
    if route.rewrite is not None:
        regex = route.rewrite.uri_regex_rewrite
        if regex is not None:
            action["regex_rewrite"] = {
                "pattern": {"regex": regex.match}, "substitution": regex.rewrite,
            }  # fmt: skip
        elif route.rewrite.uri:
            action["prefix_rewrite"] = route.rewrite.uri
        if route.rewrite.authority:
            action["host_rewrite_literal"] = route.rewrite.authority
    if route.mirror is not None:
        action["request_mirror_policies"] = [{"cluster": _cluster_of(route.mirror)}]
    return action


def _retry(retries: HTTPRetry | None) -> Json:
    if retries is None:
        return {
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled",
            "num_retries": 2,
        }
    tokens = retries.retry_on.split(",") if retries.retry_on else []
    codes = [int(token) for token in tokens if token.isdigit()]
    names = [token for token in tokens if not token.isdigit()]
    if codes and "retriable-status-codes" not in names:
        names.append("retriable-status-codes")
    policy: Json = {"num_retries": retries.attempts, "retry_on": ",".join(names)}
    if codes:
        policy["retriable_status_codes"] = codes
    if retries.per_try_timeout:
        policy["per_try_timeout"] = f"{retries.per_try_timeout:g}s"
    if retries.backoff:
        policy["retry_back_off"] = {"base_interval": f"{retries.backoff:g}s"}
    return policy if retries.attempts else {"num_retries": 0}


def _header_ops(headers: RouteHeaders | None) -> Json:
    made: Json = {}
    for side in ("request", "response"):
        ops = getattr(headers, side) if headers is not None else None
        if ops is None:
            continue
        added = [_header_value(n, v, "OVERWRITE_IF_EXISTS_OR_ADD") for n, v in ops.set.items()]
        added += [_header_value(n, v, "APPEND_IF_EXISTS_OR_ADD") for n, v in ops.add.items()]
        if added:
            made[f"{side}_headers_to_add"] = added
        if ops.remove:
            made[f"{side}_headers_to_remove"] = list(ops.remove)
    return made


def _header_value(name: str, value: str, action: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _fault(route: HTTPRoute) -> Json:
    made: Json = {"@type": f"{_TYPES}extensions.filters.http.fault.v3.HTTPFault"}
    assert route.fault is not None
    abort, delay = route.fault.abort, route.fault.delay
    if abort is not None:
        percent = abort.percentage.value if abort.percentage is not None else 0
        made["abort"] = {
            "http_status": abort.http_status,
            "percentage": {"numerator": int(percent * 10000), "denominator": "MILLION"},
        }
    if delay is not None:
        made["delay"] = {
            "fixed_delay": f"{delay.fixed_delay:g}s",
            "percentage": {"numerator": 100},
        }
    return made


def _cors(policy: CorsPolicy) -> Json:
    made: Json = {
        "@type": f"{_TYPES}extensions.filters.http.cors.v3.CorsPolicy",
        "allow_origin_string_match": [_string(origin) for origin in policy.allow_origins],
        "allow_methods": ",".join(policy.allow_methods),
        "allow_headers": ",".join(policy.allow_headers),
        "expose_headers": ",".join(policy.expose_headers),
        "allow_credentials": bool(policy.allow_credentials),
        "forward_not_matching_preflights": policy.unmatched_preflights != "IGNORE",
    }
    if policy.max_age is not None:
        made["max_age"] = str(int(policy.max_age))
    return made


# -- clusters ---------------------------------------------------------------------------------------


def _cluster_name(host: str, subset: str = "") -> str:
    return f"outbound|80|{subset}|{host}"


def _cluster_of(destination: Destination) -> str:
    return _cluster_name(destination.host, destination.subset)


def _clusters(
    host: str, entry: ServiceEntry, rules: Mapping[str, DestinationRule]
) -> Iterable[Json]:
    rule = rules.get(host)
    yield _cluster(host, "", {}, entry, rule)
    for subset in rule.subsets if rule is not None else ():
        yield _cluster(host, subset.name, subset.labels, entry, rule)


def _cluster(
    host: str,
    subset: str,
    labels: Mapping[str, str],
    entry: ServiceEntry,
    rule: DestinationRule | None,
) -> Json:
    name = _cluster_name(host, subset)
    endpoints = [
        {"endpoint": {"address": {"socket_address": {
            "address": e.address, "port_value": e.ports["http"]}}}}
        for e in entry.endpoints
        if labels.items() <= e.labels.items()
    ]  # fmt: skip
    cluster: Json = {
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    return cluster
