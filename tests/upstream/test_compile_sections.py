"""Sections of a traffic policy as a cluster has them: defaults, mappings, refusals."""

from __future__ import annotations

import pytest

from egressd.api.destination_rule import (
    ClientTLSMode,
    ClientTLSSettings,
    ConnectionPoolSettings,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    RetryBudget,
    SimpleLB,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
)
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.profile import NodeProfile
from egressd.upstream import retry_budget
from egressd.upstream.compile import UnknownCluster
from egressd.upstream.spec import (
    Balancer,
    OutlierPolicy,
    PoolLimits,
    TlsSpec,
)
from tests.upstream.resources import HOST, ONE, compiled, entry, rule, with_policy


@pytest.mark.parametrize(
    ("simple", "balancer"),
    [
        (SimpleLB.UNSPECIFIED, Balancer.LEAST_REQUEST),
        (SimpleLB.LEAST_CONN, Balancer.LEAST_REQUEST),
        (SimpleLB.LEAST_REQUEST, Balancer.LEAST_REQUEST),
        (SimpleLB.ROUND_ROBIN, Balancer.ROUND_ROBIN),
        (SimpleLB.RANDOM, Balancer.RANDOM),
        (SimpleLB.PASSTHROUGH, Balancer.PASSTHROUGH),
    ],
)
def test_names_of_balancers(simple: SimpleLB, balancer: Balancer) -> None:
    assert with_policy(load_balancer=LoadBalancerSettings(simple=simple)).balancer is balancer


@pytest.mark.parametrize(
    ("pool", "limits"),
    [
        (ConnectionPoolSettings(), PoolLimits()),
        (ConnectionPoolSettings(tcp=TCPSettings(), http=HTTPSettings()), PoolLimits()),
        (
            ConnectionPoolSettings(
                tcp=TCPSettings(
                    max_connections=1,
                    connect_timeout=0.5,
                    max_connection_duration=60.0,
                    tcp_keepalive=TcpKeepalive(probes=3, time=7200.0, interval=75.0),
                ),
                http=HTTPSettings(
                    http1_max_pending_requests=2,
                    http2_max_requests=3,
                    max_retries=4,
                    max_requests_per_connection=5,
                    idle_timeout=6.0,
                ),
            ),
            PoolLimits(1, 2, 3, 4, 5, 0.5, 6.0, 3600.0, 60.0, (3, 7200, 75)),
        ),
        (
            ConnectionPoolSettings(tcp=TCPSettings(idle_timeout=9.0)),
            PoolLimits(idle_timeout_s=9.0, tcp_idle_timeout_s=9.0),
        ),
    ],
)
def test_connection_pool_settings(pool: ConnectionPoolSettings, limits: PoolLimits) -> None:
    assert with_policy(connection_pool=pool).limits == limits


@pytest.mark.parametrize(
    ("outlier", "policy"),
    [
        (OutlierDetection(), OutlierPolicy()),
        (OutlierDetection(consecutive_5xx_errors=0), OutlierPolicy(consecutive_5xx=0)),
        (OutlierDetection(consecutive_gateway_errors=3), OutlierPolicy(consecutive_gateway=3)),
        (
            OutlierDetection(consecutive_5xx_errors=0, consecutive_gateway_errors=3),
            OutlierPolicy(consecutive_5xx=0, consecutive_gateway=3),
        ),
        (
            OutlierDetection(consecutive_errors=7),
            OutlierPolicy(consecutive_5xx=0, consecutive_gateway=7),
        ),
        (
            OutlierDetection(consecutive_errors=7, consecutive_gateway_errors=2),
            OutlierPolicy(consecutive_gateway=2),
        ),
        (OutlierDetection(max_ejection_percent=0), OutlierPolicy(max_ejection_percent=10)),
        (OutlierDetection(consecutive_local_origin_failures=0), OutlierPolicy()),
        (
            OutlierDetection(
                split_external_local_origin_errors=True,
                consecutive_local_origin_failures=2,
                interval=1.0,
                base_ejection_time=15.0,
                max_ejection_percent=60,
                min_health_percent=20,
                outlier_detection_http_error_codes=(429, 503),
            ),
            OutlierPolicy(
                split_local_origin=True,
                consecutive_local_origin=2,
                interval_s=1.0,
                base_ejection_s=15.0,
                max_ejection_percent=60,
                min_health_percent=20,
                error_statuses=frozenset({429, 503}),
            ),
        ),
    ],
)
def test_outlier_detection_with_istio_and_envoy_defaults(
    outlier: OutlierDetection, policy: OutlierPolicy
) -> None:
    assert with_policy(outlier_detection=outlier).outlier == policy


@pytest.mark.parametrize(("outlier", "has_priorities"), [(None, False), (OutlierDetection(), True)])
def test_localities_are_priorities_only_where_outliers_are_detected(
    outlier: OutlierDetection | None, has_priorities: bool
) -> None:
    near = NodeProfile(locality=("eu", "eu-1", ""))
    policy = TrafficPolicy(load_balancer=LoadBalancerSettings(), outlier_detection=outlier)
    spec = compiled(ONE, rule(policy), profile=near)
    assert (spec.locality is not None) is has_priorities


