"""What several sources say together."""

from __future__ import annotations

import msgspec
import pytest

from egressd.api.parse import parse_text
from egressd.registry.merge import ChangeSet, Merger
from egressd.registry.records import Record, Snapshot

API = "networking.istio.io/v1"


def service(name: str, address: str = "10.0.0.1") -> str:
    return (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n"
        f"spec: {{hosts: [{name}.example], ports: [{{number: 80, name: http, protocol: HTTP}}], "
        f"resolution: STATIC, endpoints: [{{address: {address}}}]}}\n"
    )


def virtual(name: str, host: str, created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return (
        f"apiVersion: {API}\nkind: VirtualService\nmetadata: {{name: {name}{stamp}}}\n"
        f"spec: {{hosts: [{host}], http: [{{route: [{{destination: {{host: x.example}}}}]}}]}}\n"
    )


def records(source: str, *documents: str, origin: str = "") -> tuple[Record, ...]:
    parsed = parse_text("---\n".join(documents), "t.yaml")
    assert not parsed.errors
    return tuple(Record(resource=r, source=source, origin=origin) for r in parsed.resources)


def snapshot(source: str, *documents: str, origin: str = "") -> Snapshot:
    return Snapshot(records=records(source, *documents, origin=origin))


def test_only_what_differs_is_published() -> None:
    merger = Merger(["files"])
    assert merger.apply("files", snapshot("files", service("a"), service("b")))
    first = merger.changes()
    assert {r.resource.metadata.name for r in first.puts} == {"a", "b"}
    assert set(first.hosts) == {"a.example", "b.example"}
    assert not merger.apply("files", snapshot("files", service("a"), service("b")))
    merger.apply("files", snapshot("files", service("a"), service("b", "10.0.0.2")))
    second = merger.changes()
    assert [r.resource.metadata.name for r in second.puts] == ["b"]
    assert second.hosts == ("b.example",)


def test_a_record_that_is_gone_is_deleted() -> None:
    merger = Merger(["files"])
    merger.apply("files", snapshot("files", service("a"), service("b")))
    merger.changes()
    merger.apply("files", snapshot("files", service("b")))
    changes = merger.changes()
    assert [r.resource.metadata.name for r in changes.deletes] == ["a"]
    assert changes.hosts == ("a.example",)


def test_the_first_source_in_order_wins_and_the_next_takes_over() -> None:
    merger = Merger(["one", "two"])
    merger.apply("two", snapshot("two", virtual("a", "two.example")))
    assert merger.changes().puts[0].source == "two"
    merger.apply("one", snapshot("one", virtual("a", "one.example")))
    assert merger.changes().puts[0].source == "one"
    merger.apply("one", snapshot("one"))
    assert merger.changes().puts[0].source == "two"


def test_records_of_an_origin_that_could_not_be_read_stay() -> None:
    merger = Merger(["files"])
    merger.apply("files", snapshot("files", service("a"), origin="a.yaml"))
    merger.changes()
    merger.apply("files", Snapshot(records=(), failed_origins=frozenset({"a.yaml"})))
    assert not merger.changes()
    merger.apply("files", Snapshot(records=()))
    assert merger.changes().deletes


def test_a_cold_start_serves_the_stored_records_until_the_source_speaks() -> None:
    stored = records("files", service("a")) + records("gone", service("z"))
    merger = Merger(["files"], stored)
    changes = merger.changes()
    assert [r.resource.metadata.name for r in changes.deletes] == ["z"]  # its source is no more
    merger.apply("files", snapshot("files", service("a")))
    assert not merger.changes()


@pytest.mark.parametrize("newcomer_first", [True, False])
def test_the_virtual_service_in_force_keeps_its_host(newcomer_first: bool) -> None:
    merger = Merger(["files"])
    merger.apply("files", snapshot("files", virtual("b", "h.example")))
    merger.changes()
    both = [virtual("a", "h.example"), virtual("b", "h.example")]
    merger.apply("files", snapshot("files", *(both if newcomer_first else reversed(both))))
    (late,) = merger.changes().puts
    assert (late.resource.metadata.name, late.lost_hosts) == ("a", ("h.example",))
    (conflict,) = merger.conflicts
    assert conflict.resource == "VirtualService/default/a"
    assert "VirtualService/default/b" in conflict.expected


def test_at_a_cold_start_the_older_keeps_the_host() -> None:
    merger = Merger(["files"])
    young = virtual("a", "h.example", "2026-02-01T00:00:00Z")
    old = virtual("b", "h.example", "2026-01-01T00:00:00Z")
    merger.apply("files", snapshot("files", young, old))
    assert lost(merger.changes()) == {"a": ("h.example",), "b": ()}


def lost(changes: ChangeSet) -> dict[str, tuple[str, ...]]:
    return {record.resource.metadata.name: record.lost_hosts for record in changes.puts}


def test_each_host_is_contested_by_itself_and_gateways_are_not() -> None:
    merger = Merger(["files"])
    both = virtual("b", "h.example, k.example").replace("spec: {", "spec: {gateways: [mesh, g], ")
    merger.apply("files", snapshot("files", virtual("a", "h.example"), both))
    assert lost(merger.changes()) == {"a": (), "b": ("h.example",)}
    only_gateway = virtual("a", "h.example").replace("spec: {", "spec: {gateways: [g], ")
    merger.apply("files", snapshot("files", only_gateway, both))
    assert lost(merger.changes()) == {"a": (), "b": ()}
    assert not merger.conflicts


def test_the_other_one_takes_over_when_the_owner_goes() -> None:
    merger = Merger(["files"])
    merger.apply("files", snapshot("files", virtual("a", "h.example"), virtual("b", "h.example")))
    assert lost(merger.changes()) == {"a": (), "b": ("h.example",)}
    merger.apply("files", snapshot("files", virtual("b", "h.example")))
    assert lost(merger.changes()) == {"b": ()}
    assert not merger.conflicts


def test_a_new_source_version_alone_is_no_change() -> None:
    merger = Merger(["files"])
    (record,) = records("files", service("a"))
    merger.apply("files", Snapshot(records=(record,)))
    merger.changes()
    again = msgspec.structs.replace(record, source_version="2")
    assert not merger.apply("files", Snapshot(records=(again,)))


def test_a_change_says_which_endpoints_came_and_went() -> None:
    merger = Merger(["files"])
    merger.apply("files", snapshot("files", service("a"), service("b")))
    assert merger.changes().notes == ("new", "new")
    labelled = service("b").replace("{address: 10.0.0.1}", "{address: 10.0.0.1, weight: 3}")
    merger.apply("files", snapshot("files", service("a", "10.0.0.2"), labelled))
    assert merger.changes().notes == ("+10.0.0.2 -10.0.0.1", "changed")
    many = ", ".join(f"{{address: 10.0.1.{n}}}" for n in range(6))
    merger.apply("files", snapshot("files", service("b").replace("{address: 10.0.0.1}", many)))
    (note,) = merger.changes().notes
    assert note == ("+10.0.1.0 +10.0.1.1 +10.0.1.2 +10.0.1.3 -10.0.0.1 2 more endpoints")


def test_a_source_learns_what_of_it_is_not_in_force_and_why() -> None:
    merger = Merger(["files", "fleet"])
    files = virtual("local", "a.example"), virtual("same", "s.example")
    merger.apply("files", snapshot("files", *files))
    said = (
        virtual("late", "a.example"),
        virtual("same", "t.example"),
        virtual("fine", "b.example"),
    )
    merger.apply("fleet", snapshot("fleet", *said, service("x")))
    merger.changes()
    assert {(p.resource, p.found) for p in merger.overruled("fleet")} == {
        ("VirtualService/default/late", "a.example (gateway mesh)"),
        ("VirtualService/default/same", "the same resource in source files, which has precedence"),
    }
    before = merger.overruled("fleet")
    merger.apply("files", snapshot("files", *files, service("busy")))
    assert merger.changes()
    assert merger.overruled("fleet") is before  # or each change of any source is told to the fleet
    merger.apply("files", snapshot("files"))
    merger.changes()
    assert merger.overruled("fleet") == ()


def test_a_service_whose_host_another_source_has_is_overruled() -> None:
    merger = Merger(["files", "fleet"])
    merger.apply("files", snapshot("files", service("a")))
    merger.apply("fleet", snapshot("fleet", service("b"), service("a", "10.0.0.2")))
    merger.changes()
    assert merger.overruled("files") == ()
    (problem,) = merger.overruled("fleet")
    assert problem.resource == "ServiceEntry/default/a"
    assert "files" in problem.found


def test_what_is_said_of_a_conflict_is_the_same_object_while_it_stands() -> None:
    """10,000 shared hosts cost one change of one of them next to nothing, and are logged once."""
    merger = Merger(["one", "two"])
    shared = [service(name) for name in "abc"]
    owner, late = virtual("v", "v.example", "2020-01-01T00:00:00Z"), virtual("w", "v.example")
    merger.apply("one", snapshot("one", *shared, owner, late))
    merger.apply("two", snapshot("two", *shared))
    merger.changes()
    first = merger.conflicts
    assert [problem.resource for problem in first] == [
        "VirtualService/default/w",
        *(f"ServiceEntry/default/{name}" for name in "abc"),
    ]
    merger.apply(
        "one",
        snapshot("one", service("a", "10.0.0.9"), *shared[1:], owner, late, virtual("x", "x")),
    )
    assert merger.changes()
    assert [id(problem) for problem in merger.conflicts] == [id(problem) for problem in first]
    merger.apply("two", snapshot("two", *shared[1:]))
    merger.changes()
    assert merger.conflicts == (first[0], *first[2:])
