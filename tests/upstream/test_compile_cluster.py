"""ServiceEntry and DestinationRule to a cluster: tables of Istio's rules."""

from __future__ import annotations

from typing import Any

import pytest

from egressd.api.destination_rule import (
    ConnectionPoolSettings,
    HTTPSettings,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    SimpleLB,
    Subset,
    TCPSettings,
    TrafficPolicy,
    TunnelSettings,
)
from egressd.api.message import PortSelector
from egressd.api.resource import Spec
from egressd.api.service_entry import Resolution
from egressd.api.workload_entry import WorkloadEntry
from egressd.upstream.compile import UnknownCluster
from egressd.upstream.spec import (
    Balancer,
    EndpointSpec,
    Locality,
    OutlierPolicy,
    PoolLimits,
)
from tests.upstream.resources import HOST, ONE, compiled, entry, rule

REGION = ("topology.kubernetes.io/region", "eu")
ZONE = ("topology.kubernetes.io/zone", "west")
NETWORK = ("topology.istio.io/network", "n")
SUBZONE = ("topology.istio.io/subzone", "rack1")

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
            EndpointSpec(
                "h",
                443,
                weight=7,
                labels=(("a", "1"), ("b", "2"), ("topology.istio.io/network", "n")),
                network="n",
            ),
        ),
        (
            WorkloadEntry(address="h", locality="eu/west"),
            443,
            EndpointSpec("h", 443, labels=(REGION, ZONE), locality=Locality("eu", "west")),
        ),
        (
            WorkloadEntry(address="h", locality="eu/west/rack1"),
            443,
            EndpointSpec(
                "h", 443, labels=(SUBZONE, REGION, ZONE), locality=Locality("eu", "west", "rack1")
            ),
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


PLACES = (
    WorkloadEntry(address="10.0.0.1", locality="eu/west/rack1", network="n1"),
    WorkloadEntry(address="10.0.0.2", locality="eu/east", labels={ZONE[0]: "west"}),
    WorkloadEntry(address="10.0.0.3", labels={"istio-locality": "us.west"}, network="n2"),
    WorkloadEntry(address="10.0.0.4", labels={ZONE[0]: "west"}),
    WorkloadEntry(address="10.0.0.5"),
)


@pytest.mark.parametrize(
    ("labels", "addresses"),
    [
        ({REGION[0]: "eu"}, ".1 .2"),
        ({ZONE[0]: "west"}, ".1 .3 .4"),
        ({ZONE[0]: "east"}, ".2"),
        (dict((REGION, ZONE, SUBZONE)), ".1"),
        ({REGION[0]: "us", "topology.istio.io/network": "n2"}, ".3"),
        ({"topology.istio.io/network": "n1"}, ".1"),
        ({REGION[0]: ""}, ""),
    ],
)
def test_a_subset_by_topology_has_the_endpoints_of_that_place(
    labels: dict[str, str], addresses: str
) -> None:
    got = compiled(entry(*PLACES), rule(None, Subset(name="here", labels=labels)), subset="here")
    assert " ".join(e.address.removeprefix("10.0.0") for e in got.endpoints) == addresses


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
        (RULE | PORT, SUBSET, "ROUND_ROBIN", "ROUND_ROBIN"),
        (RULE | PORT, {}, "PASSTHROUGH", "RANDOM"),
        (RULE | PORT, SUBSET | SUBSET_PORT, "LEAST_REQUEST", "ROUND_ROBIN"),
        (RULE, SUBSET | SUBSET_PORT, "LEAST_REQUEST", "ROUND_ROBIN"),
        # Port-level settings without the section: nothing is inherited from their own level.
        (RULE | BARE_PORT, None, "LEAST_REQUEST", "RANDOM"),
        (RULE | BARE_PORT, SUBSET, "ROUND_ROBIN", "ROUND_ROBIN"),
        (RULE, SUBSET | BARE_PORT, "LEAST_REQUEST", "ROUND_ROBIN"),
    ],
)
def test_a_subset_overrides_the_rule_with_its_ports_as_istio_merges_them(
    of_rule: dict[str, Any] | None, of_subset: dict[str, Any] | None, at_80: str, at_443: str
) -> None:
    policy = TrafficPolicy(**of_rule) if of_rule is not None else None
    own = TrafficPolicy(**of_subset) if of_subset is not None else None
    resources = (ONE, rule(policy, Subset(name="s", traffic_policy=own)))
    got = [compiled(*resources, subset="s", port=port).balancer for port in (80, 443)]
    assert got == [Balancer(at_80), Balancer(at_443)]


def test_port_level_settings_hide_the_tunnel_of_their_level_only() -> None:
    tunnel = {"tunnel": TunnelSettings(target_host="proxy", target_port=3128)}

    def tunnelled(of_rule: dict[str, Any], of_subset: dict[str, Any]) -> bool:
        own = Subset(name="s", traffic_policy=TrafficPolicy(**of_subset))
        got = compiled(ONE, rule(TrafficPolicy(**of_rule), own), subset="s")
        return got.tunnel is not None

    assert tunnelled(tunnel, {})
    assert not tunnelled(tunnel | PORT, {})
    assert tunnelled(tunnel, SUBSET_PORT)
    assert tunnelled(PORT, tunnel)
    assert not tunnelled(PORT, tunnel | SUBSET_PORT)


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