def test_no_outlier_section_is_no_outlier_detection() -> None:
    assert compiled(ONE, rule(TrafficPolicy())).outlier is None


def test_always_eject_one_is_the_nodes_choice() -> None:
    resources = (ONE, rule(TrafficPolicy(outlier_detection=OutlierDetection())))
    assert compiled(
        *resources, profile=NodeProfile(always_eject_one=False)
    ).outlier == OutlierPolicy(always_eject_one=False)


@pytest.mark.parametrize(
    ("tls", "spec"),
    [
        (ClientTLSSettings(mode=ClientTLSMode.DISABLE, sni="x"), None),
        (ClientTLSSettings(mode=ClientTLSMode.SIMPLE), TlsSpec("SIMPLE", HOST)),
        (ClientTLSSettings(mode=ClientTLSMode.SIMPLE, sni="x"), TlsSpec("SIMPLE", "x")),
        (
            ClientTLSSettings(mode=ClientTLSMode.SIMPLE, insecure_skip_verify=True),
            TlsSpec("SIMPLE", HOST, insecure_skip_verify=True),
        ),
        (
            ClientTLSSettings(
                mode=ClientTLSMode.MUTUAL,
                client_certificate="cert",
                private_key="key",
                ca_certificates="ca",
                ca_crl="crl",
                subject_alt_names=("s",),
            ),
            TlsSpec("MUTUAL", HOST, "ca", "cert", "key", ("s",), crl_file="crl"),
        ),
    ],
)
def test_tls_origination(tls: ClientTLSSettings, spec: TlsSpec | None) -> None:
    assert with_policy(tls=tls).tls == spec


@pytest.mark.parametrize(
    ("of_rule", "of_service", "verified"),
    [((), (), ()), ((), ("service",), ("service",)), (("rule",), ("service",), ("rule",))],
)
def test_names_to_verify_are_the_rules_else_the_services(
    of_rule: tuple[str, ...], of_service: tuple[str, ...], verified: tuple[str, ...]
) -> None:
    tls = ClientTLSSettings(mode=ClientTLSMode.SIMPLE, subject_alt_names=of_rule)
    service = entry(WorkloadEntry(address="h"), subject_alt_names=of_service)
    got = compiled(service, rule(TrafficPolicy(tls=tls))).tls
    assert got is not None
    assert got.subject_alt_names == verified


def test_a_wildcard_host_is_never_an_sni() -> None:
    tls = TrafficPolicy(tls=ClientTLSSettings(mode=ClientTLSMode.SIMPLE))
    resources = (
        entry(WorkloadEntry(address="h"), host="*.example.com"),
        rule(tls, host="*.example.com"),
    )
    wild, exact = compiled(*resources, host="*.example.com").tls, compiled(*resources).tls
    assert wild is not None
    assert exact is not None
    assert (wild.sni, exact.sni) == ("", HOST)


@pytest.mark.parametrize(
    "tls",
    [
        ClientTLSSettings(mode=ClientTLSMode.ISTIO_MUTUAL),
        ClientTLSSettings(mode=ClientTLSMode.SIMPLE, credential_name="secret"),
    ],
)
def test_tls_that_cannot_be_done_is_refused_and_never_plain(tls: ClientTLSSettings) -> None:
    with pytest.raises(UnknownCluster, match=r"tls[.](identityDir|credentialsDir)"):
        with_policy(tls=tls)


NODES = NodeProfile(
    retry_budget=RetryBudget(percent=5.0, min_retry_concurrency=2, budget_interval=1.0)
)


@pytest.mark.parametrize(
    ("sections", "budget"),
    [
        (None, retry_budget.RetryBudget(5.0, 2, 1.0)),
        ({}, retry_budget.RetryBudget(5.0, 2, 1.0)),
        (
            {"connection_pool": ConnectionPoolSettings(http=HTTPSettings(idle_timeout=1.0))},
            retry_budget.RetryBudget(5.0, 2, 1.0),
        ),
        ({"connection_pool": ConnectionPoolSettings(http=HTTPSettings(max_retries=9))}, None),
        ({"retry_budget": RetryBudget()}, retry_budget.RetryBudget(20.0, 3)),
        ({"retry_budget": RetryBudget(percent=0.0)}, retry_budget.RetryBudget(0.0, 3)),
    ],
)
def test_the_nodes_retry_budget_is_for_rules_that_limit_no_retries(
    sections: dict[str, object] | None, budget: retry_budget.RetryBudget | None
) -> None:
    rules = () if sections is None else (rule(TrafficPolicy(**sections)),)  # type: ignore[arg-type]
    assert compiled(ONE, *rules, profile=NODES).retry_budget == budget


def test_without_the_option_no_budget_is_made_up() -> None:
    assert compiled(ONE).retry_budget is None
