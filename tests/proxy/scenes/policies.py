"""AuthorizationPolicy, consistent hashing, header values with commands, PROXY headers, names by DNS."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    ID,
    PLAIN,
    TO_A,
    Line,
    Scene,
    answer,
    c,
    c2,
    forwarded,
    lines,
    o,
    o2,
    reply,
    request,
    routes,
    rule,
    service,
)

SECURITY = "security.istio.io/v1"
DENIED = reply("403 Forbidden", "RBAC: access denied", "UAEX")


def policy(spec: str) -> str:
    kind = f"apiVersion: {SECURITY}\nkind: AuthorizationPolicy"
    return f"{kind}\nmetadata: {{name: p}}\nspec: {{{spec}}}\n---\n"


def hashed(by: str, *given: str, asked: str = "GET /1") -> Scene:
    """Two clients of one key have one endpoint, whose connection is kept."""
    return Scene(
        f"consistent hashing by {by.partition(':')[0]}",
        (
            c.sends(request(asked, *given)),
            o.gets(forwarded(asked, *given)),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.sends(request(asked, *given)),
            o.gets(forwarded(asked, *given)),
            o.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        service(addresses="10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4")
        + rule(f"{{loadBalancer: {{consistentHash: {{{by}}}}}}}"),
    )


SCENES = (
    Scene(
        "a request that a policy denies",
        (
            c.sends(request("GET /admin/1")),
            c.gets(DENIED),
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(403, "UAEX"), Line(200)),
        PLAIN + policy("action: DENY, rules: [{to: [{operation: {paths: ['/admin/*']}}]}]"),
    ),
    Scene(
        "a request that no policy allows",
        (c.sends(request("GET /1")), c.gets(DENIED)),
        (Line(403, "UAEX"),),
        PLAIN + policy("action: ALLOW, rules: [{to: [{operation: {methods: [PUT]}}]}]"),
    ),
    Scene(
        "a connection that a policy denies",
        (c.sends(b"hello"), c.sees_end()),
        (Line(0, "UAEX"),),
        PLAIN + policy("action: DENY, rules: [{to: [{operation: {ports: ['443']}}]}]"),
        door="tcp",
        closes=False,
    ),
    hashed("useSourceIp: true"),
    hashed("httpHeaderName: x-user", "X-User: u"),
    hashed("httpQueryParameterName: u", asked="GET /1?a=b&u=1"),
    hashed("httpCookie: {name: u, ttl: 0s}", 'Cookie: a=b; u="1"'),
    Scene(
        "a cookie for a client that has none",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(
                lines("HTTP/1.1 200 OK", "Content-Length: 3",
                      'set-cookie: u=0000000000000000; Max-Age=60; HttpOnly', "")
                + b"one"
            ),
        ),
        (Line(200),),
        PLAIN
        + rule("{loadBalancer: {consistentHash: {httpCookie: {name: u, ttl: 60s}}}}"),
    ),
    Scene(
        "header values with commands",
        (
            c.sends(request("GET /1?q", "X-Id: 7")),
            o.gets(
                lines(
                    "GET /1?q HTTP/1.1",
                    "Host: a.x",
                    "X-Id: 7",
                    "x-from: 10.1.1.1:40001 10.1.1.1 40001",
                    "x-said: 7 GET /1?q a.x http - 7",
                    "x-for: outbound|80||a.x r HTTP/1.1",
                    "x-cut: GE 100%",
                )
                + ID
                + b"\r\n"
            ),
            o.sends(answer(b"one", "X-Up: u")),
            c.gets(
                lines(
                    "HTTP/1.1 200 OK",
                    "X-Up: u",
                    "Content-Length: 3",
                    "x-host: 10.0.0.1:80 u 200 - 0",
                    "",
                )
                + b"one"
            ),
        ),
        (Line(200),),
        PLAIN
        + routes(
            "[{name: r, headers: {request: {set: {"
            "x-from: '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% "
            "%DOWNSTREAM_REMOTE_PORT%', "
            "x-said: '%REQ(x-id)% %REQ(:method)% %REQ(:path)% %REQ(:authority)% %REQ(:scheme)% "
            "%RESPONSE_FLAGS% %REQ(x-no?x-id)%', "
            "x-for: '%UPSTREAM_CLUSTER% %ROUTE_NAME% %PROTOCOL%', "
            "x-cut: '%REQ(:method):2% 100%%', x-empty: '%REQ(x-no)%', "
            "x-none: '%REQUESTED_SERVER_NAME%%DOWNSTREAM_PEER_URI_SAN%%DOWNSTREAM_LOCAL_PORT%'}}, "
            "response: {set: {x-host: '%UPSTREAM_HOST% %RESP(x-up)% %RESPONSE_CODE% "
            "%RESPONSE_FLAGS% %DURATION%'}}}, " + TO_A + "}]"
        ),
        tls=False,  # the upstream head names what TLS knows
    ),
    Scene(
        "a PROXY header goes first, and a connection is its client's alone",
        (
            c.sends(request("GET /1")),
            o.gets(b"PROXY UNKNOWN\r\n" + forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        PLAIN + rule("{proxyProtocol: {version: V1}}"),
        closes=False,
        tls=False,  # the header goes before the handshake
    ),
    Scene(
        "a name that DNS knows",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200),),
        PLAIN.replace("STATIC", "DNS").replace("10.0.0.1", "up.x"),
        names={"up.x": ("10.0.0.1", "2001:db8::1")},
    ),
    Scene(
        "a name that DNS does not know",
        (c.sends(request("GET /1")),),
        (Line(503, "UH"),),
        PLAIN.replace("STATIC", "DNS").replace("10.0.0.1", "up.x"),
    ),
    Scene(
        "a name below a wildcard",
        (
            c.sends(request("GET /1", host="n.w.x")),
            o.gets(forwarded("GET /1", host="n.w.x")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.sends(request("GET /2", host="m.w.x")),
            o2.gets(forwarded("GET /2", host="m.w.x")),
            o2.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        service("'*.w.x'").replace("'*-w-x'", "w").replace("resolution: STATIC", "resolution: NONE")
        .replace("endpoints: [{address: 10.0.0.1}]", "location: MESH_EXTERNAL"),
        names={"n.w.x": ("10.0.0.1",), "m.w.x": ("10.0.0.2",)},
    ),
    Scene(
        "an endpoint that is put aside after its errors",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"no", start="500 Oh")),
            c.gets(answer(b"no", start="500 Oh")),
            c.sends(request("GET /2")),
            o2.gets(forwarded("GET /2")),
            o2.sends(answer(b"two")),
            c.gets(answer(b"two")),
        ),
        (Line(500), Line(200)),
        service(addresses="10.0.0.1 10.0.0.2")
        + rule("{outlierDetection: {consecutive5xxErrors: 1, baseEjectionTime: 1s, interval: 1s}}"),
        closes=False,
        splits=False,
        tls=False,  # the ejection is the node's, and lasts
    ),
)  # fmt: skip
