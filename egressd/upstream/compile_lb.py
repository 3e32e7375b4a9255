"""The load balancing part of a cluster (Istio `LoadBalancerSettings`, `RetryBudget`)."""

from __future__ import annotations

from egressd.api.destination_rule import (
    ConsistentHashLB,
    LoadBalancerSettings,
    LocalityLoadBalancerSetting,
    RetryBudget,
    ZoneAwareLoadBalancerSetting,
)
from egressd.registry.profile import NodeProfile
from egressd.upstream import retry_budget, warmup
from egressd.upstream.hashing import DEFAULT_MIN_RING_SIZE, DEFAULT_TABLE_SIZE
from egressd.upstream.locality import LocalityPolicy, matches
from egressd.upstream.spec import HashPolicy, HashTable


def hash_policy(settings: ConsistentHashLB | None) -> HashPolicy | None:
    """Which part of a request is hashed (Istio `ConsistentHashLB.hash_key`)."""
    if settings is None:
        return None
    if settings.http_header_name is not None:
        return HashPolicy("header", settings.http_header_name.lower().encode())
    if settings.http_cookie is not None:
        cookie = settings.http_cookie
        attributes = tuple((a.name.encode(), a.value.encode()) for a in cookie.attributes)
        return HashPolicy(
            "cookie", cookie.name.encode(), cookie.ttl, cookie.path.encode(), attributes
        )
    if settings.http_query_parameter_name is not None:
        return HashPolicy("query", settings.http_query_parameter_name.encode())
    return HashPolicy("source_ip") if settings.use_source_ip else None


def hash_table(settings: ConsistentHashLB | None) -> HashTable | None:
    """Ring hash (the default) or Maglev; `minimumRingSize` is the old spelling of `ringHash`'s."""
    if settings is None:
        return None
    if settings.maglev is not None:
        return HashTable("maglev", settings.maglev.table_size or DEFAULT_TABLE_SIZE)
    ring = settings.ring_hash.minimum_ring_size if settings.ring_hash is not None else 0
    return HashTable("ring", ring or settings.minimum_ring_size or DEFAULT_MIN_RING_SIZE)


def locality_policy(
    settings: LoadBalancerSettings | None, profile: NodeProfile, *, detects_outliers: bool
) -> LocalityPolicy | None:
    """Istio: a distribution always applies; priorities only with outlier detection, which is what takes
    an endpoint out. They are on by default where the node knows its locality."""
    setting: LocalityLoadBalancerSetting | ZoneAwareLoadBalancerSetting | None = None
    if settings is not None:
        setting = settings.locality_lb_setting or settings.zone_aware_lb_setting
    if setting is not None and setting.enabled is False:
        return None
    distribute: tuple[tuple[str, int], ...] = ()
    if isinstance(setting, LocalityLoadBalancerSetting):
        for entry in setting.distribute:
            if matches(entry.from_, profile.locality):
                distribute = tuple(entry.to.items())
                break
    if not distribute and not detects_outliers:
        return None
    labels_first = setting.failover_priority if setting is not None else ()
    if not distribute and not labels_first and not profile.locality[0]:
        return None
    region = profile.locality[0]
    failover = setting.failover if setting is not None else ()
    return LocalityPolicy(
        locality=profile.locality,
        labels=tuple(profile.labels.items()),
        network=profile.network,
        distribute=distribute,
        failover_to=next((f.to for f in failover if f.from_ == region), ""),
        failover_priority=labels_first,
    )


def warmup_of(settings: LoadBalancerSettings | None) -> warmup.Warmup | None:
    """Istio `warmup`, or the old `warmupDurationSecs`."""
    if settings is None:
        return None
    if settings.warmup is not None and settings.warmup.duration:
        given = settings.warmup
        minimum = 10.0 if given.minimum_percent is None else given.minimum_percent
        return warmup.Warmup(given.duration, minimum, given.aggression or 1.0)
    if settings.warmup_duration_secs:
        return warmup.Warmup(settings.warmup_duration_secs)
    return None


def retry_budget_of(settings: RetryBudget | None) -> retry_budget.RetryBudget | None:
    """Istio `retryBudget`: 20 % of the requests under way, at least 3, where it does not say."""
    if settings is None:
        return None
    percent = 20.0 if settings.percent is None else settings.percent
    return retry_budget.RetryBudget(
        percent, settings.min_retry_concurrency or 3, settings.budget_interval or 0.0
    )
