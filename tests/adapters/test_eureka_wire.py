"""Answers of Eureka servers of several makes, read."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from adapters.eureka.wire import Instance, Port, hashcode_of, read_application, read_listing

BODY = (Path(__file__).parent / "eureka_apps.json").read_bytes()


def listed(body: bytes = BODY) -> list[Instance]:
    return [i for raw in read_listing(body).applications for i in read_application(raw).instances]


def changed(**fields: object) -> bytes:
    """The answer with fields of the first instance changed."""
    body = json.loads(BODY)
    body["applications"]["application"][0]["instance"][0] |= fields
    return json.dumps(body).encode()


def test_instances_are_read_as_jackson_and_xstream_write_them() -> None:
    orders, down, pay = listed()
    assert orders.key == ("ORDERS", "vm-1:orders:8080")
    assert (orders.port, orders.secure_port) == (Port(8080, True), Port(443, False))
    assert (orders.port.usable, orders.secure_port.usable) == (8080, 0)
    assert (down.status, down.action_type) == ("DOWN", "MODIFIED")
    assert (pay.key, pay.secure_port.usable) == (("PAY", "i-1"), 8443)


def test_the_hash_code_of_a_listing_is_that_of_its_instances() -> None:
    listing = read_listing(BODY)
    assert (listing.version, listing.hashcode) == (1, "DOWN_1_UP_2_")
    assert hashcode_of(listed()) == listing.hashcode
    assert hashcode_of([]) == ""


def test_a_status_that_nobody_knows_counts_as_unknown() -> None:
    assert hashcode_of([Instance(status="SLEEPY"), Instance()]) == "UNKNOWN_2_"


@pytest.mark.parametrize(
    ("status", "override", "effective"),
    [
        ("UP", "UNKNOWN", "UP"),
        ("UP", "OUT_OF_SERVICE", "OUT_OF_SERVICE"),
        ("OUT_OF_SERVICE", "UP", "UP"),
        ("DOWN", "UP", "DOWN"),
        ("STARTING", "UP", "STARTING"),
    ],
)
@pytest.mark.parametrize("spelling", ["overriddenStatus", "overriddenstatus"])
def test_an_override_wins_unless_the_instance_itself_is_not_up(
    status: str, override: str, effective: str, spelling: str
) -> None:
    body = changed(**{"status": status, spelling: override})
    assert listed(body)[0].effective_status == effective


@pytest.mark.parametrize(
    "fields", [{"port": "8080"}, {"status": 1}, {"metadata": []}, {"port": {"$": "many"}}]
)
def test_an_unreadable_instance_is_left_out_and_told(fields: dict[str, object]) -> None:
    applications = [read_application(raw) for raw in read_listing(changed(**fields)).applications]
    assert [len(application.instances) for application in applications] == [1, 1]
    assert len(applications[0].unreadable) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"<applications/>", b"[]", b"{}", b'{"applications": []}', BODY[:-20]],
)
def test_what_is_no_list_of_applications_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_listing(body)


def test_a_registry_without_applications_is_a_list() -> None:
    for application in ('"application": []', '"application": null', '"versions__delta": "3"'):
        assert read_listing(f'{{"applications": {{{application}}}}}'.encode()).applications == ()
