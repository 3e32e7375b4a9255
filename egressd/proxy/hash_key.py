"""The key of consistent hashing out of a request. Pure, but for the cookie that it makes.

Source: Istio `ConsistentHashLB`, Envoy hash policies.
"""

from __future__ import annotations

from egressd.proxy.addresses import address_of
from egressd.proxy.context import Exchange
from egressd.proxy.http1.fields import split_fields
from egressd.routing.table import HeaderOps
from egressd.upstream.hashing import hash64
from egressd.upstream.spec import HashPolicy


def hash_value(x: Exchange, policy: HashPolicy) -> int | None:
    """The key; a cookie that the client has not is made where the policy says so."""
    key = hash_of(policy, address_of(x.downstream.remote), x.head.lines, x.query)
    if key is None and policy.kind == "cookie" and policy.ttl_s is not None:
        return hash64(_new_cookie(x, policy))
    return key


def hash_of(policy: HashPolicy, source: str, lines: bytes, query: bytes) -> int | None:
    """The key that a request from `source` has; None for none: then the choice is random (Envoy)."""
    if policy.kind == "source_ip":
        return hash64(source)
    if policy.kind == "header":
        return hash_header(lines, policy.name)
    if policy.kind == "query":
        found = query_parameter(query, policy.name)
        return None if found is None else hash64(found)
    sent = cookie(lines, policy.name)
    return hash64(sent) if sent else None


def hash_header(lines: bytes, name: bytes) -> int | None:
    """The key of a header. Several values count whatever their order (Envoy: sorted, each hashed
    with the hash before it as the seed)."""
    values = sorted(value for field, value in split_fields(lines) if field.lower() == name)
    if not values:
        return None
    key = 0
    for value in values:
        key = hash64(value, key)
    return key


def query_parameter(query: bytes, name: bytes) -> bytes | None:
    """The first parameter of a name, its value as sent."""
    for part in query.split(b"&"):
        key, _, value = part.partition(b"=")
        if key == name and part:
            return value
    return None


def cookie(lines: bytes, name: bytes) -> bytes:
    """The value of a cookie (RFC 6265 5.4), b"" without it."""
    for field, value in split_fields(lines):
        if field.lower() == b"cookie":
            for part in value.split(b";"):
                key, _, found = part.strip().partition(b"=")
                if key == name:
                    return found.strip(b'"')
    return b""


def _new_cookie(x: Exchange, policy: HashPolicy) -> bytes:
    """A cookie for a client that has none: it comes back to the endpoint of this request."""
    value = b"%016x" % x.context.bits(64)
    parts = [b"%b=%b" % (policy.name, value)]
    if policy.ttl_s:
        parts.append(b"Max-Age=%d" % int(policy.ttl_s))
    if policy.path:
        parts.append(b"Path=" + policy.path)
    parts += [b"%b=%b" % (n, v) if v else n for n, v in policy.attributes]
    parts.append(b"HttpOnly")
    before = x.extra_headers or HeaderOps()
    x.extra_headers = HeaderOps(
        set=before.set, add=(*before.add, (b"set-cookie", b"; ".join(parts))), remove=before.remove
    )
    return value
