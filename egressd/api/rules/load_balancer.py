"""Istio `validateLoadBalancer` and `ValidateLocalityLbSetting`."""

from __future__ import annotations

import math
from typing import Final

from egressd.api.decode import join
from egressd.api.destination_rule import (
    ConsistentHashLB,
    HTTPCookie,
    LoadBalancerSettings,
    LocalityDistribute,
    LocalityFailover,
    LocalityLoadBalancerSetting,
    SimpleLB,
    WarmupConfiguration,
    ZoneAwareFailover,
)
from egressd.api.report import Report, quoted
from egressd.api.rules.shared import check_duration

MAGLEV_LIMIT: Final = 5_000_011
RING_LIMIT: Final = 8 * 1024 * 1024
"""Envoy's bound on the size of a hash ring."""
_TOPOLOGY: Final = frozenset(
    ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
)


def check_load_balancer(
    settings: LoadBalancerSettings | None, has_outlier: bool, path: str, report: Report
) -> None:
    """Reports each rule that the settings break; failover wants outlier detection beside."""
    if settings is None:
        return
    if settings.simple is SimpleLB.LEAST_CONN:
        report.warn(f"{path}.simple", "the deprecated LEAST_CONN", "LEAST_REQUEST; read as that")
    _check_hash(settings.consistent_hash, f"{path}.consistentHash", report)
    locality = settings.locality_lb_setting
    _check_locality(locality, has_outlier, f"{path}.localityLbSetting", report)
    utilization = settings.backend_utilization
    if utilization is not None and (utilization.error_utilization_penalty or 0) < 0:
        where = f"{path}.backendUtilization.errorUtilizationPenalty"
        report.error(where, f"{utilization.error_utilization_penalty:g}", "0 or more")
    zone_aware = settings.zone_aware_lb_setting
    if zone_aware is not None:
        if zone_aware.min_cluster_size == 0:
            report.error(f"{path}.zoneAwareLbSetting.minClusterSize", "0", "1 or more")
        where = f"{path}.zoneAwareLbSetting.failover"
        for index, failover in enumerate(zone_aware.failover):
            _check_failover(failover, f"{where}[{index}]", report)
    check_duration(settings.warmup_duration_secs, f"{path}.warmupDurationSecs", report)
    if settings.warmup_duration_secs is not None and settings.warmup is not None:
        found = "warmup beside warmupDurationSecs"
        report.error(f"{path}.warmup", found, "only one of the two")
    _check_warmup(settings.warmup, f"{path}.warmup", report)


def _check_hash(settings: ConsistentHashLB | None, path: str, report: Report) -> None:
    if settings is None:
        return
    cookie = settings.http_cookie
    if cookie is not None:
        _check_cookie(cookie, f"{path}.httpCookie", report)
    if settings.http_header_name == "":
        report.error(f"{path}.httpHeaderName", '""', "the name of a header")
    has_algorithm = settings.maglev is not None or settings.ring_hash is not None
    if settings.minimum_ring_size and has_algorithm:
        found = "minimumRingSize beside ringHash or maglev"
        report.error(f"{path}.minimumRingSize", found, "only one of them")
    _check_ring(settings.minimum_ring_size, f"{path}.minimumRingSize", report)
    if settings.ring_hash is not None:
        where = f"{path}.ringHash.minimumRingSize"
        _check_ring(settings.ring_hash.minimum_ring_size, where, report)
    if settings.maglev is not None:
        size = settings.maglev.table_size
        if not (size < MAGLEV_LIMIT and _is_prime(size)):
            expected = f"a prime number below {MAGLEV_LIMIT}"
            report.error(f"{path}.maglev.tableSize", str(size), expected)


def _check_cookie(cookie: HTTPCookie, path: str, report: Report) -> None:
    if not cookie.name:
        report.error(f"{path}.name", '""', "the name of a cookie")
    for index, attribute in enumerate(cookie.attributes):
        if not attribute.name:
            report.error(f"{path}.attributes[{index}].name", '""', "the name of an attribute")


