"""Endpoints that names make."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest

from egressd.api.service_entry import Resolution
from egressd.dns.held import Held, Part
from egressd.dns.watch import Question, Watch
from egressd.routing.table import ClusterKey
from egressd.upstream.address_policy import AddressPolicy, network_of
from egressd.upstream.dns import (
    HostNames,
    alternate,
    host_names,
    resolved_endpoints,
    without_denied,
)
from egressd.upstream.spec import ClusterSpec, EndpointSpec

NAMED = EndpointSpec("api.test", 80, weight=3, labels=(("version", "v1"),))
ADDRESSES = {"api.test": ("::2", "10.0.0.2", "::1", "10.0.0.1", "10.0.0.3")}


def spec(resolution: Resolution, *endpoints: EndpointSpec) -> ClusterSpec:
    return ClusterSpec(ClusterKey("api.test", "", 80), resolution, endpoints)


def test_families_take_turns_and_keep_their_order() -> None:
    mixed = ("10.0.0.2", "10.0.0.1", "::2", "10.0.0.3", "::1")
    assert alternate(mixed) == ("::2", "10.0.0.2", "::1", "10.0.0.1", "10.0.0.3")
    assert alternate(()) == ()


def test_each_address_is_an_endpoint_that_falls_back_on_the_other_family() -> None:
    found = resolved_endpoints(spec(Resolution.DNS, NAMED), ADDRESSES.get)
    assert [(one.id, one.alternates) for one in found] == [
        ("10.0.0.1:80", ("::1",)),
        ("10.0.0.2:80", ("::2",)),
        ("10.0.0.3:80", ("::1",)),
        ("[::1]:80", ("10.0.0.1",)),
        ("[::2]:80", ("10.0.0.2",)),
    ]
    assert {(one.hostname, one.weight, one.labels) for one in found} == {
        ("api.test", 3, (("version", "v1"),))
    }


def test_a_server_that_rotates_its_answers_changes_nothing() -> None:
    cluster = spec(Resolution.DNS, NAMED)
    one = resolved_endpoints(cluster, {"api.test": ("10.0.0.1", "10.0.0.2")}.get)
    assert one == resolved_endpoints(cluster, {"api.test": ("10.0.0.2", "10.0.0.1")}.get)
    assert [endpoint.alternates for endpoint in one] == [(), ()]


def test_round_robin_is_one_endpoint_that_stays_itself_while_its_addresses_change() -> None:
    cluster = spec(Resolution.DNS_ROUND_ROBIN, NAMED)
    (found,) = resolved_endpoints(cluster, ADDRESSES.get)
    assert (found.id, found.address) == ("api.test:80", "::2")
    assert found.alternates == ("10.0.0.2", "::1", "10.0.0.1", "10.0.0.3")
    (later,) = resolved_endpoints(cluster, {"api.test": ("10.0.0.9",)}.get)
    assert (later.id, later.address) == ("api.test:80", "10.0.0.9")


def test_literals_stay_as_they_are_and_unknown_names_make_none() -> None:
    literals = (EndpointSpec("10.0.0.7", 80), EndpointSpec("/run/x.sock", 0))
    cluster = spec(Resolution.DNS, *literals, NAMED)
    assert host_names(cluster) == ("api.test",)
    assert resolved_endpoints(cluster, lambda name: None) == list(literals)


LOOPBACK = AddressPolicy((network_of("127.0.0.0/8"), network_of("::1")))


@pytest.mark.parametrize("resolution", [Resolution.DNS, Resolution.DNS_ROUND_ROBIN])
@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (("::1", "10.0.0.1"), [("10.0.0.1", ())]),
        (("fd00::1", "127.0.0.1"), [("fd00::1", ())]),
        (("::1", "127.0.0.1", "::ffff:127.0.0.1"), []),
        ((), []),
    ],
)
def test_denied_addresses_are_no_fall_back_either(
    resolution: Resolution, answer: tuple[str, ...], left: list[tuple[str, tuple[str, ...]]]
) -> None:
    named = replace(NAMED, policy=LOOPBACK)
    found = without_denied(resolved_endpoints(spec(resolution, named), {"api.test": answer}.get))
    assert [(one.address, one.alternates) for one in found] == left


def test_what_an_operator_wrote_is_left_as_it_is() -> None:
    literal = EndpointSpec("127.0.0.1", 80)
    found = resolved_endpoints(spec(Resolution.DNS, NAMED, literal), {"api.test": ("::1",)}.get)
    assert without_denied(found) == found
    assert without_denied([replace(literal, policy=LOOPBACK)]) == []


class Asked:
    """A watch that holds one thing of every question."""

    def __init__(self, held: Held | None) -> None:
        self._held = held

    def held(self, question: Question) -> Held | None:
        return self._held


NONE, SOME = Part((), 10.0), Part(("10.0.0.1",), 10.0)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (None, ""),
        (Held((None, None)), ""),
        (Held((SOME, NONE)), ""),
        (Held((NONE, NONE), lacks="nxdomain"), "no such name (NXDOMAIN)"),
        (Held((NONE, NONE), lacks="nodata"), "it has no addresses (NODATA)"),
        (Held((NONE, NONE)), "no addresses"),
        (Held((None, None), failures=1, error="SERVFAIL from d:53"), "SERVFAIL from d:53"),
        (
            Held((SOME, None), failures=3, error="no answer from d:53 within 4 s"),
            "no answer from d:53 within 4 s; its last addresses stand",
        ),
    ],
)
def test_why_a_name_does_not_resolve(held: Held | None, said: str) -> None:
    names = HostNames(cast(Watch, Asked(held)))
    assert names.trouble("a.test") == (f"a.test does not resolve: {said}" if said else "")
