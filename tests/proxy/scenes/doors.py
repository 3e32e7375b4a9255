"""Other ports than plain HTTP: Gateways, TLS that stays closed, TCP, the Sidecar's."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    API,
    PLAIN,
    Line,
    Scene,
    Step,
    answer,
    c,
    forwarded,
    lines,
    o,
    o2,
    reply,
    request,
    rule,
    service,
    waits,
)

TLS_A = PLAIN.replace(
    "number: 80, name: p80, protocol: HTTP", "number: 443, name: t, protocol: TLS"
)
TCP_A = service(more=", addresses: [10.2.0.1]").replace(
    "number: 80, name: p80, protocol: HTTP", "number: 443, name: t, protocol: TCP"
)
FILES = "serverCertificate: CERTS/cert.pem, privateKey: CERTS/key.pem, caCertificates: CERTS/ca.pem"


def gateway(port: str, tls: str = "", hosts: str = "a.x", more: str = "") -> str:
    tls = f", tls: {{{tls}}}" if tls else ""
    return (
        f"apiVersion: {API}\nkind: Gateway\nmetadata: {{name: g}}\nspec: {{selector: {{app: edge}}, "
        f"servers: [{{port: {{{port}}}, hosts: ['{hosts}']{tls}}}{more}]}}\n---\n"
    )


def bound(routes: str, host: str = "a.x") -> str:
    return (
        f"apiVersion: {API}\nkind: VirtualService\nmetadata: {{name: v}}\n"
        f"spec: {{hosts: ['{host}'], gateways: [g], {routes}}}\n---\n"
    )


HTTP = "number: 80, name: http, protocol: HTTP"
HTTPS = "number: 443, name: https, protocol: HTTPS"
TLS = "number: 443, name: tls, protocol: TLS"
TO_A = "http: [{route: [{destination: {host: a.x}}]}]"
TLS_TO_A = "tls: [{match: [{sniHosts: [a.x]}], route: [{destination: {host: a.x}}]}]"
TCP_TO_A = "tcp: [{route: [{destination: {host: a.x}}]}]"
POSTED = lines("POST / HTTP/1.1", "Host: z.x:443", "Transfer-Encoding: chunked", "")
SIMPLE = PLAIN + gateway(HTTPS, f"mode: SIMPLE, {FILES}") + bound(TO_A)


def one_answer(name: str, resources: str, door: str, **more: object) -> Scene:
    """A request through a port, with what it speaks."""
    steps = (
        c.sends(request("GET /1")),
        o.gets(forwarded("GET /1")),
        o.sends(answer(b"one")),
        c.gets(answer(b"one")),
    )
    return Scene(name, steps, (Line(200, sent=3),), resources, door=door, **more)  # type: ignore[arg-type]


def both_ways(name: str, resources: str, door: str, **more: object) -> Scene:
    """Bytes of nobody's protocol, either way, until both ends."""
    steps = (
        c.sends(b"hello"),
        o.gets(b"hello"),
        o.sends(b"world!"),
        c.gets(b"world!"),
        c.ends(),
        o.sees_end(),
        o.ends(),
        c.sees_end(),
    )
    line = Line(0, sent=None if more.get("client") else 6)
    return Scene(name, steps, (line,), resources, door=door, closes=False, **more)  # type: ignore[arg-type]


def refused(name: str, resources: str, door: str, flag: str, *steps: Step, **more: object) -> Scene:
    """A connection that leads nowhere is closed."""
    steps = steps or (c.sends(b"hello"), c.sees_end())
    return Scene(
        name,
        steps,
        (Line(0, flag),),
        resources,
        door=door,
        closes=False,
        **more,  # type: ignore[arg-type]
    )


