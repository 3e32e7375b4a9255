"""What is made of a client's spelling of name, path, method and upgrade, byte for byte."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    PLAIN,
    Line,
    Scene,
    answer,
    c,
    forwarded,
    lines,
    o,
    reply,
    request,
)

_H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")


def read_as(name: str, asked: bytes, sent: bytes) -> Scene:
    """A request that goes on in another spelling."""
    steps = (c.sends(asked), o.gets(sent), o.sends(answer()), c.gets(answer()))
    return Scene(name, steps, (Line(200),), resources=PLAIN)


def refused(name: str, asked: bytes, given: bytes, line: Line, **more: object) -> Scene:
    """A request that the node answers."""
    return Scene(
        name,
        (c.sends(asked), c.gets(given)),
        (line,),
        **({"resources": PLAIN} | more),  # type: ignore[arg-type]
    )


SCENES = (
    read_as("a path with dot segments", request("GET /x/../%61?q=/.."), forwarded("GET /a?q=/..")),
    read_as(
        "a name in capitals with a dot",
        request("GET /1", host="A.X."),
        lines("GET /1 HTTP/1.1", "Host: a.x") + forwarded().split(b"\r\n", 2)[2],
    ),
    read_as(
        "the absolute form of another name",
        request("GET http://A.x.:80\\1", host="b.x").replace(b"\\", b"/"),
        lines("GET /1 HTTP/1.1", "Host: a.x:80") + forwarded().split(b"\r\n", 2)[2],
    ),
    read_as("an upgrade to h2c", request("GET /1", *_H2C), forwarded("GET /1")),
    read_as(
        "an upgrade to TLS and nothing",
        request("GET /1", "Connection: upgrade", "Upgrade: TLS/1.2", "Upgrade: ,"),
        forwarded("GET /1"),
    ),
    refused(
        "an upgrade to what is not tunnelled",
        request("GET /1", "Connection: Upgrade", "Upgrade: foo"),
        reply("403 Forbidden", "upgrade to foo is not allowed (http.upgradeTypes)", "NR"),
        Line(403, "NR", details="upgrade_failed"),
    ),
    refused(
        "a name with an empty label",
        request("GET /1", host="a.x.."),
        reply("400 Bad Request", "empty label in the name 'a.x..'", "DPE", closes=True),
        Line(400, "DPE", details="http1.codec_error"),
    ),
    refused(
        "NUL in a path",
        request("GET /%00"),
        reply("400 Bad Request", "%00 in the path", "DPE", closes=True),
        Line(400, "DPE", details="http1.codec_error"),
    ),
    refused(
        "a method in small letters",
        request("get /1"),
        reply(
            "400 Bad Request", "unknown method 'get' (http.extensionMethods)", "DPE", closes=True
        ),
        Line(400, "DPE"),
    ),
    refused(
        "CONNECT to a port that carries HTTP",
        request("CONNECT a.x:80"),
        reply(
            "405 Method Not Allowed",
            "CONNECT: port 80 of a.x carries HTTP: send the requests themselves",
            "NR",
            "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE",
            closes=True,
        ),
        Line(405, "NR", details="connect_not_allowed"),
        closes=False,
    ),
)
