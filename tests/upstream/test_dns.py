"""Names: what an answer or a failure makes of what is known."""

from __future__ import annotations

from pathlib import Path

from egressd.upstream.dns import (
    Answer,
    Resolved,
    TtlBounds,
    literal_or_hosts,
    next_state,
    read_hosts,
)

GOOD = Resolved(("10.0.0.1",), 0, 50.0)


def test_an_answer_is_used_for_its_ttl() -> None:
    state = next_state(Resolved(), Answer(("10.0.0.1",), 60.0), 100.0, 1.0)
    assert state.addresses == ("10.0.0.1",)
    assert state.refresh_at == 160.0


def test_ttls_are_bounded_both_ways() -> None:
    bounds = TtlBounds(5.0, 30.0)
    assert next_state(GOOD, Answer(("10.0.0.1",), 0.0), 100.0, 1.0, bounds).refresh_at == 105.0
    assert next_state(GOOD, Answer(("10.0.0.1",), 9e9), 100.0, 1.0, bounds).refresh_at == 130.0


def test_renewals_are_spread() -> None:
    early = next_state(GOOD, Answer(("10.0.0.1",), 100.0), 0.0, 0.0).refresh_at
    assert early == 90.0


def test_a_failure_keeps_the_last_good_answer_and_asks_again_with_back_off() -> None:
    once = next_state(GOOD, Answer(failed="timeout"), 100.0, 1.0)
    twice = next_state(once, Answer(failed="timeout"), 200.0, 1.0)
    assert once.addresses == twice.addresses == ("10.0.0.1",)
    assert (once.refresh_at, twice.refresh_at) == (101.0, 202.0)
    assert twice.error == "timeout"


def test_a_name_that_goes_empty_keeps_its_addresses() -> None:
    state = next_state(GOOD, Answer(()), 100.0, 1.0)
    assert state.addresses == ("10.0.0.1",)
    assert "no addresses" in state.error


def test_a_name_without_addresses_from_the_start_is_known_to_have_none() -> None:
    assert next_state(Resolved(), Answer(()), 100.0, 1.0).addresses == ()


def test_recovery_clears_the_error() -> None:
    failed = next_state(GOOD, Answer(failed="timeout"), 100.0, 1.0)
    state = next_state(failed, Answer(("10.0.0.2",), 10.0), 101.0, 1.0)
    assert (state.addresses, state.failures, state.error) == (("10.0.0.2",), 0, "")


def test_literals_and_the_hosts_file_need_no_server() -> None:
    hosts = {"db.internal": ("10.1.1.1",)}
    assert literal_or_hosts("::1", hosts) == ("::1",)
    assert literal_or_hosts("DB.internal", hosts) == ("10.1.1.1",)
    assert literal_or_hosts("x.localhost", hosts) == ("127.0.0.1", "::1")
    assert literal_or_hosts("db.example", hosts) == ()


def test_a_hosts_file_is_read_with_comments_and_aliases(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# all\n10.0.0.1 a.example a # mine\n10.0.0.2 a\n\n")
    assert read_hosts(str(path)) == {"a.example": ("10.0.0.1",), "a": ("10.0.0.1", "10.0.0.2")}
    assert read_hosts(str(tmp_path / "none")) == {}


def test_a_first_failure_is_asked_again_soon_and_is_no_answer() -> None:
    state = next_state(Resolved(), Answer(failed="timeout"), 100.0, 1.0)
    assert (state.addresses, state.failures, state.refresh_at) == (None, 1, 101.0)
