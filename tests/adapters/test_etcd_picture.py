"""What is known of etcd's keys: layout `istio`, digests, and whether a store is still the same one."""

from __future__ import annotations

import json

import pytest

from adapters.etcd.istio import IstioLayout
from adapters.etcd.picture import Picture
from adapters.etcd.wire import RpcFailed, range_end
from egressd.registry.keyvalue import Entry
from egressd.registry.records import Record


def value(name: str, address: str = "10.0.0.1", kind: str = "ServiceEntry") -> bytes:
    spec = {
        "hosts": [f"{name}.corp"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": address}],
    }
    head = {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}}
    return json.dumps({**head, "spec": spec}).encode()


def picture(**keys: bytes) -> Picture:
    """Of keys written one after the other, from revision 2 on as etcd counts."""
    found = Picture(IstioLayout("corp"))
    for revision, (key, content) in enumerate(keys.items(), 2):
        found.put(Entry(key, content, revision))
    return found


def records(of: Picture) -> dict[str, Record]:
    return {record.resource.ref: record for record in of.snapshot(9).records}


def test_a_key_is_the_origin_and_its_revision_the_version() -> None:
    (record,) = records(picture(a=value("web"))).values()
    assert (record.origin, record.source, record.source_version) == ("a", "corp", "2")
    assert record.resource.place.file == "a"


def test_a_key_holds_several_resources_of_any_kind() -> None:
    both = value("web") + b"\n---\n" + value("db")
    found = records(picture(a=both))
    assert set(found) == {"ServiceEntry/default/web", "ServiceEntry/default/db"}
    assert {record.origin for record in found.values()} == {"a"}


def test_the_same_value_again_changes_nothing() -> None:
    known = picture(a=value("web"), b=value("db"))
    before = records(known)
    assert known.put(Entry("a", value("web"), 7)) is False
    assert known.put(Entry("b", b" " + value("db"), 8)) is True  # other text, the same resource
    assert all(records(known)[ref] is record for ref, record in before.items())


@pytest.mark.parametrize(
    "broken", [b"{", b"\xff\xfe", value("web", "not an address"), b"kind: Odd"]
)
def test_a_broken_value_fails_its_key_and_names_it(broken: bytes) -> None:
    known = picture(a=value("web"), b=value("db"))
    known.put(Entry("a", broken, 7))
    snapshot = known.snapshot(7)
    assert snapshot.failed_origins == {"a"}
    assert [record.origin for record in snapshot.records] == ["b"]
    assert {problem.place.file for problem in known.problems()} == {"a"}
    known.put(Entry("a", value("web"), 8))
    assert not known.snapshot(8).failed_origins and not known.problems()
    assert len(records(known)) == 2


def test_of_two_keys_with_one_resource_the_first_in_order_has_it() -> None:
    known = picture(b=value("web", "10.0.0.2"), a=value("web", "10.0.0.1"))
    assert records(known)["ServiceEntry/default/web"].origin == "a"
    (problem,) = known.problems()
    assert problem.place.file == "b" and "as in key a" in problem.found
    known.delete("a")
    assert records(known)["ServiceEntry/default/web"].origin == "b"
    assert not known.problems()


def test_a_whole_list_forgets_what_is_not_in_it() -> None:
    known = picture(a=value("web"), b=value("db"))
    assert known.keep({"a"}) is True
    assert known.keep({"a"}) is False
    assert list(records(known)) == ["ServiceEntry/default/web"]


@pytest.mark.parametrize(
    ("count", "newest", "agrees"),
    [
        (2, Entry("b", b"", 3), True),
        (2, Entry("a", b"", 3), False),  # another key was written last
        (2, Entry("b", b"", 4), False),
        (1, Entry("b", b"", 3), False),
        (2, Entry("c", b"", 3), False),
        (0, None, False),
    ],
)
def test_a_store_agrees_when_it_has_the_same_number_and_the_same_last_write(
    count: int, newest: Entry | None, agrees: bool
) -> None:
    assert picture(a=value("web"), b=value("db")).agrees(count, newest) is agrees
    assert picture().agrees(0, None)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"/a/", b"/a0"),
        (b"a\xff", b"b"),
        (b"a\xfe\xff\xff", b"a\xff"),
        (b"\xff", b"\0"),
        (b"", b"\0"),
    ],
)
def test_a_prefix_ends_before_the_next_one(prefix: bytes, end: bytes) -> None:
    assert range_end(prefix) == end


@pytest.mark.parametrize(
    ("code", "details", "claims"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", {"is_members"}),
        ("DEADLINE_EXCEEDED", "", {"is_members"}),
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", {"is_old_token"}),
        ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old", {"is_old_token"}),
        (
            "INVALID_ARGUMENT",
            "etcdserver: authentication failed, invalid user ID or password",
            set(),
        ),
        ("PERMISSION_DENIED", "etcdserver: permission denied", set()),
        ("OUT_OF_RANGE", "required revision has been compacted", {"is_compacted"}),
        ("OUT_OF_RANGE", "required revision is a future revision", {"is_future"}),
    ],
)
def test_a_refusal_says_who_may_do_better(code: str, details: str, claims: set[str]) -> None:
    error = RpcFailed(code, details)
    every = ("is_members", "is_old_token", "is_compacted", "is_future")
    assert {claim for claim in every if getattr(error, claim)} == claims
