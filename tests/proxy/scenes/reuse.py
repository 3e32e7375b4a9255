"""Connections used again, and what must not be taken for an answer on them."""

from __future__ import annotations

from tests.proxy.scenes.basic import OK_CHUNKED, TO_CLIENT_CHUNKED
from tests.proxy.scenes.script import (
    ONCE,
    PLAIN,
    Line,
    Scene,
    Step,
    answer,
    c,
    c2,
    chunks,
    forwarded,
    lines,
    o,
    o2,
    request,
)
from tests.proxy.scenes.wire import responses

STRAY = answer(b"STRAY")
"""A second answer that nobody asked for."""


def behind(name: str, first: bytes, stray: bytes, client: bytes, asked: str = "GET /1") -> Scene:
    """Bytes behind an answer in the same segment (over TLS in the next record): the next request goes
    to another connection."""
    steps = (
        c.sends(request(asked)),
        o.gets(forwarded(asked)),
        o.sends(first, stray),
        c.gets(client),
        *_next_on_another(),
    )
    return Scene(name, steps, (_first_line(first), Line(200, sent=3)), PLAIN)


def _first_line(answered: bytes) -> Line:
    found, _ = responses(answered, [b"GET"])
    return Line(found[-1].status)


def later(name: str, *writes: bytes, client: bytes, asked: str = "GET /1") -> Scene:
    """The same in segments, one after the other."""
    steps = (
        c.sends(request(asked)),
        o.gets(forwarded(asked)),
        *(o.sends(one) for one in writes),
        c.gets(client),
        *_next_on_another(),
    )
    return Scene(name, steps, (_first_line(client), Line(200, sent=3)), PLAIN)


def _next_on_another() -> tuple[Step, ...]:
    return (
        c2.sends(request("GET /2")),
        o2.gets(forwarded("GET /2")),
        o2.sends(answer(b"two")),
        c2.gets(answer(b"two")),
    )


NO_CONTENT = lines("HTTP/1.1 204 No Content", "")
NOT_MODIFIED = lines("HTTP/1.1 304 Not Modified", "")
HEADERS = lines("HTTP/1.1 200 OK", "Content-Length: 5", "")
HINTS = lines("HTTP/1.1 103 Early Hints", "Link: </s>", "")

SCENES = (
    Scene(
        "one connection for two requests of one client",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(answer(b"two")),
        ),
        (Line(200, sent=3), Line(200, sent=3)),
        PLAIN,
    ),
    Scene(
        "one connection for two clients",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200, sent=3), Line(200, sent=3)),
        PLAIN,
    ),
    Scene(
        "two clients at once have a connection each",
        (
            c.sends(request("GET /1")),
            c2.sends(request("GET /2")),
            o.gets(forwarded("GET /1")),
            o2.gets(forwarded("GET /2")),
            o2.sends(answer(b"two")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.gets(answer(b"two")),
        ),
        (Line(200, sent=3), Line(200, sent=3)),
        PLAIN,
    ),
    Scene(
        "pipelined requests are answered in order",
        (
            c.sends(request("GET /1") + request("GET /2") + request("GET /3")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            o.gets(forwarded("GET /3")),
            o.sends(answer(b"three")),
            c.gets(answer(b"one") + answer(b"two") + answer(b"three")),
        ),
        (Line(200, sent=3), Line(200, sent=3), Line(200, sent=5)),
        PLAIN,
    ),
    Scene(
        "a request pipelined behind a body",
        (
            c.sends(request("POST /1", body=b"abc") + request("GET /2")),
            o.gets(forwarded("POST /1", body=b"abc")),
            o.sends(answer(b"one")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(answer(b"one") + answer(b"two")),
        ),
        (Line(200, sent=3, received=3), Line(200, sent=3)),
        PLAIN,
    ),
    Scene(
        "a connection that its server has closed is not used again",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            o.ends(),
            c.gets(answer(b"one")),
            *_next_on_another(),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "a connection that its server resets is not used again",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            o.resets(),
            *_next_on_another(),
        ),
        (Line(200), Line(200)),
        PLAIN,
    ),
    Scene(
        "a request that meets the end of its kept connection is sent once more",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.sends(request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.resets(),
            o2.gets(forwarded("GET /2")),
            o2.sends(answer(b"two")),
            c2.gets(answer(b"two")),
        ),
        (Line(200), Line(200)),
        ONCE,
    ),
    Scene(
        "a POST that meets the end of its kept connection is not sent again",
        (
            c.sends(request("GET /1")),
            o.gets(forwarded("GET /1")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
            c2.sends(request("POST /2", body=b"abc")),
            o.gets(forwarded("POST /2", body=b"abc")),
            o.resets(),
        ),
        (Line(200), Line(503, "UC")),
        ONCE,
    ),
    # -- bytes behind an answer, in one segment ------------------------------------------------
    behind("a second answer behind one with a length", answer(b"one"), STRAY, answer(b"one")),
    behind("one byte behind an answer", answer(b"one"), b"H", answer(b"one")),
    behind("half a head behind an answer", answer(b"one"), STRAY[:20], answer(b"one")),
    behind("an empty line behind an answer", answer(b"one"), b"\r\n", answer(b"one")),
    behind("a second answer behind 204", NO_CONTENT, STRAY, NO_CONTENT),
    behind("a second answer behind 304", NOT_MODIFIED, STRAY, NOT_MODIFIED),
    behind("a body behind the answer to HEAD", HEADERS, b"hello", HEADERS, "HEAD /1"),
    behind("a second answer behind an empty one", answer(b""), STRAY, answer(b"")),
    behind(
        "a second answer behind a chunked one",
        OK_CHUNKED + chunks(b"one"),
        STRAY,
        TO_CLIENT_CHUNKED + chunks(b"one"),
    ),
    behind("a second answer behind hints", HINTS + answer(b"one"), STRAY, HINTS + answer(b"one")),
    # -- and in segments -----------------------------------------------------------------------
    later(
        "the rest of a body with a second answer",
        answer(b"hello")[:-2],
        b"lo" + STRAY,
        client=answer(b"hello"),
    ),
    later("a second answer later", answer(b"one"), STRAY, client=answer(b"one")),
    later("half a head later", answer(b"one"), STRAY[:20], client=answer(b"one")),
    later("a second answer behind 204 later", NO_CONTENT, STRAY, client=NO_CONTENT),
    later("a second answer behind 304 later", NOT_MODIFIED, STRAY, client=NOT_MODIFIED),
    later(
        "a second answer behind a chunked one later",
        OK_CHUNKED + chunks(b"one"),
        STRAY,
        client=TO_CLIENT_CHUNKED + chunks(b"one"),
    ),
    later(
        "the last chunk with a second answer",
        OK_CHUNKED + b"3\r\none\r\n",
        b"0\r\n\r\n" + STRAY,
        client=TO_CLIENT_CHUNKED + chunks(b"one"),
    ),
    later(
        "the body of an answer to HEAD later", HEADERS, b"hello", client=HEADERS, asked="HEAD /1"
    ),
)
