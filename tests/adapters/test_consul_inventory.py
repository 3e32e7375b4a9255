"""Which services must be read again, when their changes are taken, and what is doubted."""

from __future__ import annotations

import msgspec
import pytest

from adapters.consul.inventory import Inventory, is_wanted
from adapters.consul.options import Options
from adapters.consul.pace import is_much_smaller, next_index
from adapters.consul.translate import Rules
from adapters.consul.wire import Check, Instance, Node, Service


def inventory(options: Options | None = None, rules: Rules | None = None) -> Inventory:
    return Inventory(rules or Rules(), lambda name: is_wanted(name, options or Options()))


def on(node: str, port: int = 80, *checks: Check) -> tuple[Instance, ...]:
    return (Instance(Node(node=node, address="10.0.0.1"), Service(id="a", port=port), checks),)


def check(status: str, *, service: str = "", node: str = "vm", output: str = "") -> Check:
    return Check(node=node, check_id="c", status=status, service_name=service)


def heard(known: Inventory, name: str, instances: tuple[Instance, ...]) -> bool:
    return known.heard_instances(name, msgspec.json.encode(instances), lambda: instances)


def filled(*names: str) -> Inventory:
    known = inventory()
    known.heard_services(1, dict.fromkeys(names, ()))
    for name in names:
        heard(known, name, on(f"vm-{name}"))
    known.take()
    return known


def listed(known: Inventory, *critical: Check) -> set[str]:
    known.heard_checks("warning", ())
    return known.heard_checks("critical", critical)


def test_new_services_and_changed_tags_are_read_again() -> None:
    known = inventory()
    assert known.heard_services(1, {"a": ("x", "y"), "b": ()}) == {"a", "b"}
    assert known.heard_services(2, {"a": ("y", "x"), "b": ()}) == set()
    assert known.heard_services(3, {"a": ("y",), "b": ()}) == {"a"}


def test_only_wanted_services_exist() -> None:
    known = inventory(Options(prefix="shop-", include=("*web*",), exclude=("*-proxy",)))
    services = dict.fromkeys(("shop-web", "shop-web-proxy", "shop-db", "old-shop-web"), ())
    assert known.heard_services(1, services) == {"shop-web"}
    assert not heard(known, "shop-db", on("vm"))


def test_a_service_none_of_whose_instances_can_have_the_tags_is_not_read() -> None:
    known = inventory(rules=Rules(tags=frozenset({"x"})))
    assert known.heard_services(1, {"a": ("x", "y"), "b": ("y",)}) == {"a"}


def test_a_check_that_says_other_than_the_service_names_it() -> None:
    known = filled("a", "b")
    assert listed(known, check("critical", service="a")) == {"a"}
    assert listed(known, check("critical", service="a")) == {"a"}, "until it was read"
    heard(known, "a", on("vm", 80, check("critical", service="a")))
    assert listed(known, check("critical", service="a")) == set()
    assert listed(known) == {"a"}


def test_nothing_is_compared_before_both_lists_of_checks_are_there() -> None:
    known = filled("a")
    assert known.heard_checks("critical", (check("critical", service="a"),)) == set()
    assert known.heard_checks("warning", ()) == {"a"}


def test_a_check_of_a_node_concerns_every_service_on_it() -> None:
    known = filled("a", "b", "c")
    heard(known, "c", on("vm-a", 81))
    assert listed(known, check("critical", node="vm-a")) == {"a", "c"}
    heard(known, "c", on("vm-b", 81))
    assert listed(known, check("critical", node="vm-a")) == {"a"}


def test_an_equal_answer_is_not_even_decoded() -> None:
    known = filled("a")

    def refuse() -> tuple[Instance, ...]:
        raise AssertionError

    assert not known.heard_instances("a", msgspec.json.encode(on("vm-a")), refuse)
    assert known.take() == set()


def test_a_new_output_of_a_check_changes_nothing() -> None:
    known = filled("a")
    assert known.heard_instances("a", b"another", lambda: on("vm-a"))
    assert known.take() == set()


