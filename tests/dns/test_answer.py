"""What a response means, from its text form."""

from __future__ import annotations

import dns.message
import dns.name
import pytest

from egressd.dns.answer import Answer, read_answer

A = "api.test. IN A"
SOA = "test. 900 IN SOA ns.test. root.test. 1 2 3 4 30"


def response(
    question: str = A,
    *,
    rcode: str = "NOERROR",
    flags: str = "QR RD RA",
    answer: str = "",
    authority: str = "",
) -> dns.message.Message:
    """A response as text, records separated by "|"."""
    sections = (";QUESTION", question, ";ANSWER", *answer.split("|"))
    text = (
        "id 1",
        "opcode QUERY",
        f"rcode {rcode}",
        f"flags {flags}",
        *sections,
        ";AUTHORITY",
        *authority.split("|"),
    )
    return dns.message.from_text("\n".join(filter(None, text)))


ROWS = [
    ("addresses in order", response(answer="api.test. 60 IN A 10.0.0.2|api.test. 60 IN A 10.0.0.1"),
     Answer(("10.0.0.2", "10.0.0.1"), 60.0)),
    ("a chain has its least TTL",
     response(answer="api.test. 30 IN CNAME b.test.|b.test. 5 IN CNAME c.t.|c.t. 60 IN A 10.0.0.1"),
     Answer(("10.0.0.1",), 5.0)),
    ("a chain that the server left",
     response(answer="api.test. 30 IN CNAME b.test.|b.test. 5 IN CNAME c.example."),
     Answer((), 5.0, "nodata", alias_of="c.example.")),
    ("no data: the lesser of the SOA's TTL and minimum", response(authority=SOA),
     Answer((), 30.0, "nodata")),
    ("a chain to a name without data", response(answer="api.test. 7 IN CNAME b.test.", authority=SOA),
     Answer((), 7.0, "nodata")),
    ("no such name", response(rcode="NXDOMAIN", authority=SOA), Answer((), 30.0, "nxdomain")),
    ("no data without SOA: a few seconds", response(), Answer((), 5.0, "nodata")),
    ("servfail", response(rcode="SERVFAIL"), Answer(outcome="servfail", reason="SERVFAIL from ns")),
    ("refused", response(rcode="REFUSED"), Answer(outcome="refused", reason="REFUSED from ns")),
    ("a referral is no answer", response(flags="QR", authority="test. 900 IN NS ns.test."),
     Answer(outcome="lame", reason="ns refers to other servers instead of asking them")),
    ("records of other names are not taken", response(answer="evil.test. 60 IN A 10.6.6.6"),
     Answer((), 5.0, "nodata")),
]  # fmt: skip


@pytest.mark.parametrize(("message", "found"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS])
def test_a_response_is_read(message: dns.message.Message, found: Answer) -> None:
    assert read_answer(message, "A", "ns") == found


def test_srv_keeps_priority_weight_port_and_target() -> None:
    message = response("s.test. IN SRV", answer="s.test. 9 IN SRV 10 5 8080 a.test.")
    assert read_answer(message, "SRV", "ns") == Answer(("10 5 8080 a.test.",), 9.0)


def test_only_failures_leave_what_is_known() -> None:
    outcomes = ("found", "nodata", "nxdomain", "servfail", "timeout")
    assert [Answer(outcome=word).is_failed for word in outcomes] == [False] * 3 + [True] * 2
