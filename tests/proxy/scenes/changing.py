"""The registry, the settings and the worker change while connections live; names that nothing has."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    API,
    PLAIN,
    Line,
    Scene,
    Step,
    answer,
    c,
    c2,
    changes,
    drains,
    forwarded,
    lines,
    o,
    o2,
    request,
    routes,
    rule,
    service,
    sweeps,
    waits,
)
from tests.proxy.scenes.tunnels import OPEN
from tests.proxy.scenes.uploads import last, no_name


def sidecar(spec: str) -> str:
    return f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {{{spec}}}\n---\n"


ANY = sidecar("outboundTrafficPolicy: {mode: ALLOW_ANY}, egress: [{hosts: ['*/*']}]")
TO_PROXY = service("p.x") + sidecar(
    "outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: p.x, port: {number: 80}}}, "
    "egress: [{hosts: ['*/*']}]"
)
MOVED = service(addresses="10.0.0.2")
SUBSET = PLAIN + routes("[{route: [{destination: {host: a.x, subset: v1}}]}]")

WITH_V1 = rule("{tls: {mode: DISABLE}}").replace("}\n---", ", subsets: [{name: v1}]}\n---")


def first(side: bytes = b"one") -> tuple[Step, ...]:
    """One request and its answer, on the first connection."""
    return (
        c.sends(request("GET /1")),
        o.gets(forwarded("GET /1")),
        o.sends(answer(side)),
        c.gets(answer(side)),
    )


def second() -> tuple[Step, ...]:
    """One more, on a connection of its own."""
    return (
        c.sends(request("GET /2")),
        o2.gets(forwarded("GET /2")),
        o2.sends(answer(b"two")),
        c.gets(answer(b"two")),
    )


SCENES = (
    Scene(
        "an endpoint that leaves answers what it was asked",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            changes(MOVED),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            o.sees_end(),
            *second(),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "an idle connection to an endpoint that leaves is closed",
        (*first(), changes(MOVED), o.sees_end(), *second()),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "a change that is none keeps connections",
        (
            *first(),
            changes(PLAIN + " "),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "new limits renew connections",
        (
            *first(),
            changes(PLAIN + rule("{connectionPool: {tcp: {maxConnections: 7}}}")),
            o.sees_end(),
            *second(),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "a service that goes",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            changes(service("b.x")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            o.sees_end(),
            c.sends(request("GET /2")),
            c.gets(no_name("a.x")),
        ),
        (Line(200), Line(502, "NR")),
        PLAIN,
    ),
    Scene(
        "a subset that comes",
        (
            c.sends(request("GET /1")),
            changes(SUBSET + WITH_V1),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
        ),
        (Line(503, "NC"), Line(200)),
        SUBSET,
        closes=False,
    ),
    Scene(
        "a route that changes",
        (*first(), changes(PLAIN + routes("[{directResponse: {status: 204}}]")),
         c.sends(request("GET /2")), c.gets(lines("HTTP/1.1 204 No Content", ""))),
        (Line(200), Line(204)),
        PLAIN,
    ),
    Scene(
        "an idle connection that is too old",
        (*first(), waits(61.0), sweeps(), o.sees_end(), *second()),
        (Line(200), Line(200)),
        PLAIN + rule("{connectionPool: {http: {idleTimeout: 60s}}}"),
    ),
    Scene(
        "a connection that has done its share",
        (*first(), o.sees_end(), *second()),
        (Line(200), Line(200)),
        PLAIN + rule("{connectionPool: {http: {maxRequestsPerConnection: 1}}}"),
    ),
    Scene(
        "a connection that has had its time",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            waits(11.0),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            o.sees_end(),
            *second(),
        ),
        (Line(200), Line(200)),
        PLAIN + rule("{connectionPool: {tcp: {maxConnectionDuration: 10s}}}"),
    ),
    Scene(
        "a worker that stops lets requests finish",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            drains(),
            o.sends(answer(b"one")),
            c.gets(last(answer(b"one"))),
            c.sees_end(),
        ),
        (Line(200),),
        PLAIN,
    ),
    Scene(
        "a worker that stops has a moment for one more request",
        (
            *first(),
            drains(),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(last(answer(b"two"))),
            c.sees_end(),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "a worker in whose place others serve waits longer for one more request",
        (
            *first(),
            drains(29.0),
            waits(28.0),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(last(answer(b"two"))),
            c.sees_end(),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "a worker in whose place others serve closes who says nothing at last",
        (*first(), drains(29.0), waits(29.1), c.sees_end()),
        (Line(200),),
        PLAIN,
    ),
    Scene(
        "a connection that a stopping worker still takes has as long for its first request",
        (
            drains(29.0),
            c.sends(b""),
            waits(28.0),
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(last(answer(b"one"))),
            c.sees_end(),
        ),
        (Line(200),),
        PLAIN,
    ),
    Scene(
        "a worker that stops closes who says nothing",
        (*first(), drains(), waits(1.1), c.sees_end()),
        (Line(200),),
        PLAIN,
    ),
    Scene(
        "a name that nothing has, passed through",
        (
            c.sends(request("GET /1", host="u.x")),
            o.gets(forwarded("GET /1", host="u.x")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            o.ends(),
            waits(301.0),
            sweeps(),
            c2.sends(request("GET /2", host="u.x")),
            o2.gets(forwarded("GET /2", host="u.x")),
            changes(ANY + PLAIN),
            o2.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        ANY,
        names={"u.x": ("10.0.0.1",)},
    ),
    Scene(
        "a name that nothing has, to the proxy of the Sidecar",
        (
            c.sends(request("GET /1", host="u.x")),
            o.gets(forwarded("GET /1", host="u.x")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200),),
        TO_PROXY,
    ),
    Scene(
        "a tunnel to a name that nothing has, passed through",
        (
            c.sends(lines("CONNECT u.x:443 HTTP/1.1", "Host: u.x", "")),
            c.gets(OPEN),
            c.sends(b"x"),
            o.gets(b"x"),
            c.ends(),
            o.ends(),
        ),
        (Line(200),),
        ANY,
        names={"u.x": ("10.0.0.1",)},
        origin_tls=False,
        closes=False,
    ),
    Scene(
        "a tunnel to a port that is not open to them",
        (c.sends(lines("CONNECT u.x:25 HTTP/1.1", "Host: u.x", "")), c.sees_end()),
        (Line(403, "NR"),),
        ANY,
        names={"u.x": ("10.0.0.1",)},
        origin_tls=False,
    ),
    Scene(
        "weights lead to more than one service",
        (*first(),),
        (Line(200),),
        PLAIN
        + service("b.x", addresses="10.0.0.5")
        + routes(
            "[{route: [{destination: {host: a.x}, weight: 50}, {destination: {host: b.x}, "
            "weight: 50}]}]"
        ),
    ),
)  # fmt: skip
