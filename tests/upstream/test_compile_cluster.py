"""ServiceEntry and DestinationRule to a cluster: tables of Istio's rules."""

from __future__ import annotations

from typing import Any

import pytest

from egressd.api.destination_rule import (
    ClientTLSMode,
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    SimpleLB,
    Subset,
    TcpKeepalive,
    TCPSettings,
    TrafficPolicy,
)
from egressd.api.message import PortSelector
from egressd.api.resource import Kind, Metadata, Resource, Spec
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.memory import MemoryView
from egressd.registry.records import Record
from egressd.routing.table import ClusterKey
from egressd.upstream.compile import UnknownCluster, compile_cluster
from egressd.upstream.spec import (
    Balancer,
    ClusterSpec,
    EndpointSpec,
    Locality,
    OutlierPolicy,
    PoolLimits,
    TlsSpec,
)

HOST = "a.example.com"
HTTP = ServicePort(number=80, name="http", protocol="HTTP", target_port=8080)
HTTPS = ServicePort(number=443, name="https", protocol="https")


def entry(*endpoints: WorkloadEntry, host: str = HOST, **more: Any) -> ServiceEntry:
    given = {"ports": (HTTP, HTTPS), "resolution": Resolution.STATIC} | more
    return ServiceEntry(hosts=(host,), endpoints=endpoints, **given)


def rule(
    policy: TrafficPolicy | None = None, *subsets: Subset, host: str = HOST
) -> DestinationRule:
    return DestinationRule(host=host, traffic_policy=policy, subsets=subsets)


def compiled(
    *specs: Spec, host: str = HOST, subset: str = "", port: int = 80, **more: Any
) -> ClusterSpec:
    kinds = {ServiceEntry: Kind.SERVICE_ENTRY, DestinationRule: Kind.DESTINATION_RULE}
    records = [
        Record(
            resource=Resource(kind=kinds[type(spec)], metadata=Metadata(name=f"r{n}"), spec=spec),
            source="files",
        )
        for n, spec in enumerate(specs)
    ]
    return compile_cluster(MemoryView(records), ClusterKey(host, subset, port), **more)


ONE = entry(WorkloadEntry(address="10.0.0.1"))


# -- endpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workload", "port", "endpoint"),
    [
        (WorkloadEntry(address="10.0.0.1"), 80, EndpointSpec("10.0.0.1", 8080)),
        (WorkloadEntry(address="10.0.0.1"), 443, EndpointSpec("10.0.0.1", 443)),
        (WorkloadEntry(address="10.0.0.1", ports={"http": 99}), 80, EndpointSpec("10.0.0.1", 99)),
        (WorkloadEntry(address="10.0.0.1", ports={"http": 9}), 443, EndpointSpec("10.0.0.1", 443)),
        (WorkloadEntry(address="2001:db8::1"), 443, EndpointSpec("2001:db8::1", 443)),
        (WorkloadEntry(address="unix:///run/a.sock"), 80, EndpointSpec("/run/a.sock", 0)),
        (
            WorkloadEntry(address="h", weight=7, labels={"b": "2", "a": "1"}, network="n"),
            443,
            EndpointSpec("h", 443, weight=7, labels=(("a", "1"), ("b", "2")), network="n"),
        ),
        (
            WorkloadEntry(address="h", locality="eu/west"),
            443,
            EndpointSpec("h", 443, locality=Locality("eu", "west")),
        ),
        (
            WorkloadEntry(address="h", locality="eu/west/rack1"),
            443,
            EndpointSpec("h", 443, locality=Locality("eu", "west", "rack1")),
        ),
    ],
)
def test_a_workload_entry_is_an_endpoint(
    workload: WorkloadEntry, port: int, endpoint: EndpointSpec
) -> None:
    assert compiled(entry(workload), port=port).endpoints == (endpoint,)


