"""Requests and answers of every framing."""

from __future__ import annotations

from tests.proxy.scenes.script import (
    ONCE,
    PLAIN,
    Line,
    Scene,
    answer,
    c,
    chunks,
    forwarded,
    lines,
    o,
    request,
    waits,
)

OK_CHUNKED = lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "")
"""As an origin writes it; the proxy writes its own field behind the others."""
TO_CLIENT_CHUNKED = lines("HTTP/1.1 200 OK", "transfer-encoding: chunked", "")


def exchange(
    name: str, asked: str, origin: bytes, client: bytes, line: Line, *given: str, **more: object
) -> Scene:
    """One request without a body, one answer."""
    steps = (
        c.sends(request(asked, *given)),
        o.gets(forwarded(asked, *given)),
        o.sends(origin),
        c.gets(client),
    )
    return Scene(name, steps, (line,), **({"resources": PLAIN} | more))  # type: ignore[arg-type]


SCENES = (
    exchange(
        "GET with a length",
        "GET /1",
        answer(b"one"),
        answer(b"one"),
        Line(200, sent=3, received=0, details="via_upstream"),
    ),
    exchange("GET with an empty body", "GET /1", answer(b""), answer(b""), Line(200, sent=0)),
    exchange(
        "HEAD with a length",
        "HEAD /1",
        lines("HTTP/1.1 200 OK", "Content-Length: 5", ""),
        lines("HTTP/1.1 200 OK", "Content-Length: 5", ""),
        Line(200, sent=0),
    ),
    exchange(
        "HEAD with chunked framing",
        "HEAD /1",
        OK_CHUNKED,
        lines("HTTP/1.1 200 OK", ""),
        Line(200, sent=0),
    ),
    exchange(
        "a chunked answer",
        "GET /1",
        OK_CHUNKED + chunks(b"on", b"e"),
        TO_CLIENT_CHUNKED + chunks(b"one"),
        Line(200, sent=3, received=0),
    ),
    exchange(
        "a chunked answer with trailers and extensions",
        "GET /1",
        OK_CHUNKED + b"2;x=y\r\non\r\n1\r\ne\r\n0\r\nX-T: 1\r\nContent-Length: 7\r\n\r\n",
        TO_CLIENT_CHUNKED + chunks(b"one", trailers=b"X-T: 1\r\n"),
        Line(200, sent=3),
    ),
    exchange(
        "204 with a length that means nothing",
        "GET /1",
        lines("HTTP/1.1 204 No Content", "Content-Length: 5", ""),
        lines("HTTP/1.1 204 No Content", ""),
        Line(204, sent=0),
    ),
    exchange(
        "304 with the length of what was not sent",
        "GET /1",
        lines("HTTP/1.1 304 Not Modified", "Content-Length: 5", ""),
        lines("HTTP/1.1 304 Not Modified", "Content-Length: 5", ""),
        Line(304, sent=0),
    ),
    exchange(
        "interim answers before the final one",
        "GET /1",
        lines("HTTP/1.1 103 Early Hints", "Link: </s>", "") * 2 + answer(b"one"),
        lines("HTTP/1.1 103 Early Hints", "Link: </s>", "") * 2 + answer(b"one"),
        Line(200, sent=3),
    ),
    exchange(
        "fields that end at the proxy",
        "GET /1",
        answer(b"one", "Connection: x-own", "X-Own: 1", "Keep-Alive: timeout=5"),
        answer(b"one"),
        Line(200, sent=3),
    ),
    exchange(
        "an answer that closes the origin's connection",
        "GET /1",
        answer(b"one", "Connection: close"),
        answer(b"one"),
        Line(200, sent=3),
    ),
    Scene(
        "an answer that ends with the connection",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(lines("HTTP/1.1 200 OK", "") + b"one"),
            c.gets(TO_CLIENT_CHUNKED + b"3\r\none\r\n"),
            o.ends(),
            c.gets(b"0\r\n\r\n"),
        ),
        (Line(200, sent=3),),
        PLAIN,
        ends_by_close=True,
    ),
    Scene(
        "an answer that ends with the connection for a client of HTTP/1.0",
        (
            c.sends(lines("GET /1 HTTP/1.0", "Host: a.x", "")),
            o.gets(forwarded("GET /1")),
            o.sends(lines("HTTP/1.1 200 OK", "") + b"one"),
            c.gets(lines("HTTP/1.1 200 OK", "connection: close", "") + b"one"),
            o.ends(),
            c.sees_end(),
        ),
        (Line(200, sent=3),),
        PLAIN,
        ends_by_close=True,
    ),
    Scene(
        "HTTP/1.0 on both sides",
        (
            c.sends(lines("GET /1 HTTP/1.0", "Host: a.x", "")),
            o.gets(forwarded("GET /1")),
            o.sends(lines("HTTP/1.0 200 OK", "Content-Length: 3", "") + b"one"),
            c.gets(lines("HTTP/1.1 200 OK", "Content-Length: 3", "connection: close", "") + b"one"),
            c.sees_end(),
            o.sees_end(),
        ),
        (Line(200, sent=3),),
        PLAIN,
    ),
    Scene(
        "HTTP/1.0 that keeps its connections",
        (
            c.sends(lines("GET /1 HTTP/1.0", "Host: a.x", "Connection: keep-alive", "")),
            o.gets(forwarded("GET /1")),
            o.sends(
                lines("HTTP/1.0 200 OK", "Content-Length: 3", "Connection: keep-alive", "") + b"one"
            ),
            c.gets(
                lines("HTTP/1.1 200 OK", "Content-Length: 3", "connection: keep-alive", "") + b"one"
            ),
            c.sends(lines("GET /2 HTTP/1.0", "Host: a.x", "")),
            o.gets(forwarded("GET /2")),
            o.sends(lines("HTTP/1.0 200 OK", "Content-Length: 3", "") + b"two"),
            c.gets(lines("HTTP/1.1 200 OK", "Content-Length: 3", "connection: close", "") + b"two"),
            c.sees_end(),
        ),
        (Line(200, sent=3), Line(200, sent=3)),
        PLAIN,
    ),
    Scene(
        "a chunked answer for a client of HTTP/1.0",
        (
            c.sends(lines("GET /1 HTTP/1.0", "Host: a.x", "")),
            o.gets(forwarded("GET /1")),
            o.sends(OK_CHUNKED + chunks(b"on", b"e")),
            c.gets(lines("HTTP/1.1 200 OK", "connection: close", "") + b"one"),
            c.sees_end(),
        ),
        (Line(200, sent=3),),
        PLAIN,
    ),
    Scene(
        "the client asks to close",
        (
            c.sends(request("GET /1", "Connection: close")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")),
            c.sees_end(),
        ),
        (Line(200, sent=3),),
        PLAIN,
    ),
    Scene(
        "a whole target names its host",
        (
            c.sends(lines("GET http://a.x/1?q HTTP/1.1", "Host: b.x", "")),
            o.gets(forwarded("GET /1?q")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        PLAIN,
    ),
    Scene(
        "empty lines before a request",
        (
            c.sends(b"\r\n\r\n" + request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        PLAIN,
        closes=False,  # an empty line is no request whose answer could be waited for
    ),
    Scene(
        "OPTIONS of the whole server",
        (
            c.sends(request("OPTIONS *")),
            o.gets(forwarded("OPTIONS *")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3),),
        PLAIN,
    ),
    Scene(
        "a large answer",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"x" * 3_000_000)),
            c.gets(answer(b"x" * 3_000_000)),
        ),
        (Line(200, sent=3_000_000),),
        PLAIN,
        splits=False,
        closes=False,
    ),
    Scene(
        "an answer cut short by a reset",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")[:-1]),
            o.resets(),
            c.gets(answer(b"one")[:-1]),
            c.sees_reset(),
        ),
        (Line(200, "UC", sent=2),),
        ONCE,
    ),
    Scene(
        "an answer cut short by the end",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(OK_CHUNKED + chunks(b"on", b"e")[:-2]),
            o.ends(),
            c.gets(TO_CLIENT_CHUNKED + b"3\r\none\r\n"),
            c.sees_reset(),
        ),
        (Line(200, "UC"),),
        ONCE,
    ),
    Scene(
        "a client that idles is let go",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            waits(3601.0),
            c.sees_end(),
        ),
        (Line(200),),
        PLAIN,
    ),
)
