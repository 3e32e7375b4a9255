"""What a response means: records, none, no such name, or no answer at all. Pure.

Source: RFC 1034 4.3.2 (CNAME), RFC 2308 (negative answers), RFC 2181 5 (one TTL a set).
"""

from __future__ import annotations

from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

_WITHOUT_SOA_S = 5.0
"""A negative answer that says no TTL should not be cached (RFC 2308 5): asked again soon."""

FOUND, NO_DATA, NO_NAME = "found", "nodata", "nxdomain"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was learnt about one name and type.

    `records` are in presentation form and in the server's order: addresses, or "priority weight port
    target." of SRV. `outcome` is a word for metrics: found, nodata, nxdomain, or a failure (timeout,
    servfail, refused, lame, ...), whose `reason` says more. `alias_of`: the server followed the CNAMEs
    up to this name and no further.
    """

    records: tuple[str, ...] = ()
    ttl_s: float = 0.0
    outcome: str = FOUND
    reason: str = ""
    alias_of: str = ""

    @property
    def is_failed(self) -> bool:
        """Whether nothing was learnt, so that what is known stands."""
        return self.outcome not in (FOUND, NO_DATA, NO_NAME)


def read_answer(message: dns.message.Message, kind: str, server: str) -> Answer:
    """The answer in a server's response to a question of type `kind`. `server` names it in reasons.

    The TTL is the least of the CNAMEs passed and of the records; of a negative answer the lesser of the
    SOA's TTL and minimum, and a few seconds without an SOA. Raises `dns.exception.DNSException` for
    a response that contradicts itself.
    """
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        word = dns.rcode.to_text(rcode)
        return Answer(outcome=word.lower(), reason=f"{word} from {server}")
    assert isinstance(message, dns.message.QueryMessage)
    chain = message.resolve_chaining()
    if chain.answer is not None:
        records = tuple(dict.fromkeys(str(record) for record in chain.answer))
        return Answer(records, float(chain.minimum_ttl))
    types = {rrset.rdtype for rrset in message.authority}
    has_soa = dns.rdatatype.SOA in types
    ttl_s = float(chain.minimum_ttl) if has_soa else _WITHOUT_SOA_S
    if rcode == dns.rcode.NXDOMAIN:
        return Answer((), ttl_s, NO_NAME)
    if chain.cnames and not has_soa:
        ttl_s = float(min(rrset.ttl for rrset in chain.cnames))
        return Answer((), ttl_s, NO_DATA, alias_of=str(chain.canonical_name))
    if dns.rdatatype.NS in types and not has_soa and not message.flags & dns.flags.AA:
        reason = f"{server} refers to other servers instead of asking them"
        return Answer(outcome="lame", reason=reason)
    return Answer((), ttl_s, NO_DATA)
