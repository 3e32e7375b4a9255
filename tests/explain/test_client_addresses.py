"""Names that clients choose and that may not lead where they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from egressd.admin.state import ClusterView
from egressd.explain.question import Node
from egressd.explain.walk import explain
from egressd.registry.profile import NodeProfile
from egressd.upstream.address_policy import DENIED, ClientAddresses
from tests.explain.questions import request
from tests.routing.test_decisions import entry, view_of

LOOPBACK = ClientAddresses(["127.0.0.0/8"], {"mine.example": ["127.0.0.0/8"]})


def test_an_address_that_clients_may_not_reach_is_403() -> None:
    node = Node(view_of(entry("a.example")), NodeProfile(allow_any=True), addresses=LOOPBACK)
    denied = explain(node, request("GET http://127.0.0.1:9/"))
    assert (denied.outcome.status, denied.outcome.flag) == (403, "NC")
    assert explain(node, request("GET http://10.0.0.1/")).outcome.kind == "forwarded"
    named = explain(node, request("GET http://b.example/"))
    assert named.destinations[0].notes == (
        "names are resolved when they are used",
        "limits.deniedAddresses holds for the addresses of this name: a client chose it",
    )
    excepted = explain(node, request("GET http://mine.example/")).destinations[0].notes
    assert excepted[1] == (
        "limits.deniedAddresses holds for the addresses of this name: a client chose it; "
        "limits.allowedAddresses excepts 127.0.0.0/8"
    )


def by_name(host: str, resolution: str) -> str:
    document = entry("*.example").replace("*.example", host)
    return document.replace("resolution: NONE", f"resolution: {resolution}")


@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
def test_a_name_below_a_wildcard_may_not_lead_there_either(resolution: str) -> None:
    node = Node(view_of(by_name("*.example", resolution)), addresses=LOOPBACK)
    (line,) = explain(node, request("GET http://lo.example/")).destinations
    assert line.notes[-1].startswith("limits.deniedAddresses holds")
    seen = ClusterView(line.cluster, "*.example", "", 80, "DNS", "", "", (), DENIED, ())
    used = replace(node, clusters={line.cluster: seen})
    outcome = explain(used, request("GET http://lo.example/")).outcome
    assert (outcome.status, outcome.flag, outcome.says) == (403, "NC", DENIED)


@pytest.mark.parametrize("resolution", ["NONE", "DNS"])
def test_a_name_that_an_operator_wrote_may_lead_anywhere(resolution: str) -> None:
    node = Node(view_of(by_name("lo.example", resolution)), addresses=LOOPBACK)
    (line,) = explain(node, request("GET http://lo.example/")).destinations
    assert line.notes == ("names are resolved when they are used",)
