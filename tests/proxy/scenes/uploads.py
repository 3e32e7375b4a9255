"""Requests with bodies: framing, 100 (Continue) in every order, answers before the body's end."""

from __future__ import annotations

from tests.proxy.scenes.basic import OK_CHUNKED, TO_CLIENT_CHUNKED
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
    o,
    o2,
    reply,
    request,
    routes,
    waits,
)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = "Transfer-Encoding: chunked"
TO_ORIGIN_CHUNKED = forwarded("POST /1").replace(
    b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"
)
LENGTH_6 = forwarded("POST /1", "Content-Length: 6")
EXPECTING = request("POST /1", "Content-Length: 6", "Expect: 100-continue")
FORWARDED_EXPECTING = forwarded("POST /1", "Content-Length: 6", "Expect: 100-continue")
LAST = b"\r\nconnection: close\r\n\r\n"


def no_name(host: str) -> bytes:
    """The answer for a name that no resource has."""
    text = (
        f"{host}: no ServiceEntry or VirtualService names this host "
        "(outboundTrafficPolicy REGISTRY_ONLY)"
    )
    return reply("502 Bad Gateway", text, "NR")


def last(answered: bytes) -> bytes:
    """The same, and the connection ends behind it."""
    return answered.replace(b"\r\n\r\n", LAST, 1)