def test_changes_are_taken_once_and_only_when_everything_was_asked_about() -> None:
    known = inventory()
    known.heard_services(1, {"a": (), "b": ()})
    heard(known, "a", on("vm"))
    assert not known.is_settled
    assert (known.progress, known.take()) == ((1, 2), set())
    known.failed("b")
    assert known.is_settled
    assert known.take() == {"a", "b"}
    assert known.take() == set()


def test_a_service_that_is_gone_is_a_change() -> None:
    known = filled("a", "b")
    known.heard_services(2, {"b": ()})
    assert known.take() == {"a"}
    assert known.part("a") is None


def test_a_service_that_cannot_be_read_keeps_its_last_reading() -> None:
    known = filled("a", "b")
    known.failed("a")
    assert (set(known.failures), set(known.unknown)) == ({"a"}, set())
    assert known.part("a") is not None
    assert heard(known, "a", on("vm-a"))
    assert set(known.failures) == set()
    assert known.take() == {"a"}, "so that it is said that it is well again"


def test_a_service_that_could_never_be_read_is_unknown() -> None:
    known = inventory()
    known.heard_services(1, {"a": ()})
    known.failed("a")
    assert set(known.unknown) == {"a"}


def test_after_an_error_changes_wait_until_all_was_read_again() -> None:
    known = filled("a", "b")
    known.unsettle()
    known.heard_services(5, {"a": (), "b": ()})
    heard(known, "a", on("vm-a", 81))
    assert known.take() == set()
    heard(known, "b", on("vm-b"))
    assert known.take() == {"a"}
    assert known.doubt == ""


def test_much_less_right_after_an_error_is_doubted() -> None:
    known = filled("a", "b", "c")
    known.unsettle()
    known.heard_services(5, {"a": ()})
    heard(known, "a", on("vm-a"))
    assert known.doubt == "the first answer after an error is much smaller"


def test_a_doubt_stays_until_it_is_settled_by_the_owner() -> None:
    known = filled("a")
    known.unsettle("it counts backwards")
    known.heard_services(2, {"a": ()})
    heard(known, "a", on("vm-a"))
    assert known.doubt == "it counts backwards"


@pytest.mark.parametrize(
    ("services", "filtered", "doubt"),
    [
        ({"a": ()}, False, ""),
        ({}, False, "the catalog is empty: the token may have lost its rights"),
        ({"a": ()}, True, "Consul began to filter its answers by the token's rights"),
    ],
)
def test_lost_rights_are_doubted_as_far_as_they_can_be_seen(
    services: dict[str, tuple[str, ...]], filtered: bool, doubt: str
) -> None:
    known = filled("a")
    known.heard_services(2, services, filtered)
    assert known.doubt == doubt


def test_a_token_that_never_saw_everything_is_not_doubted() -> None:
    known = inventory()
    for index in (1, 2):
        known.heard_services(index, {"a": ()}, is_filtered=True)
    assert known.doubt == ""


def test_what_changed_lately_comes_first() -> None:
    known = filled("a", "b", "c")
    heard(known, "b", on("vm-b", 81))
    heard(known, "a", on("vm-a", 81))
    assert known.lately_changed(["c", "b", "a"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("asked", "answered", "following"),
    [(0, 5, 5), (5, 5, 5), (5, 9, 9), (9, 5, 0), (0, 0, 1), (5, 0, 0), (0, -1, 0)],
)
def test_an_index_that_goes_backwards_starts_over(
    asked: int, answered: int, following: int
) -> None:
    assert next_index(asked, answered) == following


@pytest.mark.parametrize(
    ("before", "now", "smaller"), [(10, 10, False), (10, 5, False), (10, 4, True), (0, 0, False)]
)
def test_less_than_half_is_much_smaller(before: int, now: int, smaller: bool) -> None:
    assert is_much_smaller(before, now) is smaller