def _check_ring(size: int, path: str, report: Report) -> None:
    if size > RING_LIMIT:
        report.error(path, str(size), f"at most {RING_LIMIT}")


def _is_prime(number: int) -> bool:
    """As Envoy counts: 1 passes for a prime (Istio copies that)."""
    if 0 < number < 4:
        return True
    if number % 2 == 0:
        return False
    return all(number % factor for factor in range(3, math.isqrt(number) + 1, 2))


def _check_warmup(warmup: WarmupConfiguration | None, path: str, report: Report) -> None:
    if warmup is None:
        return
    check_duration(warmup.duration, f"{path}.duration", report)
    if warmup.minimum_percent is not None and not 0 <= warmup.minimum_percent <= 100:
        found = f"{warmup.minimum_percent:g}"
        report.error(f"{path}.minimumPercent", found, "a percentage from 0 to 100")
    if warmup.aggression is not None and warmup.aggression < 1:
        report.error(f"{path}.aggression", f"{warmup.aggression:g}", "1 or more")


def _check_locality(
    setting: LocalityLoadBalancerSetting | None, has_outlier: bool, path: str, report: Report
) -> None:
    if setting is None:
        return
    if setting.distribute and setting.failover:
        report.error(f"{path}.failover", "failover beside distribute", "only one of the two")
        return
    for index, label in enumerate(setting.failover_priority):
        if setting.failover and label.partition("=")[0] in _TOPOLOGY:
            where = f"{path}.failoverPriority[{index}]"
            report.error(where, quoted(label), "no topology label beside failover")
    _check_distribute(setting.distribute, f"{path}.distribute", report)
    if (setting.failover or setting.failover_priority) and not has_outlier:
        expected = "outlierDetection in the same policy: failover needs it"
        report.warn(path, "failover without outlierDetection", expected)
    for index, failover in enumerate(setting.failover):
        _check_failover(failover, f"{path}.failover[{index}]", report)


def _check_distribute(
    distribute: tuple[LocalityDistribute, ...], path: str, report: Report
) -> None:
    seen: list[str] = []
    for index, one in enumerate(distribute):
        where = f"{path}[{index}]"
        _check_locality_name(one.from_, seen, f"{where}.from", report)
        seen_to: list[str] = []
        for locality, weight in one.to.items():
            target = join(f"{where}.to", locality)
            _check_locality_name(locality, seen_to, target, report)
            if not 1 <= weight <= 100:
                report.error(target, str(weight), "a weight from 1 to 100")
        total = sum(one.to.values())
        if total != 100:
            report.error(f"{where}.to", f"a sum of {total}", "weights whose sum is 100")


def _check_locality_name(locality: str, seen: list[str], path: str, report: Report) -> None:
    """Istio `validateLocalities`: region/zone/sub_zone, `*` at the end, no overlap."""
    parts = locality.split("/", 2)
    if "" in parts:
        report.error(path, quoted(locality), "region/zone/sub_zone without empty parts")
    elif "*" in locality[:-1]:
        report.error(path, quoted(locality), "one wildcard at most, at the end")
    elif any(_contains(other, locality) or _contains(locality, other) for other in seen):
        report.error(path, quoted(locality), "localities that do not overlap")
    seen.append(locality)


def _contains(outer: str, inner: str) -> bool:
    prefix = outer.removesuffix("*").rstrip("/")
    return not prefix or inner in (prefix, outer) or inner.startswith(f"{prefix}/")


def _check_failover(
    failover: LocalityFailover | ZoneAwareFailover, path: str, report: Report
) -> None:
    for name, region in (("from", failover.from_), ("to", failover.to)):
        if "/" in region:
            report.error(f"{path}.{name}", quoted(region), "a region alone")
        if "*" in region:
            report.error(f"{path}.{name}", quoted(region), "a region without wildcard")
    if failover.from_ == failover.to:
        given = [f"{path}.from"]
        report.error(f"{path}.to", quoted(failover.to), "another region than from", given)