SCENES = (
    Scene(
        "a body with its head",
        (
            c.sends(request("POST /1", body=b"abcdef")),
            o.gets(forwarded("POST /1", body=b"abcdef")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
    ),
    Scene(
        "a body behind its head",
        (
            c.sends(request("POST /1", "Content-Length: 6")),
            o.gets(LENGTH_6),
            c.sends(b"abc"),
            o.gets(b"abc"),
            c.sends(b"def"),
            o.gets(b"def"),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
    ),
    Scene(
        "a chunked body with trailers",
        (
            c.sends(request("POST /1", CHUNKED)),
            c.sends(chunks(b"abc", b"def", trailers=b"X-T: 1\r\n")),
            o.gets(TO_ORIGIN_CHUNKED + chunks(b"abcdef", trailers=b"X-T: 1\r\n")),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
    ),
    Scene(
        "an empty chunked body",
        (
            c.sends(request("POST /1", CHUNKED) + chunks()),
            o.gets(TO_ORIGIN_CHUNKED + chunks()),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=0),),
        PLAIN,
    ),
    Scene(
        "bodies both ways at once",
        (
            c.sends(request("POST /1", CHUNKED) + chunks(b"abc")[:-5]),
            o.gets(TO_ORIGIN_CHUNKED + chunks(b"abc")[:-5]),
            c.sends(chunks()),
            o.gets(chunks()),
            o.sends(OK_CHUNKED + chunks(b"on", b"e")),
            c.gets(TO_CLIENT_CHUNKED + chunks(b"one")),
        ),
        (Line(200, sent=3, received=3),),
        PLAIN,
    ),
    Scene(
        "a large body, kept no further than the bound",
        (
            c.sends(request("POST /1", body=b"y" * 2_000_000)),
            o.gets(forwarded("POST /1", body=b"y" * 2_000_000)),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, received=2_000_000),),
        PLAIN,
        splits=False,
        closes=False,
    ),
    Scene(
        "the origin says 100 and the client goes on",
        (
            c.sends(EXPECTING),
            o.gets(FORWARDED_EXPECTING),
            o.sends(CONTINUE),
            c.gets(CONTINUE),
            c.sends(b"abcdef"),
            o.gets(b"abcdef"),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
    ),
    Scene(
        "the origin says nothing and the client is told to go on",
        (
            c.sends(EXPECTING),
            o.gets(FORWARDED_EXPECTING),
            waits(1.1),
            c.gets(CONTINUE),
            c.sends(b"abcdef"),
            o.gets(b"abcdef"),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
    ),
    Scene(
        "the origin refuses instead of saying 100",
        (
            c.sends(EXPECTING),
            o.gets(FORWARDED_EXPECTING),
            o.sends(answer(b"no", start="417 Expectation Failed")),
            c.gets(last(answer(b"no", start="417 Expectation Failed"))),
            c.sees_end(),
        ),
        (Line(417, sent=2, received=0),),
        PLAIN,
    ),
    Scene(
        "the client does not wait for 100",
        (
            c.sends(EXPECTING + b"abcdef"),
            o.gets(FORWARDED_EXPECTING + b"abcdef"),
            o.sends(CONTINUE + answer(b"one")),
            c.gets(CONTINUE + answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
        splits=False,  # where the split falls decides whether the origin is asked first
    ),
    Scene(
        "an expectation with an empty chunked body that is whole",
        (
            c.sends(request("POST /1", CHUNKED, "Expect: 100-continue") + chunks()),
            o.gets(
                forwarded("POST /1", "Expect: 100-continue").replace(
                    b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                + chunks()
            ),
            o.sends(CONTINUE + answer(b"one")),
            c.gets(CONTINUE + answer(b"one")),
        ),
        (Line(200, sent=3, received=0),),
        PLAIN,
        splits=False,  # where the split falls decides whether the origin is asked first
    ),
    Scene(
        "100, hints and the answer",
        (
            c.sends(EXPECTING),
            o.gets(FORWARDED_EXPECTING),
            o.sends(CONTINUE + lines("HTTP/1.1 103 Early Hints", "Link: </s>", "")),
            c.gets(CONTINUE + lines("HTTP/1.1 103 Early Hints", "Link: </s>", "")),
            c.sends(b"abcdef"),
            o.gets(b"abcdef"),
            o.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN,
    ),
    Scene(
        "an answer before the body has come",
        (
            c.sends(request("POST /1", "Content-Length: 6")),
            o.gets(LENGTH_6),
            o.sends(answer(b"no", start="413 Content Too Large")),
            c.gets(last(answer(b"no", start="413 Content Too Large"))),
            c.sees_end(),
            o.sees_end(),
        ),
        (Line(413, sent=2, received=0),),
        PLAIN,
    ),
    Scene(
        "an answer and the end before the body has come",
        (
            c.sends(request("POST /1", "Content-Length: 6") + b"ab"),
            o.gets(LENGTH_6 + b"ab"),
            o.sends(answer(b"no", "Connection: close", start="413 Content Too Large")),
            o.ends(),
            c.gets(last(answer(b"no", start="413 Content Too Large"))),
            c.sees_end(),
        ),
        (Line(413, sent=2, received=2),),
        PLAIN,
    ),
    Scene(
        "a client that ends within its body",
        (
            c.sends(request("POST /1", "Content-Length: 100") + b"half"),
            c.ends(),
            waits(0.1),
            o.sees_end(),
            c.sees_end(),
        ),
        (Line(0, "DC", details="downstream_remote_disconnect"),),
        PLAIN,
        closes=False,
    ),
    Scene(
        "a client that is gone within its body",
        (
            c.sends(request("POST /1", "Content-Length: 100") + b"half"),
            c.resets(),
            waits(0.1),
            o.sees_end(),
        ),
        (Line(0, "DC", details="downstream_remote_disconnect"),),
        PLAIN,
        closes=False,
    ),
    Scene(
        "a body that is no chunked coding",
        (
            c.sends(request("POST /1", CHUNKED)),
            c.sends(b"zz\r\n"),
            c.gets(reply("400 Bad Request", "malformed chunk size", "DPE", closes=True)),
            o.sees_end(),
        ),
        (Line(400, "DPE"),),
        PLAIN,
    ),
    Scene(
        "a body sent again to the next endpoint",
        (
            c.sends(request("POST /1", body=b"abcdef")),
            o.gets(forwarded("POST /1", body=b"abcdef")),
            o.sends(answer(b"no", start="503 Service Unavailable")),
            waits(0.3),
            o2.gets(forwarded("POST /1", body=b"abcdef")),
            o2.sends(answer(b"one")),
            c.gets(answer(b"one")),
        ),
        (Line(200, sent=3, received=6),),
        PLAIN + routes(f"[{{retries: {{attempts: 2, retryOn: 5xx}}, {TO_A}}}]"),
    ),
    Scene(
        "a body past the bound is not sent again",
        (
            c.sends(request("POST /1", "Content-Length: 60")),
            o.gets(forwarded("POST /1", "Content-Length: 60")),
            c.sends(b"x" * 30),
            c.sends(b"x" * 29),
            o.gets(b"x" * 59),
            o.resets(),
        ),
        (Line(503, "UC"),),
        PLAIN + routes(f"[{{retries: {{attempts: 2, retryOn: reset}}, {TO_A}}}]"),
        settings={"retry_buffer_bytes": 16},
        splits=False,
    ),
    Scene(
        "a local answer drops a body that came whole",
        (
            c.sends(request("POST /1", body=b"abc", host="no.x") + request("GET /2")),
            o.gets(forwarded("GET /2")),
            o.sends(answer(b"two")),
            c.gets(no_name("no.x") + answer(b"two")),
        ),
        (Line(502, "NR"), Line(200)),
        ONCE,
        splits=False,  # a body that comes later closes the connection
    ),
)
