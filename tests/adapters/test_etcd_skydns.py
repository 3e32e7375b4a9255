"""SkyDNS records of etcd as ServiceEntries: a table of keys and values, and what becomes of them."""

from __future__ import annotations

import pytest

from adapters.etcd.options import Options
from adapters.etcd.skydns import Rules, SkyDnsLayout, hosts_of
from egressd.api.parse import parse_text
from egressd.api.render import to_yaml
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.registry.keyvalue import Entry

WEB = "/skydns/com/example/web"


def layout(keys: dict[str, str], **rules: object) -> SkyDnsLayout:
    given = {"own_names": False, **rules}
    found = SkyDnsLayout("corp", "/skydns/", Rules(**given))  # type: ignore[arg-type]
    for revision, (key, content) in enumerate(keys.items(), 2):
        found.put(Entry(key, content.encode(), revision))
    return found


def entry(of: SkyDnsLayout, host: str = "web.example.com") -> ServiceEntry:
    (record,) = [record for record in of.records() if record.origin == host]
    assert isinstance(record.resource.spec, ServiceEntry)
    return record.resource.spec


@pytest.mark.parametrize(
    ("key", "rules", "hosts"),
    [
        ("com/example/web/x1", Rules(), ("web.example.com", "x1.web.example.com")),
        ("com/example/web/x1", Rules(own_names=False), ("web.example.com",)),
        ("com/example/db", Rules(domain="example.com"), ("db.example.com",)),
        ("com/example/db", Rules(domain="corp"), ()),
        ("local/Web", Rules(), ("web.local",)),
        ("com/example/under_score/x", Rules(own_names=False), ()),
        ("com/example/*/x", Rules(own_names=False), ("*.example.com",)),
        ("arpa/in-addr/10/0/0/1", Rules(), ()),
        ("com/example/dns/ns/a", Rules(), ()),
        ("", Rules(), ()),
    ],
)
def test_a_key_belongs_to_the_name_above_it_and_its_own(
    key: str, rules: Rules, hosts: tuple[str, ...]
) -> None:
    assert hosts_of("/skydns/" + key, "/skydns/", rules) == hosts


def test_records_become_endpoints_with_ports_weights_and_priorities() -> None:
    found = entry(
        layout(
            {
                f"{WEB}/x1": '{"host": "10.0.0.1", "port": 8080, "weight": 20, "ttl": 60}',
                f"{WEB}/x2": '{"host": "10.0.0.2", "port": 8080, "priority": 10}',
                f"{WEB}/x3": '{"host": "10.0.0.3", "port": 9090}',
            }
        )
    )
    assert (found.hosts, found.resolution) == (("web.example.com",), Resolution.STATIC)
    (port,) = found.ports
    assert (port.number, port.name, port.protocol) == (8080, "http", "HTTP")
    assert [(e.address, e.weight, dict(e.ports), e.labels) for e in found.endpoints] == [
        ("10.0.0.1", 20, {"http": 8080}, {"instance": "x1", "srv.priority": "10"}),
        ("10.0.0.2", 100, {"http": 8080}, {"instance": "x2", "srv.priority": "10"}),
        ("10.0.0.3", 100, {"http": 9090}, {"instance": "x3", "srv.priority": "10"}),
    ]


def test_only_the_lowest_priority_is_used_until_it_is_gone() -> None:
    of = layout({f"{WEB}/a": '{"host": "::1", "priority": 5}', f"{WEB}/b": '{"host": "::2"}'})
    assert [endpoint.address for endpoint in entry(of).endpoints] == ["::1"]
    of.delete(f"{WEB}/a")
    assert [endpoint.address for endpoint in entry(of).endpoints] == ["::2"]


def test_what_is_made_is_valid() -> None:
    of = layout(
        {f"{WEB}/x1": '{"host": "10.0.0.1"}', f"{WEB}/x2": '{"host": "db.corp."}'}, own_names=True
    )
    for record in of.records():
        parsed = parse_text(to_yaml(record.resource), "rendered")
        assert parsed.problems == () and parsed.resources[0].spec == record.resource.spec


