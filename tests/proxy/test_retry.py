"""Which failures and answers are tried again."""

from __future__ import annotations

import pytest

from egressd.proxy.retry import Failure, backoff_s, retries_failure, retries_response
from egressd.routing.actions import DEFAULT_RETRY
from egressd.routing.table import RetryPolicy


def policy(*on: str, statuses: tuple[int, ...] = ()) -> RetryPolicy:
    return RetryPolicy(2, frozenset(on), frozenset(statuses), explicit=True)


@pytest.mark.parametrize(
    ("on", "failure", "retried"),
    [
        ("connect-failure", Failure.CONNECT, True),
        ("connect-failure", Failure.RESET, False),
        ("connect-failure", Failure.PER_TRY_TIMEOUT, False),
        ("reset", Failure.RESET, True),
        ("reset", Failure.CONNECT, True),
        ("reset", Failure.PER_TRY_TIMEOUT, True),
        ("deadline-exceeded", Failure.PER_TRY_TIMEOUT, False),
        ("reset-before-request", Failure.RESET, False),
        ("reset-before-request", Failure.CONNECT, True),
        ("gateway-error", Failure.PER_TRY_TIMEOUT, True),
        ("5xx", Failure.RESET, True),
        ("retriable-4xx", Failure.CONNECT, False),
    ],
)
def test_failures(on: str, failure: Failure, retried: bool) -> None:
    assert retries_failure(policy(on), failure, b"GET") is retried


@pytest.mark.parametrize(
    ("on", "statuses", "status", "lines", "retried"),
    [
        ("5xx", (), 500, b"", True),
        ("5xx", (), 404, b"", False),
        ("5xx", (), 200, b"", False),
        ("gateway-error", (), 500, b"", False),
        ("gateway-error", (), 502, b"", True),
        ("gateway-error", (), 504, b"", True),
        ("retriable-4xx", (), 409, b"", True),
        ("retriable-4xx", (), 404, b"", False),
        ("", (418,), 418, b"", True),
        ("", (200,), 200, b"", True),
        ("envoy-ratelimited", (), 429, b"X-Envoy-RateLimited: true\r\n", True),
        ("envoy-ratelimited", (), 429, b"", False),
        ("envoy-ratelimited", (), 200, b"X-Envoy-RateLimited: true\r\n", True),
        (
            "envoy-ratelimited",
            (),
            200,
            b"X-Envoy-RateLimited: true\r\nx-envoy-overloaded: true\r\n",
            False,
        ),
        ("5xx", (), 503, b"X-Envoy-RateLimited: true\r\n", False),
        ("5xx", (), 503, b"A: 1\r\nX-Envoy-Overloaded: true\r\n", False),
        ("unavailable", (), 200, b"grpc-status: 14\r\n", True),
        ("unavailable", (), 200, b"grpc-status: 13\r\n", False),
        ("internal", (), 200, b"X: 1\r\nGrpc-Status: 13\r\n", True),
        ("cancelled", (), 200, b"", False),
    ],
)
def test_responses(
    on: str, statuses: tuple[int, ...], status: int, lines: bytes, retried: bool
) -> None:
    asked = policy(*(on,) if on else (), statuses=statuses)
    assert retries_response(asked, status, lines, b"GET") is retried


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"LOCK"])
def test_by_default_other_methods_are_retried_only_when_not_processed(method: bytes) -> None:
    assert retries_failure(DEFAULT_RETRY, Failure.CONNECT, method)
    unavailable = b"grpc-status: 14\r\n"
    assert not retries_response(DEFAULT_RETRY, 200, unavailable, method)
    assert retries_response(DEFAULT_RETRY, 200, unavailable, b"GET")


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 409])
def test_by_default_no_status_is_retried(status: int) -> None:
    """A 503 says that the origin is overloaded: asking it thrice would not help it."""
    assert not retries_response(DEFAULT_RETRY, status, b"", b"GET")


def test_a_condition_that_the_operator_names_holds_for_every_method() -> None:
    assert retries_response(policy("5xx"), 500, b"", b"POST")
    assert retries_failure(policy("reset"), Failure.RESET, b"POST")


def test_back_off_doubles_with_full_jitter_up_to_ten_times_its_base() -> None:
    asked = policy("5xx")
    assert [backoff_s(asked, n, 1.0) for n in (1, 2, 3)] == [0.025, 0.05, 0.1]
    assert backoff_s(asked, 9, 1.0) == 0.25
    assert backoff_s(asked, 3, 0.0) == 0.0
