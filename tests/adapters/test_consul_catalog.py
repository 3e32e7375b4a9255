"""What several datacenters say together."""

from __future__ import annotations

from adapters.consul.catalog import Catalog, version_of
from adapters.consul.translate import Part, Rules, read_part
from adapters.consul.wire import Instance, Node, Service
from egressd.api.service_entry import ServiceEntry


def part(address: str, dc: str = "") -> Part:
    found = read_part(
        [Instance(Node(node="vm", datacenter=dc), Service(id="a", address=address, port=80))],
        Rules(),
    )
    assert found is not None
    return found


def endpoints(catalog: Catalog) -> dict[str, list[str]]:
    found = {}
    for record in catalog.records():
        assert isinstance(record.resource.spec, ServiceEntry)
        found[record.origin] = [e.address for e in record.resource.spec.endpoints]
    return found


def test_one_host_has_the_endpoints_of_all_datacenters() -> None:
    catalog = Catalog("consul", Rules())
    catalog.put("dc2", "web", part("10.2.0.1"), "7")
    catalog.put("dc1", "web", part("10.1.0.1"), "9")
    assert endpoints(catalog) == {"web": ["10.1.0.1", "10.2.0.1"]}
    catalog.put("dc2", "web", None, "8")
    assert endpoints(catalog) == {"web": ["10.1.0.1"]}
    catalog.drop("dc1")
    assert endpoints(catalog) == {}


def test_a_template_that_names_the_datacenter_keeps_them_apart() -> None:
    catalog = Catalog("consul", Rules(template="{name}.service.{dc}.consul"))
    catalog.put("dc1", "web", part("10.1.0.1"), "9")
    catalog.put("dc2", "web", part("10.2.0.1"), "7")
    assert endpoints(catalog) == {"dc1/web": ["10.1.0.1"], "dc2/web": ["10.2.0.1"]}


def test_an_equal_part_keeps_the_same_record() -> None:
    catalog = Catalog("consul", Rules())
    catalog.put("", "web", part("10.1.0.1"), "1")
    (before,) = catalog.records()
    catalog.put("", "web", part("10.1.0.1"), "2")
    assert catalog.records()[0] is before
    catalog.put("", "web", part("10.1.0.2"), "3")
    assert catalog.records()[0].source_version == "3"


def test_two_services_of_one_host_are_a_conflict_that_the_first_wins() -> None:
    catalog = Catalog("consul", Rules())
    catalog.put("", "web", part("10.1.0.2"), "1")
    catalog.put("", "Web", part("10.1.0.1"), "1")
    assert endpoints(catalog) == {"Web": ["10.1.0.1"]}
    assert [problem.found for problem in catalog.problems()] == [
        "Consul service 'web', whose host another service has already"
    ]
    catalog.put("", "Web", None, "2")
    assert endpoints(catalog) == {"web": ["10.1.0.2"]}
    assert catalog.problems() == ()


def test_a_prepared_query_is_a_host_of_its_own() -> None:
    catalog = Catalog("consul", Rules())
    catalog.put("", "web", part("10.1.0.1"), "1")
    catalog.put_query("web", part("10.1.0.2"))
    assert endpoints(catalog) == {"web": ["10.1.0.1"], "query/web": ["10.1.0.2"]}
    hosts = [r.resource.spec.hosts for r in catalog.records()]  # type: ignore[union-attr]
    assert hosts == [("web.service.consul",), ("web.query.consul",)]


def test_records_of_some_origins_can_be_left_out() -> None:
    catalog = Catalog("consul", Rules())
    for name in ("a", "b"):
        catalog.put("", name, part("10.1.0.1"), "1")
    assert [r.origin for r in catalog.records(without=frozenset({"a"}))] == ["b"]


def test_the_version_names_the_datacenters_where_there_are_several() -> None:
    assert version_of({"": 7}) == "7"
    assert version_of({"dc2": 7, "dc1": 9}) == "dc1=9 dc2=7"


def test_what_an_earlier_run_knew_of_a_datacenter_stands_until_it_is_read() -> None:
    before = Catalog("consul", Rules())
    before.put("dc1", "web", part("10.1.0.1", "dc1"), "1")
    before.put("dc2", "web", part("10.2.0.1", "dc2"), "1")
    before.put("dc2", "far", part("10.2.0.2", "dc2"), "1")
    catalog = Catalog("consul", Rules())
    assert catalog.adopt("dc2", before.records()) == {"web", "far"}
    catalog.put("dc1", "web", part("10.1.0.9", "dc1"), "2")
    assert endpoints(catalog) == {"web": ["10.1.0.9", "10.2.0.1"], "far": ["10.2.0.2"]}
    (far,) = (r for r in catalog.records() if r.origin == "far")
    assert far.resource in [r.resource for r in before.records()]


def test_what_is_adopted_is_of_the_datacenter_that_the_origin_names() -> None:
    rules = Rules(template="{name}.service.{dc}.consul")
    before = Catalog("consul", rules)
    before.put("dc1", "web", part("10.1.0.1", "dc1"), "1")
    before.put("dc2", "web", part("10.2.0.1", "dc2"), "1")
    before.put_query("web", part("10.2.0.1", "dc2"))
    catalog = Catalog("consul", rules)
    assert catalog.adopt("dc2", before.records()) == {"web"}
    assert endpoints(catalog) == {"dc2/web": ["10.2.0.1"]}
