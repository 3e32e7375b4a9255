"""Steps 6 and 7, where it goes: each destination with its effective policy and its endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from egressd.api.counted import counted
from egressd.api.export import is_exported
from egressd.api.names import is_tls
from egressd.api.resource import Kind
from egressd.api.service_entry import Resolution
from egressd.explain.endpoints import (
    balanced,
    hash_choice,
    known_names,
    level_lines,
    shown_endpoints,
)
from egressd.explain.model import By, Considered, DestinationLine, Outcome, Section, Sent
from egressd.explain.policy import policy_sections
from egressd.explain.question import Node
from egressd.explain.sources import by
from egressd.proxy.cluster_by_name import needs_name, spec_by_name
from egressd.proxy.reply import no_endpoint
from egressd.registry.join import is_part_of
from egressd.registry.lookup import candidates
from egressd.registry.records import Record
from egressd.registry.rules import selects
from egressd.routing.table import ClusterKey
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.address_policy import DENIED
from egressd.upstream.compile import Sources, UnknownCluster, cluster_sources, compile_cluster
from egressd.upstream.dns import host_names, resolved_endpoints, without_denied
from egressd.upstream.spec import ClusterSpec
from egressd.upstream.tls import TlsConfigError, client_context, context_key


@dataclass(frozen=True, slots=True)
class Aim:
    """What is sent to a destination, and how it is chosen. `host` is the name as the client has it;
    `lines` and `query` are what hashing looks at, None for connections, which are not hashed."""

    host: str
    source: str = ""
    lines: bytes | None = None
    query: bytes = b""
    originates_tls: bool = True


def destination_line(
    node: Node, aim: Aim, key: ClusterKey, weight: int, share: float, sent: Sent | None,
    route: tuple[Section, ...] = (),
) -> DestinationLine:  # fmt: skip
    """One destination that the route or the service names."""
    line = DestinationLine(
        str(key), key.host, key.subset, key.port, weight, round(share, 2), sent=sent
    )
    reached = node.reached
    try:
        sources = cluster_sources(reached, key, node.profile)
        spec = compile_cluster(reached, key, node.profile)
    except UnknownCluster as unknown:
        return msgspec.structs.replace(line, problem=_unusable(503, ResponseFlag.NC, str(unknown)))
    if needs_name(spec):
        spec = spec_by_name(aim.host, key.port, spec, node.addresses)
    line = msgspec.structs.replace(
        line,
        cluster=str(spec.key),
        service_entries=_entries(node, sources),
        destination_rules=tuple(_rules(node, key, sources)),
        policy=(*route, *policy_sections(spec, sources)),
    )
    return _filled(node, aim, line, spec, sources)


def unknown_line(node: Node, aim: Aim, port: int, sent: Sent | None) -> DestinationLine:
    """Where a name goes that nothing names (ALLOW_ANY)."""
    spec = spec_by_name(aim.host, port, None, node.addresses)
    line = DestinationLine(str(spec.key), spec.key.host, "", port, 100, 100.0, sent=sent)
    return _filled(node, aim, line, spec, None)


def _filled(
    node: Node, aim: Aim, line: DestinationLine, spec: ClusterSpec, sources: Sources | None
) -> DestinationLine:
    cluster = node.clusters.get(line.cluster) if node.clusters is not None else None
    notes = list(_notes(node, aim, spec, sources))
    specs, failure = list(spec.endpoints), ""
    trouble = cluster.name_trouble if cluster is not None else ""
    if spec.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
        if cluster is None and host_names(spec):
            notes.insert(0, "names are resolved when they are used")
        else:
            answered = resolved_endpoints(spec, known_names(cluster))
            specs = without_denied(answered)
            failure = DENIED if answered and not specs else ""
    endpoints = shown_endpoints(specs, cluster)
    if trouble and endpoints:
        notes.append(trouble)
    if cluster is not None and cluster.tls_answers and spec.tls is None:
        notes.append(
            f"{cluster.tls_answers} plain requests were answered as a TLS port answers them: no "
            "DestinationRule has tls for it"
        )
    levels = balanced(spec, endpoints)
    problem = None
    if failure:
        problem = _unusable(403, ResponseFlag.NC, failure)
    elif cluster is not None and cluster.failure:
        problem = _unusable(
            403 if cluster.failure == DENIED else 503,
            ResponseFlag.NC,
            cluster.failure,
        )
    elif not any(level.ready for level in levels):
        problem = _unusable(503, ResponseFlag.UH, no_endpoint(spec.key, len(endpoints), trouble))
    elif unusable := _tls_fault(spec, aim):
        if node.clusters is not None:
            problem = _unusable(503, ResponseFlag.UF, unusable)
        else:
            notes.append(f"read from here: {unusable}")
    return msgspec.structs.replace(
        line,
        problem=problem,
        resolution=str(spec.resolution),
        protocol=spec.protocol,
        levels=level_lines(levels, node.clusters is not None),
        hashing=None
        if aim.lines is None
        else hash_choice(spec, endpoints, levels, aim.source, aim.lines, aim.query),
        notes=tuple(notes),
    )


_DETAILS = {
    ResponseFlag.NC: "cluster_not_found",
    ResponseFlag.UH: "no_healthy_upstream",
}


def _unusable(status: int, flag: ResponseFlag, reason: str) -> Outcome:
    details = _DETAILS.get(flag, "")
    return Outcome("answered", reason, status, flag, details)


def _tls_fault(spec: ClusterSpec, aim: Aim) -> str:
    """Why the files of the TLS section cannot be used."""
    if spec.tls is None or not aim.originates_tls:
        return ""
    try:
        client_context(context_key(spec.tls))
    except TlsConfigError as error:
        return f"TLS origination: {error}"
    return ""


def _notes(node: Node, aim: Aim, spec: ClusterSpec, sources: Sources | None) -> Iterator[str]:
    for policy in {one.policy for one in spec.endpoints if one.policy is not None}:
        excepted = ", ".join(map(str, policy.allowed))
        yield "limits.deniedAddresses holds for the addresses of this name: a client chose it" + (
            f"; limits.allowedAddresses excepts {excepted}" if excepted else ""
        )
    if sources is None:
        return
    if spec.tls is not None and not aim.originates_tls:
        yield "CONNECT: what the client speaks goes on as it is, no TLS is originated"
    if spec.tls is None and aim.lines is not None and is_tls(spec.protocol):
        yield f"the port speaks {spec.protocol} and there is no tls section: the request goes in plain"
    if spec.hash_policy is not None and aim.lines is None:
        yield "consistentHash does not count for a connection without HTTP"
    if sources.policy.labels:
        labels = ",".join(f"{k}={v}" for k, v in sources.policy.labels.items())
        whole = compile_cluster(node.reached, spec.key._replace(subset=""), node.profile)
        yield (
            f"subset {spec.key.subset} ({labels}) is {len(spec.endpoints)} of "
            f"{counted(len(whole.endpoints), 'endpoint')}"
        )


def _entries(node: Node, sources: Sources) -> tuple[By, ...]:
    claims = node.view.claims(Kind.SERVICE_ENTRY, sources.service.host)
    return tuple(by(record) for record in claims if is_part_of(record, sources.service))


def _rules(node: Node, key: ClusterKey, sources: Sources) -> Iterator[Considered]:
    """The DestinationRules of the host: those that count, and why the others do not."""
    counted = {record.resource.ref for record in sources.rules}
    for pattern in candidates(key.host):
        for record in node.view.claims(Kind.DESTINATION_RULE, pattern):
            ref = record.resource.ref
            why = "" if ref in counted else _uncounted(node, record, sources)
            what = f"{ref} ({pattern})"
            yield Considered(what, ref in counted, (why,) if why else (), by(record))


def _uncounted(node: Node, record: Record, sources: Sources) -> str:
    profile = node.profile
    namespace = record.resource.metadata.namespace
    if not is_exported(record.resource, profile.namespace):
        return f"it is not exported to namespace {profile.namespace}"
    if not selects(record, profile):
        return "its workloadSelector is not this node"
    asked = (profile.namespace, sources.service.namespace, profile.root_namespace)
    if namespace not in asked:
        return f"its namespace is none of {', '.join(dict.fromkeys(asked))}"
    first = sources.rules[0].resource.ref if sources.rules else "another one"
    return f"{first} comes first"
