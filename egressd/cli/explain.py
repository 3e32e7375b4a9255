"""`egressd explain METHOD URL`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from egressd.admin.state import ClusterView
from egressd.cli.node_access import (
    ask_admin,
    load_node,
    node_options,
    open_view,
    output_option,
    print_json,
)
from egressd.node.bootstrap_model import Bootstrap, OutboundMode
from egressd.node.profile import node_profile
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.request import split_authority
from egressd.registry.profile import NodeProfile
from egressd.registry.view import RegistryView
from egressd.routing.explain import Explanation, Target, render_text
from egressd.routing.explain import explain as explain_request
from egressd.routing.request import Request
from egressd.routing.table import ClusterKey
from egressd.upstream.compile import UnknownCluster, compile_cluster
from egressd.upstream.spec import ClusterSpec


class EndpointLine(msgspec.Struct, frozen=True):
    """One endpoint of a destination; `health` is unknown where no node was asked."""

    id: str
    labels: dict[str, str]
    weight: int
    health: str


class DestinationLine(msgspec.Struct, frozen=True):
    """One destination with its policy and endpoints."""

    cluster: str
    share: float
    problem: str
    balancer: str
    tls: str
    outlier: str
    destination_rule: str
    service_entries: tuple[str, ...]
    endpoints: tuple[EndpointLine, ...]


@click.command()
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", multiple=True, help="A request header, 'Name: value'.")
@click.option("--config", type=click.Path(exists=True, path_type=Path), help="Read files offline.")
@click.option("--label", "labels", multiple=True, help="A label of the node, key=value (offline).")
@node_options
@output_option
def explain(
    method: str,
    url: str,
    headers: tuple[str, ...],
    config: Path | None,
    labels: tuple[str, ...],
    bootstrap_path: Path | None,
    output: str,
) -> None:
    """Explain what would happen to a request: which claim, VirtualService and route, why the routes
    before it did not match, which destination, subset and endpoints.

    \b
    egressd explain GET http://reviews.example/api -H 'x-user: jason'
    egressd explain --config resources/ GET http://reviews.example/
    """
    bootstrap = load_node(bootstrap_path)
    profile = node_profile(bootstrap)
    request, port = _request(method, url, headers, labels, bootstrap)
    allow_any = bootstrap.outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY
    with open_view(bootstrap_path, config) as view:
        found = explain_request(view, request, port, allow_any=allow_any, profile=profile)
        live = {} if config is not None else _live(bootstrap)
        lines = [_destination(view, target, live, profile) for target in found.destinations]
    if output == "json":
        print_json({**msgspec.to_builtins(found), "endpoints": lines})
    else:
        _print(found, lines)


def _request(
    method: str, url: str, headers: tuple[str, ...], labels: tuple[str, ...], bootstrap: Bootstrap
) -> tuple[Request, int | None]:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    fields: dict[bytes, bytes] = {}
    authority = parts.netloc
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"-H {header!r}: expected 'Name: value'")
        key, text = name.strip().lower().encode(), value.strip().encode()
        if key == b"host":
            authority = text.decode()
        fields[key] = fields[key] + b"," + text if key in fields else text
    fields.setdefault(b"host", authority.encode())
    try:
        host, port = split_authority(authority.encode())
    except MalformedMessage as error:
        raise click.UsageError(f"{url}: {error.reason}") from None
    own = dict(label.partition("=")[::2] for label in labels) or dict(bootstrap.node.labels)
    request = Request(
        method=method.upper().encode(),
        path=(parts.path or "/").encode(),
        query=parts.query.encode(),
        authority=authority.encode(),
        host=host,
        port=port or 80,
        headers=fields,
        source_labels=own,
        source_namespace=bootstrap.node.namespace,
    )
    return request, port


def _live(bootstrap: Bootstrap) -> dict[str, ClusterView]:
    try:
        clusters = ask_admin(bootstrap, "/clusters?format=json", list[ClusterView])
    except click.ClickException:
        return {}
    return {cluster.name: cluster for cluster in clusters}


def _destination(
    view: RegistryView, target: Target, live: dict[str, ClusterView], profile: NodeProfile
) -> DestinationLine:
    key = ClusterKey(target.host, target.subset, target.port)
    try:
        spec = compile_cluster(view, key, profile)
    except UnknownCluster as unknown:
        problem = f"503, flag NC: {unknown}"
        return DestinationLine(target.cluster, target.share, problem, "", "", "", "", (), ())
    known = live.get(target.cluster)
    return DestinationLine(
        target.cluster,
        target.share,
        "" if spec.endpoints or spec.resolution.value == "NONE" else "503, flag UH: no endpoints",
        spec.balancer.value,
        f"{spec.tls.mode} sni {spec.tls.sni}" if spec.tls else "none",
        _outlier(spec),
        spec.destination_rule,
        spec.service_entries,
        _endpoints(spec, known),
    )


def _outlier(spec: ClusterSpec) -> str:
    policy = spec.outlier
    if policy is None:
        return "none"
    return (
        f"5xx {policy.consecutive_5xx}, gateway {policy.consecutive_gateway}, "
        f"base {policy.base_ejection_s:g} s, at most {policy.max_ejection_percent} %"
    )


def _endpoints(spec: ClusterSpec, known: ClusterView | None) -> tuple[EndpointLine, ...]:
    health = {e.id: e for e in known.endpoints} if known else {}
    lines = []
    for endpoint in spec.endpoints:
        seen = health.pop(endpoint.id, None)
        state = "unknown"
        if seen is not None:
            state = "healthy" if seen.healthy else f"ejected for {seen.ejected_for_s:g} s"
        lines.append(EndpointLine(endpoint.id, dict(endpoint.labels), endpoint.weight, state))
    for name, seen in health.items():  # addresses that names resolved to
        state = "healthy" if seen.healthy else f"ejected for {seen.ejected_for_s:g} s"
        lines.append(EndpointLine(name, {}, seen.weight, state))
    return tuple(lines)


def _print(found: Explanation, lines: list[DestinationLine]) -> None:
    click.echo(render_text(found), nl=False)
    for line in lines:
        click.echo(f"  to       {line.cluster} ({line.share:g} %)")
        if line.problem:
            click.echo(f"             {line.problem}")
        if line.balancer:
            rule = line.destination_rule or "no DestinationRule"
            click.echo(f"             {', '.join(line.service_entries)}; {rule}")
            click.echo(f"             {line.balancer}, TLS {line.tls}, outlier {line.outlier}")
        for endpoint in line.endpoints:
            labels = ",".join(f"{k}={v}" for k, v in endpoint.labels.items())
            click.echo(f"             {endpoint.id}  {endpoint.health}  {labels}".rstrip())
