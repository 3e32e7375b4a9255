"""Step 7, the endpoints of a destination: by locality, with their share and health, and which of them
consistent hashing chooses."""

from __future__ import annotations

from collections.abc import Callable

from egressd.admin.state import ClusterView, EndpointView
from egressd.explain.model import EndpointLine, HashChoice, LevelLines
from egressd.explain.policy import hash_words
from egressd.proxy.hash_key import hash_of
from egressd.upstream.arrange import Level, levels_of, set_weights
from egressd.upstream.hashing import build_table
from egressd.upstream.outlier import is_panic
from egressd.upstream.spec import ClusterSpec, EndpointSpec


class Shown:
    """One endpoint as balancers see it, with the health that a node reports."""

    def __init__(self, spec: EndpointSpec, seen: EndpointView | None) -> None:
        self.spec = spec
        self.id = spec.id
        self.seen = seen
        self.weight = 1
        self.active = 0
        self.current = 0
        self.joined = 0.0


def known_names(cluster: ClusterView | None) -> Callable[[str], tuple[str, ...] | None]:
    """DNS answers as a node's cluster shows them; None for a name that nobody asked for."""
    found: dict[str, tuple[str, ...]] = {}
    for endpoint in cluster.endpoints if cluster is not None else ():
        address = endpoint.id.rpartition(":")[0].strip("[]")
        found[endpoint.hostname] = (*found.get(endpoint.hostname, ()), address)
    return found.get


def shown_endpoints(specs: list[EndpointSpec], cluster: ClusterView | None) -> list[Shown]:
    """Endpoints with their weights, as a worker's cluster sets them."""
    health = {one.id: one for one in cluster.endpoints} if cluster is not None else {}
    shown = [Shown(spec, health.get(spec.id)) for spec in specs]
    set_weights(shown, None, 0.0)
    return shown


def balanced(spec: ClusterSpec, endpoints: list[Shown]) -> list[Level[Shown]]:
    """The endpoints by level with what each level gets."""
    ready = [one for one in endpoints if one.seen is None or one.seen.healthy]
    if spec.outlier is None or is_panic(spec.outlier, len(ready), len(endpoints)):
        ready = endpoints
    if spec.locality is None:
        return [Level(100.0 if ready else 0.0, endpoints, ready)]
    return levels_of(spec.locality, endpoints, ready)


def level_lines(levels: list[Level[Shown]], asked: bool) -> tuple[LevelLines, ...]:
    """The levels as values; `asked`: a node has said what it knows."""
    total = sum(level.load for level in levels if level.ready)
    lines = []
    for level in levels:
        share = 100.0 * level.load / total if total and level.ready else 0.0
        weight = sum(one.weight for one in level.ready)
        up = set(map(id, level.ready))
        lines.append(
            LevelLines(
                round(share, 2),
                tuple(
                    _line(one, share * one.weight / weight if id(one) in up else 0.0, asked)
                    for one in level.members
                ),
            )
        )
    return tuple(lines)


def _line(endpoint: Shown, share: float, asked: bool) -> EndpointLine:
    spec, seen = endpoint.spec, endpoint.seen
    health, left, times, errors = "unused" if asked else "unknown", 0.0, 0, 0
    if seen is not None:
        health = "healthy" if seen.healthy else "ejected"
        left, times, errors = seen.ejected_for_s, seen.times_ejected, seen.consecutive_errors
    return EndpointLine(
        spec.id,
        spec.hostname,
        spec.weight,
        round(share, 2),
        "/".join(spec.locality).rstrip("/"),
        dict(spec.labels),
        health,
        left,
        times,
        errors,
    )


def hash_choice(
    spec: ClusterSpec,
    endpoints: list[Shown],
    levels: list[Level[Shown]],
    source: str,
    lines: bytes,
    query: bytes,
) -> HashChoice | None:
    """Where consistent hashing sends a request with these field lines; None where there is none."""
    policy, table = spec.hash_policy, spec.hash_table
    if policy is None or table is None:
        return None
    words = hash_words(policy)
    if policy.kind == "source_ip" and not source:
        return HashChoice(f"{words}, which is not known here (--source-ip)", None)
    key = hash_of(policy, source, lines, query)
    if key is None:
        made = policy.kind == "cookie" and policy.ttl_s is not None
        return HashChoice(
            f"{words}: the request has none{', a new one is set' if made else ''}", None
        )
    chosen = [
        build_table(table.kind, table.size, level.ready, endpoints).choose(key).id
        for level in levels
        if level.ready and level.load > 0.0
    ]
    return HashChoice(words, key, tuple(chosen))
