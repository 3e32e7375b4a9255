"""Peers that do not speak HTTP, or not well."""

from __future__ import annotations

from tests.proxy.scenes.basic import OK_CHUNKED
from tests.proxy.scenes.script import (
    ONCE,
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
from tests.proxy.scenes.uploads import no_name


def bad_answer(name: str, said: bytes, **more: object) -> Scene:
    """The origin says something that is no answer: 502 at once, and its connection ends."""
    steps = (
        c.sends(request("GET /1")),
        o.gets(forwarded("GET /1")),
        o.sends(said),
        o.sees_end(),
    )
    return Scene(name, steps, (Line(502, "UPE"),), **({"resources": ONCE} | more))  # type: ignore[arg-type]


def bad_request(name: str, said: bytes, status: int, **more: object) -> Scene:
    """The client says something that is no request: refused, and its connection ends."""
    return Scene(
        name,
        (c.sends(said), c.sees_end()),
        (Line(status, "DPE"),),
        **({"resources": PLAIN} | more),  # type: ignore[arg-type]
    )


SCENES = (
    bad_answer("an SSH server", b"SSH-2.0-OpenSSH_9.2\r\n"),
    bad_answer("an SMTP server", b"220 mail.x ESMTP\r\n"),
    bad_answer("a TLS alert on a plain port", b"\x15\x03\x01\x00\x02\x02\x46"),
    bad_answer("an FTP server in lower case", b"http/1.1 200 OK\r\n"),
    bad_answer("noise", bytes(range(128, 160))),
    bad_answer("HTTP/2 settings", b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    bad_answer("an answer of HTTP/2.0", lines("HTTP/2.0 200 OK", "Content-Length: 2", "")),
    bad_answer("a status of two digits", lines("HTTP/1.1 20 OK", "Content-Length: 2", "")),
    bad_answer("a space before the colon", lines("HTTP/1.1 200 OK", "Content-Length : 2", "")),
    bad_answer("a folded field", lines("HTTP/1.1 200 OK", "X: 1", " 2", "Content-Length: 0", "")),
    bad_answer(
        "two lengths", lines("HTTP/1.1 200 OK", "Content-Length: 2", "Content-Length: 3", "")
    ),
    bad_answer(
        "a length and chunks",
        lines("HTTP/1.1 200 OK", "Content-Length: 2", "Transfer-Encoding: chunked", ""),
    ),
    bad_answer(
        "a coding that is not known", lines("HTTP/1.1 200 OK", "Transfer-Encoding: gzip", "")
    ),
    bad_answer(
        "101 that nobody asked for", lines("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "")
    ),
    bad_answer(
        "a head without end",
        lines("HTTP/1.1 200 OK") + b"X: " + b"y" * 70_000,
        splits=False,
        closes=False,
    ),
    Scene(
        "chunks that are none",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(OK_CHUNKED + b"2\r\nok\r\nzz\r\n"),
            c.sees_reset(),
            o.sees_end(),
        ),
        (Line(200, "UPE"),),
        ONCE,
        closes=False,
    ),
    Scene(
        "no answer at all",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.ends(),
        ),
        (Line(503, "UC"),),
        ONCE,
    ),
    Scene(
        "half a head",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(lines("HTTP/1.1 200 OK")),
            o.ends(),
        ),
        (Line(503, "UC"),),
        ONCE,
    ),
    bad_request("no HTTP", b"NONSENSE\r\n\r\n", 400),
    bad_request("bare LF", b"GET / HTTP/1.1\nHost: a.x\n\n", 400, splits=False, closes=False),
    bad_request("no Host", lines("GET / HTTP/1.1", ""), 400),
    bad_request("two Hosts", lines("GET / HTTP/1.1", "Host: a.x", "Host: b.x", ""), 400),
    bad_request("HTTP/3.0", lines("GET / HTTP/3.0", "Host: a.x", ""), 505),
    bad_request(
        "a length and chunks from a client",
        request("POST /", "Content-Length: 3", "Transfer-Encoding: chunked") + b"abc",
        400,
        closes=False,
        splits=False,
    ),
    bad_request(
        "a head that is too large",
        lines("GET / HTTP/1.1", "Host: a.x", "X: " + "y" * 70_000, ""),
        431,
        splits=False,
        closes=False,
    ),
    bad_request(
        "too many fields",
        lines("GET / HTTP/1.1", "Host: a.x", *["X: y"] * 101, ""),
        431,
        splits=False,
        closes=False,
    ),
    Scene(
        "a host that cannot be",
        (
            c.sends(request("GET /1", host="a b")),
            c.gets(reply("400 Bad Request", "invalid Host 'a b'", "DPE", closes=True)),
            c.sees_end(),
        ),
        (Line(400, "DPE", details="http1.codec_error"),),
        PLAIN,
    ),
    Scene(
        "a name that nothing has",
        (
            c.sends(request("GET /1", host="no.x")),
            c.gets(no_name("no.x")),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(answer(b"two")),
        ),
        (Line(502, "NR", details="route_not_found"), Line(200)),
        PLAIN,
    ),
)
