"""Names of a scope: one entry a name, however it is spelled."""

from __future__ import annotations

import pytest

from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.scope import Scope
from egressd.registry.profile import NodeProfile
from tests.routing.test_decisions import entry, view_of

SPELLINGS = [b"a.example", b"A.Example", b"a.example.", b"A.EXAMPLE.", b"a.example:"]


def scope() -> Scope:
    return Scope(view_of(entry("a.example", "80 8080")), NodeProfile(allow_any=True))


def test_every_spelling_of_a_name_leads_to_one_entry() -> None:
    names = scope()
    found = {id(names.lookup(spelling)) for spelling in SPELLINGS}
    assert len(found) == 1
    assert len(names.entries()) == 1
    assert names.lookup(b"a.example:80") is names.lookup(b"A.example.:80")


def test_the_port_that_is_named_is_part_of_the_name() -> None:
    names = scope()
    ports = [names.lookup(b"a.example" + port).entry for port in (b"", b":80", b":8080", b":9")]
    assert [one.port for one in ports if one is not None] == [80, 80, 8080, 80]


@pytest.mark.parametrize("spelling", [b"", b"a..example", b"a.example:080", b"127.1"])
def test_what_is_no_name_is_refused_and_not_kept(spelling: bytes) -> None:
    names = scope()
    for _ in range(2):
        with pytest.raises(MalformedMessage):
            names.lookup(spelling)


def test_all_spellings_are_forgotten_with_the_name() -> None:
    names = scope()
    before = [names.lookup(spelling) for spelling in SPELLINGS]
    kept = names.lookup(b"a.example:8080")
    names.invalidate({"b.example"})
    assert names.lookup(b"A.Example") is before[0]
    names.invalidate({"a.example"})
    after = [names.lookup(spelling) for spelling in SPELLINGS]
    assert after[0] is not before[0]
    assert all(name is after[0] for name in after)
    assert names.lookup(b"a.example:8080") is not kept


def test_a_name_that_nothing_claims_is_looked_for_anew_after_any_change() -> None:
    names = scope()
    unknown = names.lookup(b"x.example")
    assert unknown.entry is None
    assert names.lookup(b"X.example.") is unknown
    names.invalidate({"b.example"})
    assert names.lookup(b"x.example") is not unknown


def test_more_spellings_than_are_kept_start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egressd.proxy.scope.MOST_NAMES", 4)
    names = scope()
    for number in range(40):
        names.lookup(b"x%d.example" % number)
    first = names.lookup(b"a.example")
    names.lookup(b"A.example")
    names.invalidate(None)
    assert names.lookup(b"A.example") is not first
    assert len(names.entries()) == 1


def test_what_a_short_name_means_is_looked_for_anew_after_a_change() -> None:
    view = view_of(entry("b.default.svc.cluster.local"))
    names = Scope(view, NodeProfile())
    assert names.meant("b") == "b.default.svc.cluster.local"
    assert names.meant("x") == "x"
    names.view = view_of(entry("x.default.svc.cluster.local"))
    assert names.meant("x") == "x"
    names.invalidate({"x.default.svc.cluster.local"})
    assert names.meant("x") == "x.default.svc.cluster.local"
