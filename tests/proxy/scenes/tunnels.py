"""Connections that become tunnels: CONNECT and WebSocket."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    PLAIN,
    Line,
    Scene,
    Step,
    answer,
    c,
    forwarded,
    lines,
    o,
    reply,
    request,
    waits,
)

TLS_PORT = PLAIN.replace(
    "number: 80, name: p80, protocol: HTTP", "number: 443, name: t, protocol: TLS"
)
ASKED = lines("CONNECT a.x:443 HTTP/1.1", "Host: a.x:443", "")
OPEN = lines("HTTP/1.1 200 Connection established", "")
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade")
UPGRADED = forwarded("GET /1").replace(
    b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
)
UPGRADED_WITH_BODY, UPGRADED_LONGER = (
    forwarded("GET /1", f"Content-Length: {size}").replace(
        b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    )
    for size in (3, 6)
)
EARLY = reply("502 Bad Gateway", "101 before the end of the request", "UPE").replace(
    b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1
)
SWITCHED = lines(
    "HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: websocket", ""
)
OK, SWITCHING = Line(200), Line(101)


def tunnel(name: str, *steps: Step, line: Line = OK, **more: object) -> Scene:
    return Scene(
        name,
        (c.sends(ASKED), c.gets(OPEN), *steps),
        (line,),
        **({"resources": TLS_PORT, "origin_tls": False, "closes": False} | more),  # type: ignore[arg-type]
    )


def websocket(name: str, *steps: Step, line: Line = SWITCHING, **more: object) -> Scene:
    return Scene(
        name,
        (
            c.sends(request("GET /1", *UPGRADE)),
            o.gets(UPGRADED),
            o.sends(lines("HTTP/1.1 101 Switching Protocols", *UPGRADE, "")),
            c.gets(SWITCHED),
            *steps,
        ),
        (line,),
        **({"resources": PLAIN} | more),  # type: ignore[arg-type]
    )


SCENES = (
    tunnel(
        "a tunnel carries both ways and ends with the client",
        c.sends(b"hello"),
        o.gets(b"hello"),
        o.sends(b"world!"),
        c.gets(b"world!"),
        c.ends(),
        o.sees_end(),
        o.ends(),
        c.sees_end(),
        line=Line(200, sent=6, received=5),
        closes=True,
    ),
    tunnel(
        "a tunnel whose origin ends first",
        o.sends(b"bye"),
        o.ends(),
        c.gets(b"bye"),
        c.sees_end(),
        c.sends(b"still"),
        o.gets(b"still"),
        c.ends(),
        line=Line(200, sent=3, received=5),
        tls=False,  # TLS has no half-close that its peers keep to
    ),
    tunnel(
        "a tunnel whose client ends first",
        c.sends(b"q"),
        c.ends(),
        o.gets(b"q"),
        o.sees_end(),
        o.sends(b"answer"),
        c.gets(b"answer"),
        o.ends(),
        c.sees_end(),
        line=Line(200, sent=6, received=1),
        tls=False,
    ),
    tunnel("a tunnel whose origin resets", o.sends(b"x"), c.gets(b"x"), o.resets(), c.sees_end()),
    tunnel("a tunnel whose client resets", c.sends(b"x"), o.gets(b"x"), c.resets(), o.sees_end()),
    tunnel(
        "a tunnel that moves nothing for long",
        c.sends(b"x"),
        o.gets(b"x"),
        waits(3601.0),
        c.sees_end(),
        o.sees_end(),
    ),
    tunnel(
        "much through a tunnel",
        c.sends(b"u" * 1_500_000),
        o.gets(b"u" * 1_500_000),
        o.sends(b"d" * 2_500_000),
        c.gets(b"d" * 2_500_000),
        c.ends(),
        o.ends(),
        line=Line(200, sent=2_500_000, received=1_500_000),
        splits=False,
    ),
    Scene(
        "bytes of the tunnel with its request",
        (
            c.sends(ASKED + b"early"),
            c.gets(OPEN),
            o.gets(b"early"),
            o.sends(b"late"),
            c.gets(b"late"),
            c.ends(),
            o.ends(),
        ),
        (Line(200, sent=4, received=5),),
        TLS_PORT,
        origin_tls=False,
        closes=False,
    ),
    Scene(
        "a tunnel to an endpoint that refuses",
        (c.sends(ASKED), c.sees_end()),
        (Line(503, "UF"),),
        TLS_PORT,
        connects=("refused", "refused", "refused"),
        origin_tls=False,
    ),
    Scene(
        "a tunnel to a name that nothing has",
        (c.sends(lines("CONNECT no.x:443 HTTP/1.1", "Host: no.x", "")), c.sees_end()),
        (Line(502, "NR"),),
        TLS_PORT,
        origin_tls=False,
    ),
    Scene(
        "a tunnel without a port",
        (c.sends(lines("CONNECT a.x HTTP/1.1", "Host: a.x", "")), c.sees_end()),
        (Line(400, "DPE"),),
        TLS_PORT,
        origin_tls=False,
    ),
    websocket(
        "a WebSocket carries both ways and ends with the client",
        c.sends(b"ping"),
        o.gets(b"ping"),
        o.sends(b"pong!"),
        c.gets(b"pong!"),
        c.ends(),
        o.sees_end(),
        o.ends(),
        line=Line(101, sent=5, received=4),
    ),
    Scene(
        "a WebSocket that is asked for with a body, and its first bytes behind that",
        (
            c.sends(request("GET /1", *UPGRADE, "Content-Length: 3") + b"abcXYZ"),
            o.gets(UPGRADED_WITH_BODY + b"abc"),
            o.sends(lines("HTTP/1.1 101 Switching Protocols", *UPGRADE, "")),
            c.gets(SWITCHED),
            o.gets(b"XYZ"),
            o.sends(b"pong"),
            c.gets(b"pong"),
            c.ends(),
            o.sees_end(),
            o.ends(),
        ),
        (SWITCHING,),
        PLAIN,
        splits=False,
        closes=False,
    ),
    Scene(
        "an origin that switches before the end of the request",
        (
            c.sends(request("GET /1", *UPGRADE, "Content-Length: 6") + b"abc"),
            o.gets(UPGRADED_LONGER + b"abc"),
            o.sends(lines("HTTP/1.1 101 Switching Protocols", *UPGRADE, "")),
            c.gets(EARLY),
            c.sees_end(),
        ),
        (Line(502, "UPE"),),
        PLAIN,
        closes=False,
    ),
    websocket(
        "a WebSocket whose origin resets",
        o.sends(b"x"),
        c.gets(b"x"),
        o.resets(),
        c.sees_end(),
    ),
    Scene(
        "frames with the answer to the upgrade",
        (
            c.sends(request("GET /1", *UPGRADE)),
            o.gets(UPGRADED),
            o.sends(lines("HTTP/1.1 101 Switching Protocols", *UPGRADE, "") + b"first"),
            c.gets(SWITCHED + b"first"),
            c.ends(),
            o.ends(),
        ),
        (Line(101),),
        PLAIN,
    ),
    Scene(
        "an upgrade that is refused",
        (
            c.sends(request("GET /1", *UPGRADE)),
            o.gets(UPGRADED),
            o.sends(answer(b"no", start="403 Forbidden")),
            c.gets(answer(b"no", start="403 Forbidden")),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(answer(b"two")),
        ),
        (Line(403), Line(200)),
        PLAIN,
    ),
)
