"""Attempts that fail, and those behind them."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    ONCE,
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
    o3,
    reply,
    request,
    routes,
    rule,
    service,
    waits,
)

TWICE = service(addresses="10.0.0.1 10.0.0.2")
BUSY = answer(b"no", start="503 Service Unavailable")


def retrying(on: str, more: str = "", attempts: int = 2) -> str:
    return TWICE + routes(f"[{{retries: {{attempts: {attempts}, retryOn: '{on}'{more}}}, {TO_A}}}]")


def twice(name: str, on: str, *first: object, **more: object) -> Scene:
    """The first attempt fails, the second one is answered."""
    steps = (
        c.sends(request("GET /1")),
        o.gets(forwarded("GET /1")),
        *first,
        waits(0.3),
        o2.gets(forwarded("GET /1")),
        o2.sends(answer(b"one")),
        c.gets(answer(b"one")),
    )
    return Scene(name, steps, (Line(200, sent=3),), **({"resources": retrying(on)} | more))  # type: ignore[arg-type]


SCENES = (
    twice("a reset", "reset", o.resets()),
    twice("the end instead of an answer", "reset", o.ends()),
    twice("half a head and a reset", "reset", o.sends(answer(b"no")[:20]), o.resets()),
    twice("a 503", "5xx", o.sends(BUSY)),
    twice("a gateway's error", "gateway-error", o.sends(answer(b"", start="502 Bad Gateway"))),
    twice("a status of the list", "418", o.sends(answer(b"", start="418 Teapot"))),
    twice(
        "a 503 with a body that does not end",
        "5xx",
        o.sends(lines("HTTP/1.1 503 Busy", "Content-Length: 1000", "") + b"no"),
    ),
    twice(
        "no answer within perTryTimeout",
        "gateway-error",
        waits(1.1),
        resources=retrying("gateway-error", ", perTryTimeout: 1s"),
    ),
    Scene(
        "a refused connect",
        (
            c.sends(request("GET /1")),
            waits(0.3),
            o2.gets(forwarded("GET /1")),
            o2.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        TWICE,
        connects=("refused", "ok"),
    ),
    Scene(
        "a connect without an answer",
        (
            c.sends(request("GET /1")),
            waits(2.1),
            waits(0.3),
            o2.gets(forwarded("GET /1")),
            o2.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        TWICE + rule("{connectionPool: {tcp: {connectTimeout: 2s}}}"),
        connects=("silent", "ok"),
    ),
    Scene(
        "every connect refused",
        (c.sends(request("GET /1")), waits(0.3), waits(0.3)),
        (Line(503, "UF,URX"),),
        PLAIN,
        connects=("refused", "refused", "refused"),
    ),
    Scene(
        "one connect refused, no retry",
        (c.sends(request("GET /1")),),
        (Line(503, "UF", details="upstream_reset_before_response_started{UF}"),),
        ONCE,
        connects=("refused",),
    ),
    Scene(
        "retries that end with an answer of the origin",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(BUSY),
            waits(0.3),
            o2.gets(forwarded("GET /1")),
            o2.sends(BUSY),
            waits(0.3),
            o3.gets(forwarded("GET /1")),
            o3.sends(answer(b"three", start="503 Service Unavailable")),
            c.gets(answer(b"three", start="503 Service Unavailable")),
        ),
        (Line(503, "URX", sent=5),),
        retrying("5xx"),
    ),
    Scene(
        "no retry of a 500 by default",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"no", start="500 Oh")),
            c.gets(answer(b"no", start="500 Oh")),
        ),
        (Line(500, sent=2),),
        PLAIN,
    ),
    Scene(
        "a timeout of the whole request",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            waits(1.1),
            o.sees_end(),
        ),
        (Line(504, "UT", details="response_timeout"),),
        PLAIN + routes(f"[{{timeout: 1s, {TO_A}}}]"),
    ),
    Scene(
        "a timeout within the answer",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")[:-1]),
            c.gets(answer(b"one")[:-1]),
            waits(1.1),
            c.sees_reset(),
            o.sees_end(),
        ),
        (Line(200, "UT"),),
        PLAIN + routes(f"[{{timeout: 1s, {TO_A}}}]"),
    ),
    Scene(
        "an origin that says nothing for long",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            waits(301.0),
            o.sees_end(),
        ),
        (Line(504, "SI", details="stream_idle_timeout"),),
        ONCE,
    ),
    Scene(
        "more requests than http2MaxRequests",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            c2.sends(request("GET /2")),
            c2.gets(
                reply(
                    "503 Service Unavailable",
                    "upstream connect error or disconnect/reset before headers. reset reason: "
                    "overflow (http2MaxRequests of outbound|80||a.x)",
                    "UO",
                    "x-envoy-overloaded: true",
                )
            ),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.sends(request("GET /3")),
            o.gets(forwarded("GET /3")),
            o.sends(answer(b"three")),
            c2.gets(answer(b"three")),
        ),
        (Line(503, "UO"), Line(200), Line(200, sent=5)),
        PLAIN + rule("{connectionPool: {http: {http2MaxRequests: 1}}}"),
    ),
    Scene(
        "a request waits for the one connection",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            c2.sends(request("GET /2")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            waits(0.05),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        PLAIN + rule("{connectionPool: {tcp: {maxConnections: 1}}}"),
    ),
    Scene(
        "a request waits for the one connection, which ends",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            c2.sends(request("GET /2")),
            o.sends(answer(b"one", "Connection: close")),
            c.gets(answer(b"one")),
            waits(0.05),
            o2.gets(forwarded("GET /2")),
            o2.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        PLAIN + rule("{connectionPool: {tcp: {maxConnections: 1}}}"),
    ),
)
