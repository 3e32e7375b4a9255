"""Resources in a line each, for tables of statements."""

from __future__ import annotations


def se(
    name: str, hosts: str, ports: str = "80", at: str = "", ends: str = "10.0.0.1", more: str = ""
) -> str:
    """A ServiceEntry; a port is "80" (HTTP) or "443/TLS"."""
    listed = []
    for word in ports.split():
        number, _, protocol = word.partition("/")
        protocol = protocol or "HTTP"
        listed.append(f"{{number: {number}, name: p{number}, protocol: {protocol}}}")
    spec = f"hosts: [{_quoted(hosts)}], ports: [{', '.join(listed)}]"
    if ends and "*" not in hosts:
        addresses = ", ".join(f"{{address: {end}}}" for end in ends.split())
        spec += f", resolution: STATIC, endpoints: [{addresses}]"
    return f"se {name}{at and f' @{at}'}: {spec}{more and f', {more}'}\n"


def vs(name: str, hosts: str, body: str, at: str = "", more: str = "") -> str:
    """A VirtualService; `body` is "http: [...]", or a host for one route to it, or "=NNN" for one
    direct answer."""
    if body.startswith("="):
        body = f"http: [{answer(body)}]"
    elif ":" not in body:
        body = f"http: [{{route: [{{destination: {{host: {body}}}}}]}}]"
    spec = f"hosts: [{_quoted(hosts)}], {body}{more and f', {more}'}"
    return f"vs {name}{at and f' @{at}'}: {spec}\n"


def answer(code: str, match: str = "") -> str:
    """A route that answers by itself, by which it is known."""
    conditions = f"match: [{match}], " if match else ""
    return f"{{{conditions}directResponse: {{status: {code.removeprefix('=')}}}}}"


def to(host: str, match: str = "", more: str = "") -> str:
    """A route to a host ("a.example", "a.example/v1", "a.example:81")."""
    conditions = f"match: [{match}], " if match else ""
    return f"{{{conditions}route: [{{destination: {destination(host)}}}]{more and f', {more}'}}}"


def destination(host: str) -> str:
    name, _, subset = host.partition("/")
    name, _, port = name.partition(":")
    parts = [f"host: {name}"]
    parts += [f"subset: {subset}"] if subset else []
    parts += [f"port: {{number: {port}}}"] if port else []
    return f"{{{', '.join(parts)}}}"


def dr(name: str, host: str, body: str, at: str = "") -> str:
    return f"dr {name}{at and f' @{at}'}: host: {_quoted(host)}, {body}\n"


def limit(connections: int) -> str:
    return f"trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {connections}}}}}}}"


def gw(name: str, *servers: str, at: str = "") -> str:
    return f"gw {name}{at and f' @{at}'}: selector: {{}}, servers: [{', '.join(servers)}]\n"


def http(hosts: str, port: int = 80, more: str = "") -> str:
    where = f"port: {{number: {port}, name: http{port}, protocol: HTTP}}"
    return f"{{{where}, hosts: [{_quoted(hosts)}]{more and f', {more}'}}}"


REDIRECT = "tls: {httpsRedirect: true}"


def tls(hosts: str, mode: str = "PASSTHROUGH", name: str = "tls", port: int = 443) -> str:
    files = "" if mode.endswith("PASSTHROUGH") else ", serverCertificate: /c, privateKey: /k"
    protocol = "TLS" if mode.endswith("PASSTHROUGH") else "HTTPS"
    where = f"port: {{number: {port}, name: {name}, protocol: {protocol}}}"
    return f"{{{where}, hosts: [{_quoted(hosts)}], tls: {{mode: {mode}{files}}}}}"


def tcp(hosts: str, port: int) -> str:
    where = f"port: {{number: {port}, name: tcp{port}, protocol: TCP}}"
    return f"{{{where}, hosts: [{_quoted(hosts)}]}}"


def sc(name: str, hosts: str, more: str = "", at: str = "") -> str:
    spec = f"egress: [{{hosts: [{_quoted(hosts)}]}}]{more and f', {more}'}"
    return f"sc {name}{at and f' @{at}'}: {spec}\n"


def _quoted(words: str) -> str:
    return ", ".join(f"'{word}'" for word in words.split())