@pytest.mark.parametrize(
    ("resolution", "endpoints"),
    [
        (Resolution.DNS, (EndpointSpec(HOST, 8080),)),
        (Resolution.DNS_ROUND_ROBIN, (EndpointSpec(HOST, 8080),)),
        (Resolution.STATIC, ()),
        (Resolution.NONE, ()),
    ],
)
def test_without_endpoints_only_dns_has_one_the_host_itself(
    resolution: Resolution, endpoints: tuple[EndpointSpec, ...]
) -> None:
    got = compiled(entry(resolution=resolution))
    assert (got.resolution, got.endpoints) == (resolution, endpoints)


def test_a_subset_has_the_endpoints_that_carry_all_its_labels() -> None:
    service = entry(
        WorkloadEntry(address="10.0.0.1", labels={"version": "v1", "zone": "a"}),
        WorkloadEntry(address="10.0.0.2", labels={"version": "v2", "zone": "a"}),
        WorkloadEntry(address="10.0.0.3", labels={"version": "v1"}),
        WorkloadEntry(address="10.0.0.4"),
    )
    subset = Subset(name="one", labels={"version": "v1", "zone": "a"})
    got = compiled(service, rule(None, subset), subset="one")
    assert [e.address for e in got.endpoints] == ["10.0.0.1"]


def test_a_subset_without_labels_has_all_endpoints() -> None:
    service = entry(WorkloadEntry(address="10.0.0.1"), WorkloadEntry(address="10.0.0.2"))
    got = compiled(service, rule(None, Subset(name="all")), subset="all")
    assert len(got.endpoints) == 2


@pytest.mark.parametrize(
    ("specs", "subset", "port", "says"),
    [
        ((), "", 80, "no ServiceEntry has this host"),
        ((ONE,), "", 81, "no port 81, it has 80, 443"),
        ((ONE,), "v1", 80, "subset 'v1', but no DestinationRule"),
        (
            (ONE, rule(None, Subset(name="v2"))),
            "v1",
            80,
            "DestinationRule/default/r1 has no subset 'v1', it has v2",
        ),
    ],
)
def test_an_unknown_destination_says_what_lacks(
    specs: tuple[Spec, ...], subset: str, port: int, says: str
) -> None:
    with pytest.raises(UnknownCluster, match=says) as raised:
        compiled(*specs, subset=subset, port=port)
    assert HOST in raised.value.depends_on, "its coming must be noticed"


def test_a_cluster_depends_on_every_host_that_was_asked_for() -> None:
    got = compiled(entry(WorkloadEntry(address="h"), host="*.example.com"))
    assert {HOST, "*.example.com", "*.com", "*"} <= got.depends_on


def test_refs_of_the_resources_are_kept_for_explain() -> None:
    got = compiled(ONE, rule())
    assert got.service_entries == ("ServiceEntry/default/r0",)
    assert got.destination_rule == "DestinationRule/default/r1"
    assert compiled(ONE, port=443).protocol == "HTTPS"


# -- merging ---------------------------------------------------------------------------------


def lb(simple: SimpleLB) -> LoadBalancerSettings:
    return LoadBalancerSettings(simple=simple)


def at_80(**sections: Any) -> dict[str, Any]:
    level = PortTrafficPolicy(port=PortSelector(number=80), **sections)
    return {"port_level_settings": (level,)}


RULE, SUBSET, PORT, SUBSET_PORT = (
    {"load_balancer": lb(SimpleLB.RANDOM)},
    {"load_balancer": lb(SimpleLB.ROUND_ROBIN)},
    at_80(load_balancer=lb(SimpleLB.PASSTHROUGH)),
    at_80(load_balancer=lb(SimpleLB.LEAST_REQUEST)),
)
BARE_PORT = at_80(outlier_detection=OutlierDetection())


