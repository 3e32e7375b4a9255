"""Enforces AuthorizationPolicies: facts of a request or connection in, a refusal out.

Called only where the directory has an `Authorizer`. Source: Envoy's HTTP and network RBAC filters. They
set no response flag; here a denial carries UAEX, the nearest of Envoy's, besides Envoy's details.
"""

from __future__ import annotations

from egressd.proxy.context import Exchange, Session
from egressd.proxy.http1.fields import header_map
from egressd.proxy.http1.request import RequestHead
from egressd.proxy.reply import LocalReply
from egressd.routing.authority import Authority
from egressd.routing.authorization import Authorizer, Facts, Verdict, parse_address
from egressd.routing.request import BETWEEN_VALUES
from egressd.telemetry.flags import ResponseFlag

FLAG = ResponseFlag.UAEX


def authorize_request(
    x: Exchange, authorizer: Authorizer, authority: Authority, port: int, path: bytes
) -> None:
    """Raises `LocalReply` 403 for a request that the policies deny. `port` is the addressed one, `path`
    the one that is compared."""
    facts = _facts(x, port)
    add_request(facts, x.head, authority, path, x.query, is_mesh=x.downstream.scope.is_mesh)
    _decide(x, authorizer, facts)


def add_request(
    facts: Facts,
    head: RequestHead,
    authority: Authority,
    path: bytes,
    query: bytes,
    *,
    is_mesh: bool,
) -> None:
    """What a request says, besides what its connection does."""
    facts.method = head.method.decode("latin-1")
    facts.authority = authority.text.decode()
    facts.host = authority.without_port
    facts.path = path.decode("latin-1")
    facts.query = query.decode("latin-1")
    facts.headers = header_map(head.lines, BETWEEN_VALUES)
    if facts.destination is None and is_mesh:
        facts.destination = parse_address(authority.host)


def denial(verdict: Verdict) -> LocalReply | None:
    """The answer to what the policies deny."""
    if verdict.allowed:
        return None
    return LocalReply(403, "RBAC: access denied", flag=FLAG, details=verdict.details)


def authorize_session(session: Session, authorizer: Authorizer) -> None:
    """Raises `LocalReply` for a plain connection that the policies deny: it is to be closed."""
    _decide(session, authorizer, _facts(session, session.port))


def _facts(session: Session, port: int) -> Facts:
    downstream = session.downstream
    target = downstream.target_address
    if not target and not downstream.scope.is_mesh:
        target = _address_of(downstream.local)
    return Facts(
        source=parse_address(_address_of(downstream.remote)),
        principals=downstream.principals,
        destination=parse_address(target) if target else None,
        port=port,
        sni=downstream.sni,
        scheme=downstream.request.scheme.decode(),
    )


def _decide(session: Session, authorizer: Authorizer, facts: Facts) -> None:
    verdict = authorizer.decide(facts)
    session.context.recorder.authorized(verdict)
    if (refusal := denial(verdict)) is not None:
        raise refusal


def _address_of(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")
