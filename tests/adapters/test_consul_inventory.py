"""Which services must be read again, what is published, and when Consul is asked again."""

from __future__ import annotations

import pytest

from adapters.backoff import backoff_s
from adapters.consul.inventory import Inventory
from adapters.consul.pace import is_mass_loss, next_index
from adapters.consul.translate import Rules, translate_service
from adapters.consul.wire import Check, Instance, Node, Service


def inventory(include: tuple[str, ...] = ("*",), exclude: tuple[str, ...] = ()) -> Inventory:
    def translate(name: str, instances: tuple[Instance, ...]):  # type: ignore[no-untyped-def]
        return translate_service(name, instances, Rules())

    return Inventory("consul", translate, include, exclude)


def on(node: str, port: int = 80) -> tuple[Instance, ...]:
    return (Instance(Node(node=node, address="10.0.0.1"), Service(id="a", port=port)),)


def check(status: str, *, service: str = "", node: str = "vm", output: str = "") -> Check:
    return Check(node=node, check_id="c", status=status, service_name=service)


def filled(*names: str) -> Inventory:
    known = inventory()
    known.heard_services(dict.fromkeys(names, ()))
    for name in names:
        known.heard_instances(name, on(f"vm-{name}"), 1)
    return known


def test_new_services_and_changed_tags_are_read_again() -> None:
    known = inventory()
    assert known.heard_services({"a": ["x", "y"], "b": []}) == {"a", "b"}
    assert known.heard_services({"a": ["y", "x"], "b": []}) == set()
    assert known.heard_services({"a": ["y"], "b": []}) == {"a"}


def test_only_wanted_services_exist() -> None:
    known = inventory(include=("shop-*",), exclude=("*-proxy",))
    services: dict[str, list[str]] = {"shop-web": [], "shop-web-proxy": [], "consul": []}
    assert known.heard_services(services) == {"shop-web"}
    assert not known.heard_instances("consul", on("vm"), 1)


def test_a_check_that_changes_names_its_service() -> None:
    known = filled("a", "b")
    known.heard_checks([check("passing", service="a"), check("passing", service="b")])
    changed = [check("critical", service="a"), check("passing", service="b")]
    assert known.heard_checks(changed) == {"a"}
    assert known.heard_checks(changed) == set()
    assert known.heard_checks([]) == {"a", "b"}


def test_a_check_of_a_node_concerns_every_service_on_it() -> None:
    known = filled("a", "b")
    known.heard_checks([check("passing", node="vm-a"), check("passing", node="vm-b")])
    after = [check("critical", node="vm-a"), check("passing", node="vm-b")]
    assert known.heard_checks(after) == {"a"}


def test_an_equal_answer_keeps_the_same_record() -> None:
    known = filled("a")
    before = known.snapshot(1).records[0]
    assert not known.heard_instances("a", on("vm-a"), 2)
    assert known.snapshot(2).records[0] is before
    assert known.heard_instances("a", on("vm-a", port=81), 3)
    assert known.snapshot(3).records[0].source_version == "3"


def test_a_service_that_is_gone_takes_its_entry_along() -> None:
    known = filled("a", "b")
    known.heard_services({"b": []})
    assert [record.origin for record in known.snapshot(1).records] == ["b"]


def test_a_service_that_cannot_be_read_is_a_failed_origin_until_it_can() -> None:
    known = filled("a", "b")
    known.failed("a")
    snapshot = known.snapshot(1)
    assert snapshot.failed_origins == {"a"}
    assert [record.origin for record in snapshot.records] == ["b"]
    assert known.heard_instances("a", on("vm-a"), 2)
    assert known.snapshot(2).failed_origins == frozenset()


def test_it_is_complete_when_every_service_was_asked_about() -> None:
    known = inventory()
    assert not known.is_complete
    known.heard_services({"a": [], "b": []})
    known.heard_instances("a", on("vm"), 1)
    assert not known.is_complete
    known.failed("b")
    assert known.is_complete


def test_two_services_of_one_host_are_a_conflict_that_the_first_wins() -> None:
    known = filled("Web", "web")
    assert [record.origin for record in known.snapshot(1).records] == ["Web"]
    assert [problem.found for problem in known.problems()] == [
        "Consul service 'web', whose host another service has already"
    ]


@pytest.mark.parametrize(
    ("asked", "answered", "following"),
    [(0, 5, 5), (5, 5, 5), (5, 9, 9), (9, 5, 0), (0, 0, 1), (5, 0, 0), (0, -1, 0)],
)
def test_an_index_that_goes_backwards_starts_over(
    asked: int, answered: int, following: int
) -> None:
    assert next_index(asked, answered) == following


@pytest.mark.parametrize(
    ("failures", "chance", "delay"),
    [(0, 1.0, 0.1), (1, 1.0, 0.2), (3, 0.5, 0.4), (99, 1.0, 5.0), (99, 0.0, 0.0)],
)
def test_back_off_doubles_to_its_ceiling_with_full_jitter(
    failures: int, chance: float, delay: float
) -> None:
    assert backoff_s(failures, 5.0, chance) == pytest.approx(delay)


@pytest.mark.parametrize(
    ("before", "now", "lost"),
    [(10, 10, False), (10, 5, False), (10, 4, True), (1, 0, True), (0, 0, True), (0, 3, False)],
)
def test_less_than_half_or_nothing_is_a_mass_loss(before: int, now: int, lost: bool) -> None:
    assert is_mass_loss(before, now) is lost
