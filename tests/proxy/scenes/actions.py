"""What routes do besides leading somewhere: mirrors, faults, redirects, CORS, rewrites, own answers."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    ID,
    PLAIN,
    TO_A,
    Line,
    Scene,
    answer,
    c,
    forwarded,
    lines,
    m,
    o,
    reply,
    request,
    routes,
    service,
    waits,
)

MIRRORED = (
    PLAIN
    + service("m.x", addresses="10.0.0.9")
    + routes(f"[{{mirror: {{host: m.x}}, retries: {{attempts: 0}}, {TO_A}}}]")
)
CORS = PLAIN + routes(
    "[{corsPolicy: {allowOrigins: [{exact: 'http://w.x'}], allowMethods: [GET], maxAge: 60s}, "
    f"{TO_A}}}]"
)


def shadow(start: str, *given: str, body: bytes = b"") -> bytes:
    """A request as the mirror gets it: the host first, with "-shadow"."""
    length = (f"Content-Length: {len(body)}",) if body else ()
    return lines(f"{start} HTTP/1.1", "Host: a.x-shadow", *given, *length) + ID + b"\r\n" + body


SCENES = (
    Scene(
        "a mirror gets a copy",
        (
            c.sends(request("GET /1")),
            m.gets(shadow("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            m.sends(answer(b"ignored")),
        ),
        (Line(200, sent=3),),
        MIRRORED,
    ),
    Scene(
        "a mirror gets a copy of a body",
        (
            c.sends(request("POST /1", body=b"abc")),
            m.gets(shadow("POST /1", body=b"abc")),
            o.gets(forwarded("POST /1", body=b"abc")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            m.sends(answer(b"ignored")),
        ),
        (Line(200, sent=3, received=3),),
        MIRRORED,
        splits=False,  # a body that comes later is mirrored behind the answer
    ),
    Scene(
        "a body that comes later is mirrored when it has come",
        (
            c.sends(request("POST /1", "Content-Length: 3")),
            o.gets(forwarded("POST /1", "Content-Length: 3")),
            c.sends(b"abc"),
            o.gets(b"abc"),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            m.gets(shadow("POST /1", "Content-Length: 3") + b"abc"),
            m.sends(answer(b"ignored")),
        ),
        (Line(200, sent=3, received=3),),
        MIRRORED,
    ),
    Scene(
        "a mirror that cannot be reached changes nothing",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        MIRRORED,
        mirror="refused",
    ),
    Scene(
        "a mirror that breaks off changes nothing",
        (
            c.sends(request("GET /1")),
            m.gets(shadow("GET /1")),
            m.sends(answer(b"ignored")[:-3]),
            m.resets(),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        MIRRORED,
    ),
    Scene(
        "a mirror that outlives its request",
        (
            c.sends(request("GET /1")),
            m.gets(shadow("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c.ends(),
            m.sends(lines("HTTP/1.1 103 Early Hints", "Link: </s>", "")),
            m.sends(answer(b"ignored")),
            waits(16.0),
        ),
        (Line(200, sent=3),),
        MIRRORED,
    ),
    Scene(
        "an abort",
        (
            c.sends(request("GET /1")),
            c.gets(reply("418 I'm a Teapot", "fault filter abort", "FI")),
        ),
        (Line(418, "FI", details="fault_filter_abort"),),
        PLAIN
        + routes("[{fault: {abort: {httpStatus: 418, percentage: {value: 100}}}, " + TO_A + "}]"),
    ),
    Scene(
        "a delay and then the answer",
        (
            c.sends(request("GET /1")),
            waits(1.0),
            o.is_not_there(),
            waits(1.1),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, "DI", sent=3),),
        PLAIN
        + routes("[{fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}, " + TO_A + "}]"),
    ),
    Scene(
        "a redirect",
        (
            c.sends(request("GET /1?q")),
            c.gets(
                lines("HTTP/1.1 302 Found", "location: http://b.x/2?q", "content-length: 0", "")
            ),
        ),
        (Line(302),),
        PLAIN + routes("[{redirect: {uri: /2, authority: b.x, redirectCode: 302}}]"),
    ),
    Scene(
        "an answer of the route's own",
        (
            c.sends(request("GET /1")),
            c.gets(
                lines(
                    "HTTP/1.1 200 OK",
                    "content-length: 4",
                    "content-type: text/plain; charset=utf-8",
                    "",
                )
                + b"here"
            ),
        ),
        (Line(200, sent=4, details="direct_response"),),
        PLAIN + routes("[{directResponse: {status: 200, body: {string: here}}}]"),
    ),
    Scene(
        "no route matches",
        (
            c.sends(request("GET /1")),
            c.gets(
                reply("404 Not Found", "no route of VirtualService/default/v-a-x matches", "NR")
            ),
        ),
        (Line(404, "NR"),),
        PLAIN + routes("[{match: [{uri: {exact: /2}}], " + TO_A + "}]"),
    ),
    Scene(
        "a rewrite of path, host and headers",
        (
            c.sends(request("GET /old/1?q", "X-A: 1", "X-B: 2")),
            o.gets(lines("GET /new/1?q HTTP/1.1", "Host: z.x", "X-B: 2", "x-c: 3") + ID + b"\r\n"),
            o.sends(answer(b"one", "Server: y")),
            c.gets(lines("HTTP/1.1 200 OK", "Content-Length: 3", "x-d: 4", "") + b"one"),
        ),
        (Line(200),),
        PLAIN
        + routes(
            "[{match: [{uri: {prefix: /old}}], rewrite: {uri: /new, authority: z.x}, "
            "headers: {request: {remove: [x-a], add: {x-c: '3'}}, "
            "response: {remove: [server], set: {x-d: '4'}}}, " + TO_A + "}]"
        ),
    ),
    Scene(
        "a preflight",
        (
            c.sends(
                request("OPTIONS /1", "Origin: http://w.x", "Access-Control-Request-Method: GET")
            ),
            c.gets(
                lines(
                    "HTTP/1.1 200 OK",
                    "access-control-allow-origin: http://w.x",
                    "access-control-allow-methods: GET",
                    "access-control-max-age: 60",
                    "content-length: 0",
                    "",
                )
            ),
        ),
        (Line(200),),
        CORS,
    ),
    Scene(
        "an answer to another origin's page",
        (
            c.sends(request("GET /1", "Origin: http://w.x")),
            o.gets(forwarded("GET /1", "Origin: http://w.x")),
            o.sends(answer(b"one")),
            c.gets(
                lines(
                    "HTTP/1.1 200 OK",
                    "Content-Length: 3",
                    "access-control-allow-origin: http://w.x",
                    "",
                )
                + b"one"
            ),
        ),
        (Line(200),),
        CORS,
    ),
    Scene(
        "a gRPC client gets its own kind of refusal",
        (c.sends(request("POST /1", "Content-Type: application/grpc", host="no.x")),),
        (Line(200, "NR"),),
        PLAIN,
    ),
)