GATEWAYS = (
    one_answer("a Gateway of plain HTTP", PLAIN + gateway(HTTP) + bound(TO_A), "gateway"),
    one_answer("a Gateway that ends TLS", SIMPLE, "gateway", client="tls"),
    one_answer(
        "a Gateway that asks for a client's certificate",
        PLAIN + gateway(HTTPS, f"mode: MUTUAL, {FILES}, subjectAltNames: [client.x]") + bound(TO_A),
        "gateway",
        client="mutual",
    ),
    one_answer(
        "a Gateway that takes clients without a certificate, too",
        PLAIN + gateway(HTTPS, f"mode: OPTIONAL_MUTUAL, {FILES}") + bound(TO_A),
        "gateway",
        client="tls",
    ),
    both_ways(
        "TCP behind TLS that ends at the Gateway",
        PLAIN + gateway(TLS, f"mode: SIMPLE, {FILES}") + bound(TCP_TO_A),
        "gateway",
        client="tls",
        splits=False,
    ),
    both_ways(
        "a Gateway that lets TLS through",
        TLS_A + gateway(TLS, "mode: PASSTHROUGH") + bound(TLS_TO_A),
        "gateway",
        client="tls",
        origin="tls",
    ),
    both_ways(
        "a Gateway of TCP",
        PLAIN + gateway("number: 9, name: tcp, protocol: TCP") + bound(TCP_TO_A),
        "gateway",
    ),
    refused(
        "a client of another certificate",
        PLAIN + gateway(HTTPS, f"mode: MUTUAL, {FILES}, subjectAltNames: [other.x]") + bound(TO_A),
        "gateway",
        "DPE",
        client="mutual",
        splits=False,
    ),
    refused(
        "a client without the certificate",
        PLAIN + gateway(HTTPS, f"mode: MUTUAL, {FILES}") + bound(TO_A),
        "gateway",
        "DPE",
        client="tls",
        splits=False,
    ),
    refused(
        "a name that no server of the Gateway has",
        PLAIN + gateway(HTTPS, f"mode: SIMPLE, {FILES}", hosts="b.x") + bound(TO_A, "b.x"),
        "gateway",
        "NR",
        client="tls",
        splits=False,
    ),
    refused("no TLS on a port of TLS", SIMPLE, "gateway", "DPE", splits=False),
    refused(
        "a TLS record that is no ClientHello",
        SIMPLE,
        "gateway",
        "DPE",
        c.sends(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
        c.sees_end(),
    ),
    refused(
        "certificate files that are not there",
        PLAIN + gateway(HTTPS, f"mode: SIMPLE, {FILES}".replace("cert.pem", "no.pem")) + bound(TO_A),
        "gateway",
        "NC",
        client="tls",
        splits=False,
    ),
    refused(
        "a ClientHello that does not come",
        SIMPLE,
        "gateway",
        "DPE",
        c.sends(b"\x16\x03\x01"),
        waits(10.1),
        c.sees_end(),
    ),
    Scene(
        "a Gateway that redirects to https",
        (
            c.sends(request("GET /1?q")),
            c.gets(
                lines("HTTP/1.1 301 Moved Permanently", "location: https://a.x/1?q",
                      "content-length: 0", "")
            ),
        ),
        (Line(301),),
        PLAIN + gateway(HTTP, "httpsRedirect: true") + bound(TO_A),
        door="gateway",
    ),
    Scene(
        "a host that no VirtualService of the Gateway has",
        (
            c.sends(request("GET /1", host="b.x")),
            c.gets(
                reply(
                    "404 Not Found",
                    "b.x: no VirtualService bound to Gateway default/g has this host",
                    "NR",
                )
            ),
        ),
        (Line(404, "NR"),),
        PLAIN + gateway(HTTP) + bound(TO_A),
        door="gateway",
    ),
)  # fmt: skip

TO_TLS = (
    both_ways("TLS by its server name", TLS_A, "tls", client="tls", origin="tls"),
    both_ways("TCP by its address", TCP_A, "tcp"),
    both_ways(
        "TCP by the server name where only a name is known",
        TLS_A,
        "tcp",
        client="tls",
        origin="tls",
    ),
    refused("no TLS on a listener of TLS", TLS_A, "tls", "DPE"),
    refused("TCP that nothing has", PLAIN, "tcp", "NR"),
    refused("a server name that nothing has", PLAIN, "tls", "NR", client="tls", splits=False),
    refused("TCP to an endpoint that refuses", TCP_A, "tcp", "UF", connects=("refused",) * 3),
    Scene(
        "TCP to the second endpoint where the first one refuses",
        (
            c.sends(b"hello"),
            o2.gets(b"hello"),
            c.ends(),
            o2.ends(),
            c.sees_end(),
        ),
        (Line(0, received=5),),
        TCP_A.replace("{address: 10.0.0.1}", "{address: 10.0.0.1}, {address: 10.0.0.2}"),
        connects=("refused", "ok"),
        door="tcp",
        closes=False,
    ),
    Scene(
        "TCP through a proxy further on",
        (
            c.sends(b"hello"),
            o.gets(b"CONNECT z.x:443 HTTP/1.1\r\nHost: z.x:443\r\n\r\n"),
            o.sends(b"HTTP/1.1 200 OK\r\n\r\n"),
            o.gets(b"hello"),
            o.sends(b"world!"),
            c.gets(b"world!"),
            c.ends(),
            o.ends(),
        ),
        (Line(0, sent=6, received=5),),
        TCP_A + rule("{tunnel: {protocol: CONNECT, targetHost: z.x, targetPort: 443}}"),
        door="tcp",
        closes=False,
    ),
    Scene(
        "TCP through a proxy further on, as bodies",
        (
            c.sends(b"hello"),
            o.gets(POSTED),
            o.sends(lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "")),
            o.gets(b"5\r\nhello\r\n"),
            o.sends(b"6\r\nworld!\r\n"),
            c.gets(b"world!"),
            c.ends(),
            o.gets(b"0\r\n\r\n"),
            o.sends(b"0\r\n\r\n"),
            c.sees_end(),
        ),
        (Line(0, sent=6, received=5),),
        TCP_A + rule("{tunnel: {protocol: POST, targetHost: z.x, targetPort: 443}}"),
        door="tcp",
        closes=False,
    ),
    Scene(
        "a proxy further on that refuses",
        (
            c.sends(b"hello"),
            o.gets(b"CONNECT z.x:443 HTTP/1.1\r\nHost: z.x:443\r\n\r\n"),
            o.sends(b"HTTP/1.1 403 No\r\n\r\n"),
            c.sees_end(),
        ),
        (Line(0, "UF"),),
        TCP_A + rule("{tunnel: {protocol: CONNECT, targetHost: z.x, targetPort: 443}}"),
        door="tcp",
        closes=False,
    ),
    one_answer(
        "a port of the Sidecar",
        PLAIN + f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: s}}\n"
        "spec: {egress: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*/*']}]}\n",
        "sidecar",
    ),
)

SCENES = (*GATEWAYS, *TO_TLS)