@pytest.mark.parametrize(
    ("values", "resolution", "addresses"),
    [
        (['{"host": "db.corp."}'], Resolution.DNS, ["db.corp"]),
        (['{"host": "10.0.0.1"}', '{"host": "db.corp"}'], Resolution.DNS, ["10.0.0.1", "db.corp"]),
        (['{"host": "::1"}', '{"host": "::1"}'], Resolution.STATIC, ["::1"]),
        (
            ['{"host": "10.0.0.1"}', '{"host": "10.0.0.2", "mail": true}'],
            Resolution.STATIC,
            ["10.0.0.1"],
        ),
    ],
)
def test_addresses_may_be_names(
    values: list[str], resolution: Resolution, addresses: list[str]
) -> None:
    found = entry(layout({f"{WEB}/x{n}": each for n, each in enumerate(values)}))
    assert found.resolution is resolution
    assert [endpoint.address for endpoint in found.endpoints] == addresses


def test_a_record_without_a_port_has_the_one_of_the_options() -> None:
    options = Options(port=8443, protocol="HTTPS", own_names=False)
    of = SkyDnsLayout("corp", "/skydns/", Rules.of(options))
    of.put(Entry(f"{WEB}/x1", b'{"host": "10.0.0.1"}', 2))
    (port,) = entry(of).ports
    assert (port.number, port.name, port.protocol) == (8443, "https", "HTTPS")


@pytest.mark.parametrize(
    ("groups", "taken"),
    [
        ({"": "g1", "/a": "g1", "/b": "g2", "/c": ""}, ["/", "/a", "/c"]),
        ({"": "", "/a": "g1", "/b": "g2"}, ["/", "/a", "/b"]),
        ({"/a": "g1", "/b": "g2"}, ["/a", "/b"]),  # the shortest keys disagree
        ({"/a": "g1", "/b": ""}, ["/a", "/b"]),
    ],
)
def test_groups_are_coredns_groups(groups: dict[str, str], taken: list[str]) -> None:
    values = {
        f"{WEB}{tail}": f'{{"host": "10.0.0.{number}", "group": "{group}"}}'
        for number, (tail, group) in enumerate(groups.items())
    }
    found = entry(layout(values, own_names=True))
    expected = [f"10.0.0.{n}" for n, tail in enumerate(groups) if (tail or "/") in taken]
    assert [endpoint.address for endpoint in found.endpoints] == expected


@pytest.mark.parametrize(
    "broken",
    [
        "{",
        '{"port": 80}',
        '{"host": "a b"}',
        '{"host": "10.0.0.1", "port": 70000}',
        '{"host": "10.0.0.1", "weight": -1}',
        '{"host": 1}',
    ],
)
def test_a_broken_value_keeps_what_its_key_said(broken: str) -> None:
    of = layout({f"{WEB}/x1": '{"host": "10.0.0.1"}', f"{WEB}/x2": '{"host": "10.0.0.2"}'})
    before = of.records()
    of.put(Entry(f"{WEB}/x1", broken.encode(), 9))
    assert of.records() == before and not of.failed_origins()
    assert [problem.place.file for problem in of.problems()] == [f"{WEB}/x1"]
    of.delete(f"{WEB}/x1")
    assert [e.address for e in entry(of).endpoints] == ["10.0.0.2"] and not of.problems()


def test_a_host_that_could_never_be_read_is_kept_by_the_registry() -> None:
    of = layout({f"{WEB}/x1": "{", "/skydns/com/example/db/x1": '{"host": "10.0.0.1"}'})
    assert of.failed_origins() == {"web.example.com"}
    of.put(Entry(f"{WEB}/x2", b'{"host": "10.0.0.2"}', 9))  # the rest of it can serve
    assert of.failed_origins() == frozenset()
    assert [e.address for e in entry(of).endpoints] == ["10.0.0.2"]


def test_one_key_touches_one_host() -> None:
    of = layout(
        {f"{WEB}/x1": '{"host": "10.0.0.1"}', "/skydns/com/example/db/x1": '{"host": "::1"}'}
    )
    before = {record.origin: record for record in of.records()}
    of.put(Entry(f"{WEB}/x2", b'{"host": "10.0.0.2"}', 9))
    after = {record.origin: record for record in of.records()}
    assert after["db.example.com"] is before["db.example.com"]
    assert after["web.example.com"].source_version == "9"
    of.delete(f"{WEB}/x1")
    of.delete(f"{WEB}/x2")
    assert [record.origin for record in of.records()] == ["db.example.com"]
