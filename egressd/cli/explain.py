"""`egressd explain [METHOD] URL`, and of connections `--tcp`, `--sni`."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import replace
from pathlib import Path

import click
import msgspec

from egressd.api.names import is_ip
from egressd.cli.near_host import meant
from egressd.cli.node_access import load_node, node_clusters, open_view
from egressd.cli.options import config_option, node_options, output_option
from egressd.cli.output import echo, print_explanation, print_json
from egressd.explain.question import BadQuestion, Node, NodeListener, Question
from egressd.explain.text import render_text
from egressd.explain.walk import explain as explain_question
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.http_options import allowed_methods, path_normalizer, upgrade_types
from egressd.node.profile import client_addresses, node_profile
from egressd.node.status import read_status
from egressd.registry.view import RegistryView
from egressd.routing.authority import InvalidName, parse_authority
from egressd.routing.gateway import Speech

_LACKING = "give a URL, METHOD and URL, or one of --tcp, --sni, --gateway with --port"
_TOKEN = re.compile(r"[A-Z]+")  # a method: whatever else stands alone is a host or a URL
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.\-]*)://)?([^/?#]*)([^#]*)(?:#.*)?", re.DOTALL)


@click.command()
@click.argument("method", required=False, default="", metavar="[METHOD]")
@click.argument("url", required=False, default="", metavar="[URL]")
@click.option("-H", "--header", "headers", multiple=True, help="A request header, 'Name: value'.")
@click.option("--gateway", default="", help="Come in through this Gateway, NAMESPACE/NAME.")
@click.option("--port", type=int, help="The port that the client connects to.")
@click.option("--sni", default="", help="The server name of the client's TLS.")
@click.option("--tcp", "tcp", default="", help="A connection meant for ADDRESS:PORT (or :PORT).")
@click.option("--source-ip", default="", help="The client's address.")
@click.option("--principal", default="", help="The identity of the client's certificate.")
@config_option
@click.option("--label", "labels", multiple=True, help="A label of the node, key=value.")
@node_options
@output_option
def explain(
    method: str,
    url: str,
    headers: tuple[str, ...],
    gateway: str,
    port: int | None,
    sni: str,
    tcp: str,
    source_ip: str,
    principal: str,
    config: Path | None,
    labels: tuple[str, ...],
    bootstrap_path: Path | None,
    output: str,
) -> None:
    """Explain what would happen to a request or a connection: listener, visibility, policies, route,
    filters, destination, effective policy, endpoints; each with the resource that decides it and why the
    others did not. METHOD is GET where it is left out; URL may be a host alone.

    \b
    egressd explain GET http://reviews.example/api -H 'x-user: jason'
    egressd explain reviews.example
    egressd explain --config resources/ GET http://reviews.example/
    egressd explain CONNECT api.example:443
    egressd explain --tcp 10.1.2.3:5432
    egressd explain --sni db.example --tcp 10.1.2.4:443
    egressd explain --gateway default/edge GET https://orders.example/
    """
    bootstrap = load_node(bootstrap_path)
    question = _question(method, url, headers, tcp, sni, given=bool(gateway or port))
    question = replace(
        question, gateway=gateway, listener=port, source=_address(source_ip), principal=principal
    )
    with open_view(bootstrap_path, config) as view:
        node = _node(bootstrap, view, labels)
        if config is None:
            node = replace(
                node, listeners=_open_listeners(bootstrap, node), clusters=node_clusters(bootstrap)
            )
        try:
            found = explain_question(node, question)
        except BadQuestion as error:
            raise click.UsageError(str(error)) from None
        near = meant(view, _host_asked(method, url, sni))
    if output == "json":
        print_json(found)
        return
    print_explanation(functools.partial(render_text, found))
    if near:
        echo(near.removeprefix("; "), err=True)


def _host_asked(method: str, url: str, sni: str) -> str:
    """The host that the question names; "" = none that is one."""
    try:
        return parse_authority(_split_url(url or method)[1].encode()).host if url or method else sni
    except InvalidName:
        return ""


def _question(
    method: str, url: str, headers: tuple[str, ...], tcp: str, sni: str, *, given: bool
) -> Question:
    """`given`: a gateway or a port says what connection is meant."""
    if method and not url and not _TOKEN.fullmatch(method):
        method, url = "GET", method
    if tcp and method:
        raise click.UsageError("--tcp is a connection without HTTP: leave METHOD and URL out")
    if method and not url:
        raise click.UsageError(_LACKING)
    if method:
        return _request(method, url, headers, sni)
    if not (tcp or sni or given):
        raise click.UsageError(_LACKING)
    if headers:
        raise click.UsageError("-H goes with METHOD and URL")
    address, port = _place(tcp) if tcp else ("", None)
    words = [f"TLS connection for {sni}" if sni else "connection"]
    words += [f"to {tcp}"] if tcp else []
    return Question(" ".join(words), sni=sni, address=address, port=port)


def _request(method: str, url: str, headers: tuple[str, ...], sni: str) -> Question:
    """The request as a client writes it that changes nothing: what the node makes of it is asked."""
    scheme, named, path = _split_url(url)
    target = named if method == "CONNECT" else path
    fields = []
    authority = named
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or not name.strip():
            raise click.UsageError("-H: expected 'Name: value', found one without a name")
        if name.strip().lower() == "host":
            authority = value.strip()
        else:
            fields.append(f"{name.strip()}: {value.strip()}\r\n")
    text = f"{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{''.join(fields)}\r\n"
    is_https = scheme == "https"
    shown = target if method == "CONNECT" else f"{scheme}://{named}{target}"
    return Question(
        f"{method} {shown}",
        head=text.encode(),
        is_https=is_https,
        sni=sni or (_server_name(named) if is_https else ""),
    )


def _split_url(url: str) -> tuple[str, str, str]:
    """Scheme, authority and path with query; none of them is checked, which the node does."""
    found = _URL.fullmatch(url)
    assert found is not None
    scheme = (found[1] or "http").lower()
    if scheme not in ("http", "https"):
        raise click.UsageError(f"{url}: expected http:// or https://")
    return scheme, found[2], found[3] if found[3][:1] == "/" else f"/{found[3]}"


def _server_name(authority: str) -> str:
    """What a client says in its ClientHello: no address (RFC 6066 3)."""
    try:
        host = parse_authority(authority.encode()).host
        return "" if is_ip(host) else host
    except InvalidName:
        return ""


def _place(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise click.UsageError(f"--tcp {text}: expected ADDRESS:PORT or :PORT")
    return _address(address.strip("[]")), int(port)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise click.UsageError(f"{text}: expected an IP address") from None


def _node(
    bootstrap: Bootstrap,
    view: RegistryView,
    labels: tuple[str, ...],
) -> Node:
    profile = node_profile(bootstrap)
    if labels:
        named = dict(label.partition("=")[::2] for label in labels)
        profile = msgspec.structs.replace(profile, labels=named)
    return Node(
        view=view,
        profile=profile,
        listeners=tuple(
            NodeListener(one.name, one.address, one.port, Speech(one.protocol))
            for one in bootstrap.listeners
        ),
        gateway_address=bootstrap.gateways.address,
        gateway_ports={int(port): to for port, to in bootstrap.gateways.ports.items()},
        connect_ports=bootstrap.limits.connect_ports,
        addresses=client_addresses(bootstrap.limits),
        paths=path_normalizer(bootstrap),
        methods=allowed_methods(bootstrap),
        upgrades=upgrade_types(bootstrap),
        overrides=bootstrap.http.request_overrides,
    )


def _open_listeners(bootstrap: Bootstrap, node: Node) -> tuple[NodeListener, ...]:
    """The listeners with the ports that a running node has them on, where it was to choose."""
    try:
        status = read_status(Path(bootstrap.status_path))
    except (OSError, msgspec.DecodeError):
        return node.listeners
    ports = {one.name: one.port for one in status.listeners}
    return tuple(replace(one, port=ports.get(one.name, one.port)) for one in node.listeners)
