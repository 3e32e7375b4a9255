"""Cross-origin requests: what a route's CORS policy answers and adds. Pure.

Source: Istio `CorsPolicy`, Envoy's CORS filter, the Fetch standard (CORS preflight).
"""

from __future__ import annotations

from collections.abc import Mapping

from egressd.proxy.reply import LocalReply
from egressd.routing.table import Cors, HeaderOps


def answer_preflight(
    cors: Cors, method: bytes, headers: Mapping[bytes, bytes]
) -> LocalReply | None:
    """The answer to a preflight; None for every other request, which goes on."""
    if method != b"OPTIONS" or not headers.get(b"access-control-request-method"):
        return None
    origin = headers.get(b"origin")
    if not origin:
        return None
    if not allows(cors, origin) and cors.forward_unmatched_preflights:
        return None
    # Envoy says what the policy allows even to an origin that it does not allow; without
    # access-control-allow-origin the browser refuses all the same.
    sent = [
        *response_ops(cors, headers).set,
        (b"access-control-allow-methods", cors.methods),
        (b"access-control-allow-headers", cors.headers),
        (b"access-control-max-age", cors.max_age),
    ]
    fields = tuple(field for field in sent if field[1])
    return LocalReply(200, "", details="cors_response", headers=fields)


def allows(cors: Cors, origin: bytes) -> bool:
    """Whether an origin is one of `allowOrigins`."""
    return any(test(origin) for test in cors.origins)


def response_ops(cors: Cors, headers: Mapping[bytes, bytes]) -> HeaderOps:
    """What is set on the response of a cross-origin request, in place of the origin server's own."""
    origin = headers.get(b"origin")
    if not origin or not allows(cors, origin):
        return HeaderOps()
    fields = [(b"access-control-allow-origin", origin)]
    if cors.credentials:
        fields.append((b"access-control-allow-credentials", b"true"))
    if cors.expose:
        fields.append((b"access-control-expose-headers", cors.expose))
    return HeaderOps(set=tuple(fields))
