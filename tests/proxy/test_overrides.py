"""What `x-envoy-*` headers make of a route."""

from __future__ import annotations

import dataclasses

import pytest

from egressd.proxy.http1.request import parse_request
from egressd.proxy.overrides import overridden, timeout_status
from egressd.routing.table import RetryPolicy, Route

POLICY = RetryPolicy(attempts=2, retry_on=frozenset({"reset"}), per_try_timeout_s=2.0)
ROUTE = Route("", "here", (), timeout_s=10.0, retry=POLICY)
BARE = Route("", "here", ())


def named(**headers: str) -> dict[bytes, bytes]:
    return {b"x-envoy-" + k.replace("_", "-").encode(): v.encode() for k, v in headers.items()}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 0.015), ("1500", 1.5), ("+20", 0.02), ("0", None), ("-1", 10.0), ("1.5", 10.0),
        ("", 10.0), ("1s", 10.0), ("1,2", 10.0), ("9" * 30, 10.0), ("\u0661", 10.0),
    ],
)  # fmt: skip
def test_a_timeout_is_a_whole_number_of_milliseconds(text: str, seconds: float | None) -> None:
    assert overridden(ROUTE, named(upstream_rq_timeout_ms=text)).timeout_s == seconds


@pytest.mark.parametrize(
    ("headers", "per_try"),
    [
        (named(upstream_rq_per_try_timeout_ms="500"), 0.5),
        (named(upstream_rq_per_try_timeout_ms="0"), None),
        (named(upstream_rq_per_try_timeout_ms="10000"), None),
        (named(upstream_rq_per_try_timeout_ms="20000", upstream_rq_timeout_ms="0"), 20.0),
        (named(upstream_rq_timeout_ms="1000"), None),
        (named(max_retries="1"), 2.0),
    ],
)
def test_the_timeout_of_a_try_is_below_that_of_the_request(
    headers: dict[bytes, bytes], per_try: float | None
) -> None:
    retry = overridden(ROUTE, headers).retry
    assert retry is not None
    assert retry.per_try_timeout_s == per_try


def test_a_try_has_a_timeout_without_retries() -> None:
    retry = overridden(BARE, named(upstream_rq_per_try_timeout_ms="500")).retry
    assert retry == RetryPolicy(attempts=0, retry_on=frozenset(), per_try_timeout_s=0.5)


@pytest.mark.parametrize(
    ("headers", "policy"),
    [
        ({"retry_on": "5xx, reset,bogus"}, RetryPolicy(1, frozenset({"5xx", "reset"}), explicit=True)),
        ({"retry_grpc_on": "cancelled,5xx"}, RetryPolicy(1, frozenset({"cancelled"}), explicit=True)),
        ({"retry_on": "cancelled"}, None),
        ({"max_retries": "3"}, None),
        ({"retry_on": "5xx", "max_retries": "3"}, RetryPolicy(3, frozenset({"5xx"}), explicit=True)),
        ({"retry_on": "5xx", "max_retries": "-3"}, RetryPolicy(1, frozenset({"5xx"}), explicit=True)),
        ({"retriable_status_codes": "404"}, None),
    ],
)  # fmt: skip
def test_conditions_of_a_request_to_a_route_without_retries(
    headers: dict[str, str], policy: RetryPolicy | None
) -> None:
    assert overridden(BARE, named(**headers)).retry == policy


def test_conditions_join_those_of_the_route() -> None:
    retry = overridden(ROUTE, named(retry_on="5xx", max_retries="0")).retry
    wanted = dataclasses.replace(
        POLICY, attempts=0, retry_on=frozenset({"reset", "5xx"}), explicit=True
    )
    assert retry == wanted


def test_a_route_is_the_same_where_nothing_is_said_of_it() -> None:
    assert (
        overridden(ROUTE, named(decorator_operation="a", hedge_on_per_try_timeout="true")) is ROUTE
    )


def test_a_timeout_is_204_where_the_client_wants_it() -> None:
    assert timeout_status(None) == timeout_status({}) == 504
    assert timeout_status(named(upstream_rq_timeout_alt_response="")) == 204


def test_fields_of_one_name_are_joined_and_none_goes_on() -> None:
    head = parse_request(
        b"GET / HTTP/1.1\r\nHost: a\r\n"
        b"X-Envoy-Retry-On: 5xx\r\nx-envoy-retry-on:  reset \r\na: 1\r\n\r\n"
    )
    assert head.envoy == {b"x-envoy-retry-on": b"5xx,reset"}
    assert head.end_to_end_lines() == b"Host: a\r\na: 1\r\n"
    head.ignore_envoy_headers()
    assert head.envoy is None
    assert head.lines == b"Host: a\r\na: 1\r\n"