@pytest.mark.parametrize(
    ("of_rule", "of_subset", "at_80", "at_443"),
    [
        (None, None, "LEAST_REQUEST", "LEAST_REQUEST"),
        (RULE, None, "RANDOM", "RANDOM"),
        (None, SUBSET, "ROUND_ROBIN", "ROUND_ROBIN"),
        (RULE, SUBSET, "ROUND_ROBIN", "ROUND_ROBIN"),
        (RULE, {}, "RANDOM", "RANDOM"),
        (RULE | PORT, None, "PASSTHROUGH", "RANDOM"),
        (RULE | PORT, SUBSET, "PASSTHROUGH", "ROUND_ROBIN"),
        (RULE | PORT, SUBSET | SUBSET_PORT, "LEAST_REQUEST", "ROUND_ROBIN"),
        (RULE, SUBSET | SUBSET_PORT, "LEAST_REQUEST", "ROUND_ROBIN"),
        # Port-level settings without the section: nothing is inherited from their own level.
        (RULE | BARE_PORT, None, "LEAST_REQUEST", "RANDOM"),
        (RULE | BARE_PORT, SUBSET, "ROUND_ROBIN", "ROUND_ROBIN"),
        (RULE, SUBSET | BARE_PORT, "LEAST_REQUEST", "ROUND_ROBIN"),
    ],
)
def test_the_subset_overrides_the_rule_and_the_port_both(
    of_rule: dict[str, Any] | None, of_subset: dict[str, Any] | None, at_80: str, at_443: str
) -> None:
    policy = TrafficPolicy(**of_rule) if of_rule is not None else None
    own = TrafficPolicy(**of_subset) if of_subset is not None else None
    resources = (ONE, rule(policy, Subset(name="s", traffic_policy=own)))
    got = [compiled(*resources, subset="s", port=port).balancer for port in (80, 443)]
    assert got == [Balancer(at_80), Balancer(at_443)]


def test_sections_are_taken_whole_and_not_merged_field_by_field() -> None:
    policy = TrafficPolicy(
        connection_pool=ConnectionPoolSettings(tcp=TCPSettings(max_connections=5))
    )
    own = TrafficPolicy(
        connection_pool=ConnectionPoolSettings(http=HTTPSettings(max_retries=2)),
    )
    got = compiled(ONE, rule(policy, Subset(name="s", traffic_policy=own)), subset="s")
    assert got.limits == PoolLimits(max_retries=2)


def test_a_section_that_the_subset_leaves_out_is_inherited() -> None:
    policy = TrafficPolicy(outlier_detection=OutlierDetection())
    own = TrafficPolicy(load_balancer=lb(SimpleLB.RANDOM))
    got = compiled(ONE, rule(policy, Subset(name="s", traffic_policy=own)), subset="s")
    assert got.outlier == OutlierPolicy()
    assert got.balancer is Balancer.RANDOM


def test_the_most_specific_destination_rule_wins_as_a_whole() -> None:
    wide = rule(TrafficPolicy(outlier_detection=OutlierDetection()), host="*.example.com")
    exact = rule(TrafficPolicy(load_balancer=lb(SimpleLB.RANDOM)))
    got = compiled(ONE, wide, exact)
    assert (got.balancer, got.outlier) == (Balancer.RANDOM, None)


# -- sections --------------------------------------------------------------------------------


def with_policy(**sections: Any) -> ClusterSpec:
    return compiled(ONE, rule(TrafficPolicy(**sections)))


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
    assert with_policy(load_balancer=lb(simple)).balancer is balancer


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
            PoolLimits(1, 2, 3, 4, 5, 0.5, 6.0, 60.0, (3, 7200, 75)),
        ),
        (
            ConnectionPoolSettings(tcp=TCPSettings(idle_timeout=9.0)),
            PoolLimits(idle_timeout_s=9.0),
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


def test_no_outlier_section_is_no_outlier_detection() -> None:
    assert compiled(ONE, rule(TrafficPolicy())).outlier is None


def test_always_eject_one_is_the_nodes_choice() -> None:
    resources = (ONE, rule(TrafficPolicy(outlier_detection=OutlierDetection())))
    assert compiled(*resources, always_eject_one=False).outlier == OutlierPolicy(
        always_eject_one=False
    )


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
    with pytest.raises(UnknownCluster, match="not yet acted on"):
        with_policy(tls=tls)
