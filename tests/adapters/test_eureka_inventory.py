"""What is known of a Eureka registry over full listings and deltas, and when to doubt one."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from adapters.eureka.doubt import Circumstances, doubt_of, is_young
from adapters.eureka.inventory import Inventory
from adapters.eureka.translate import GroupBy, Rules, names_of, translate_service
from adapters.eureka.wire import Instance, Lease, Port
from egressd.api.service_entry import ServiceEntry
from egressd.registry.records import Record


def instance(
    app: str, own: str, *, vip: str = "", action: str = "ADDED", port: int = 80
) -> Instance:
    return Instance(
        app=app,
        instance_id=own,
        ip_addr="10.0.0.1",
        status="UP",
        port=Port(port, True),
        vip_address=vip,
        action_type=action,
    )


def inventory(group_by: GroupBy = "app", **selection: tuple[str, ...]) -> Inventory:
    return Inventory(
        "eureka",
        partial(translate_service, rules=Rules()),
        partial(names_of, group_by=group_by),
        **selection,
    )


def listed(known: Inventory, *instances: Instance) -> None:
    known.put(instances)
    known.retain({instance.key for instance in instances})


def translated(known: Inventory, version: int = 1) -> dict[str, int]:
    """Endpoints by service, after everything stale was translated."""
    for name in known.stale:
        known.translate(name, version)
    return {record.origin: len(spec(record).endpoints) for record in records(known)}


def records(known: Inventory) -> tuple[Record, ...]:
    return known.snapshot(1, doubt="", is_reread=False).records


def spec(record: Record) -> ServiceEntry:
    assert isinstance(record.resource.spec, ServiceEntry)
    return record.resource.spec


def test_a_delta_adds_modifies_and_deletes_in_its_order() -> None:
    known = inventory()
    listed(known, instance("WEB", "a"), instance("PAY", "b"))
    translated(known)
    known.update(
        [
            instance("WEB", "c", port=81),
            instance("PAY", "b", action="DELETED"),
            instance("NEW", "d", action="DELETED"),
            instance("NEW", "d"),
        ]
    )
    assert translated(known, 2) == {"web": 2, "new": 1}
    assert known.hashcode == "UP_3_"


def test_a_service_that_is_gone_leaves_nothing_behind() -> None:
    known = inventory()
    listed(known, instance("A", "1"))
    assert translated(known) == {"a": 1}
    listed(known)
    assert translated(known) == {}
    assert not known._members


def test_a_repeated_delta_changes_nothing_and_keeps_the_very_records() -> None:
    known = inventory()
    listed(known, instance("WEB", "a"), instance("PAY", "b"))
    translated(known)
    before = records(known)
    known.update([instance("WEB", "a", action="MODIFIED")])
    assert not known.stale
    listed(known, instance("PAY", "b"), instance("WEB", "a", port=81))
    assert known.stale == {"web"}
    translated(known, 7)
    pay, web = records(known)
    assert pay is before[0]
    assert (web.source_version, before[1].source_version) == ("7", "1")


def test_a_change_that_says_the_same_is_no_change() -> None:
    known = inventory()
    listed(known, instance("WEB", "a", vip="x"))
    translated(known)
    known.update([instance("WEB", "a", vip="y")])  # not part of the entry
    assert known.stale == {"web"} and not known.translate("web", 2)


def test_instances_move_between_virtual_addresses() -> None:
    known = inventory("vip")
    listed(known, instance("ONE", "a", vip="x,y"), instance("TWO", "b", vip="y", port=81))
    assert translated(known) == {"x": 1, "y": 2}
    known.update([instance("ONE", "a", vip="z")])
    assert translated(known) == {"y": 1, "z": 1}


def test_services_are_selected_by_name() -> None:
    known = inventory(include=("w*",), exclude=("web-test",))
    listed(known, *(instance(app, app) for app in ("WEB", "WEB-TEST", "PAY")))
    assert translated(known) == {"web": 1}
    assert known.hashcode == "UP_3_"  # the server counts all


def test_two_names_of_one_host_are_told_and_the_first_has_it() -> None:
    known = inventory()
    listed(known, instance("MY-APP", "a"), instance("MY_APP", "b"))
    assert translated(known) == {"my-app": 1}
    assert "'my_app', whose host another service has" in known.problems()[-1].found


def test_a_new_status_makes_another_instance() -> None:
    known = inventory()
    up = instance("WEB", "a")
    listed(known, up)
    translated(known)
    known.update([msgspec.structs.replace(up, status="DOWN")])
    assert translated(known) == {"web": 0} and known.hashcode == "DOWN_1_"


@pytest.mark.parametrize(
    ("before", "now", "circumstances", "is_doubted"),
    [
        (0, 0, Circumstances(is_first=True), True),
        (0, 5, Circumstances(is_first=True), False),
        (0, 0, Circumstances(), False),
        (10, 0, Circumstances(), True),
        (10, 1, Circumstances(), False),  # for the guard to judge
        (10, 0, Circumstances(is_after_error=True), True),
        (10, 4, Circumstances(is_after_error=True), True),
        (10, 5, Circumstances(is_after_error=True), False),
        (10, 8, Circumstances(is_young=True), True),
        (10, 9, Circumstances(is_young=True), False),
        (0, 9, Circumstances(is_young=True, is_first=True), True),
        (0, 0, Circumstances(is_after_error=True), False),
    ],
)
def test_a_smaller_listing_is_doubted_by_what_it_follows_on(
    before: int, now: int, circumstances: Circumstances, is_doubted: bool
) -> None:
    assert bool(doubt_of(before, now, circumstances)) is is_doubted


@pytest.mark.parametrize(
    ("leases", "young"),
    [
        ([], False),
        ([None], False),
        ([(1_000_000, 1_299_000)], True),
        ([(1_000_000, 1_300_000)], False),
        ([(1_290_000, 1_299_000), (1_000_000, 1_301_000)], False),
        ([(0, 0), (5, 5)], False),
    ],
)
def test_a_registry_is_young_when_its_oldest_registration_is(
    leases: list[tuple[int, int] | None], young: bool
) -> None:
    instances = [Instance(lease_info=Lease(*times) if times else None) for times in leases]
    assert is_young(instances) is young
