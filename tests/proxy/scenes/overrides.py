"""`x-envoy-*` request headers: what they change, and that none goes on."""

from __future__ import annotations

from tests.proxy.scenes.actions import MIRRORED, shadow
from tests.proxy.scenes.doors import HTTP, bound, gateway
from tests.proxy.scenes.retries import BUSY, TWICE
from tests.proxy.scenes.script import (
    ONCE,
    PLAIN,
    TO_A,
    Line,
    Scene,
    answer,
    c,
    chunks,
    forwarded,
    lines,
    m,
    o,
    o2,
    reply,
    request,
    routes,
    service,
    waits,
)

OFF = {"overrides": False}
SLOW = "x-envoy-upstream-rq-timeout-ms: 1000"
ON_5XX = ("X-Envoy-Retry-On: 5xx", "x-envoy-max-retries: 1")
TIMEOUT = ("504 Gateway Timeout", "upstream request timeout", "UT")


def timed_out(name: str, *given: str, resources: str = ONCE, after_s: float = 1.1) -> Scene:
    steps = (
        c.sends(request("GET /", *given)),
        o.gets(forwarded()),
        waits(after_s),
        c.gets(reply(*TIMEOUT)),
    )
    return Scene(name, steps, (Line(504, "UT"),), resources)


def once(name: str, *given: str, passed: tuple[str, ...] = (), **more: object) -> Scene:
    """One request, one attempt, whose 503 stands."""
    steps = (
        c.sends(request("GET /", *given)),
        o.gets(forwarded("GET /", *passed)),
        o.sends(BUSY),
        c.gets(BUSY),
    )
    return Scene(name, steps, (Line(503, sent=2),), **({"resources": TWICE} | more))  # type: ignore[arg-type]


def retried(name: str, *given: str, first: bytes = BUSY, resources: str = TWICE) -> Scene:
    steps = (
        c.sends(request("GET /", *given)),
        o.gets(forwarded()),
        o.sends(first),
        waits(0.3),
        o2.gets(forwarded()),
        o2.sends(answer(b"one")),
        c.gets(answer(b"one")),
    )
    return Scene(name, steps, (Line(200, sent=3),), resources)


LIMITED = PLAIN + routes(f"[{{timeout: 1s, retries: {{attempts: 0}}, {TO_A}}}]")

SCENES = (
    timed_out("the client sets the timeout", SLOW),
    timed_out(
        "the client cuts the route's timeout",
        SLOW,
        resources=PLAIN + routes(f"[{{timeout: 9s, {TO_A}}}]"),
    ),
    timed_out(
        "a timeout that is no number is passed over",
        "x-envoy-upstream-rq-timeout-ms: soon",
        resources=LIMITED,
    ),
    Scene(
        "the client wants 204 for a timeout",
        (
            c.sends(request("GET /", SLOW, "x-envoy-upstream-rq-timeout-alt-response: 1")),
            o.gets(forwarded()),
            waits(1.1),
            c.gets(lines("HTTP/1.1 204 No Content", "x-egressd-response-flags: UT", "")),
        ),
        (Line(204, "UT"),),
        ONCE,
    ),
    Scene(
        "a timeout of 0 is none",
        (
            c.sends(request("GET /", "x-envoy-upstream-rq-timeout-ms: 0")),
            o.gets(forwarded()),
            waits(2.0),
            o.sends(answer()),
            c.gets(answer()),
        ),
        (Line(200),),
        LIMITED,
    ),
    retried("the client adds a condition", *ON_5XX),
    retried(
        "the client adds a condition where the route retries nothing",
        *ON_5XX,
        resources=service(addresses="10.0.0.1 10.0.0.2")
        + routes(f"[{{retries: {{attempts: 0}}, {TO_A}}}]"),
    ),
    retried(
        "the client names a status",
        "x-envoy-retry-on: retriable-status-codes",
        "x-envoy-retriable-status-codes: 404, 503",
    ),
    retried(
        "the client names a header of the answer",
        "x-envoy-retry-on: retriable-headers",
        "x-envoy-retriable-header-names: x-again",
        first=answer(b"no", "X-Again: 1"),
    ),
    retried(
        "the client names a gRPC status",
        "x-envoy-retry-grpc-on: resource-exhausted",
        first=answer(b"", "grpc-status: 8"),
    ),
    once("a condition that is none adds nothing", "x-envoy-retry-on: never, tuesdays"),
    once("codes without their condition add nothing", "x-envoy-retriable-status-codes: 503"),
    once(
        "the client wants no retries",
        "x-envoy-max-retries: 0",
        resources=TWICE + routes(f"[{{retries: {{attempts: 3, retryOn: 5xx}}, {TO_A}}}]"),
    ),
    once("overrides are refused", *ON_5XX, settings=OFF),
    once(
        "overrides are for the mesh",
        *ON_5XX,
        resources=TWICE + gateway(HTTP) + bound(f"http: [{{{TO_A}}}]"),
        door="gateway",
    ),
    once(
        "none goes on",
        "x-envoy-decorator-operation: a",
        "X-ENVOY-internal: true",
        "x-envoy-: x",
        "x-env: 1",
        passed=("x-env: 1",),
    ),
    once(
        "none goes on beside hop-by-hop fields",
        "Keep-Alive: 1",
        "X-Envoy-Upstream-Alt-Stat-Name: a",
        "x-a: 1",
        passed=("x-a: 1",),
    ),
    Scene(
        "none goes on in trailers",
        (
            c.sends(
                request("POST /", "Transfer-Encoding: chunked")
                + chunks(b"a", trailers=b"x-envoy-internal: 1\r\nx-t: 1\r\n")
            ),
            o.gets(
                lines("POST / HTTP/1.1", "Host: a.x")
                + forwarded()[len(lines("GET / HTTP/1.1", "Host: a.x")) : -2]
                + b"transfer-encoding: chunked\r\n\r\n"
                + chunks(b"a", trailers=b"x-t: 1\r\n")
            ),
            o.sends(answer()),
            c.gets(answer()),
        ),
        (Line(200),),
        ONCE,
        splits=False,
    ),
    Scene(
        "none goes on to a mirror",
        (
            c.sends(request("GET /1", "x-envoy-max-retries: 9")),
            m.gets(shadow("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            m.sends(answer(b"ignored")),
        ),
        (Line(200, sent=3),),
        MIRRORED,
    ),
    once(
        "what the route sets goes on",
        "x-envoy-mine: 1",
        passed=("x-envoy-mine: 2",),
        resources=TWICE
        + routes(f"[{{headers: {{request: {{set: {{x-envoy-mine: '2'}}}}}}, {TO_A}}}]"),
    ),
)
