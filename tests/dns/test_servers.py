"""How servers are written and ranked; names that need none."""

from __future__ import annotations

from pathlib import Path

import pytest

from egressd.dns.hosts import FileText, addresses_in, local_addresses, names_to_ask
from egressd.dns.servers import Server, Standing, servers_in, split_server

ONE, TWO, THREE = (Server(f"10.0.0.{n}") for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.1.1.1", Server("1.1.1.1", 53)),
        ("1.1.1.1:5353", Server("1.1.1.1", 5353)),
        ("::1", Server("::1", 53)),
        ("[::1]", Server("::1", 53)),
        ("[::1]:54", Server("::1", 54)),
    ],
)
def test_a_server_is_an_address_and_a_port(text: str, found: Server) -> None:
    assert split_server(text) == found


@pytest.mark.parametrize(
    "text", ["[::1]x", "1.1.1.1:", "1.1.1.1:0", "1.1.1.1:65536", "ns.test", ""]
)
def test_anything_else_is_no_server(text: str) -> None:
    with pytest.raises(ValueError):
        split_server(text)


def test_the_system_says_its_servers() -> None:
    text = "# x\nnameserver 10.0.0.1\nsearch a.test\noptions edns0\nnameserver ::1\n"
    assert servers_in(text) == (Server("10.0.0.1"), Server("::1"))
    assert servers_in("") == (Server("127.0.0.1"),)


def test_a_silent_server_is_asked_last_for_a_while() -> None:
    standing = Standing()
    assert standing.note_silent(ONE, 100.0)
    assert standing.order([ONE, TWO, THREE], 104.0) == [TWO, THREE, ONE]
    assert standing.order([ONE, TWO, THREE], 105.0) == [ONE, TWO, THREE]


def test_penalties_double_up_to_a_minute_and_end_with_an_answer() -> None:
    standing = Standing()
    now = 0.0
    for penalty in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        standing.note_silent(ONE, now)
        assert standing.order([ONE, TWO], now + penalty - 0.1)[0] == TWO
        now += penalty
        assert standing.order([ONE, TWO], now)[0] == ONE
    assert standing.note_answer(ONE)
    assert not standing.note_answer(ONE)
    standing.note_silent(ONE, now)
    assert standing.order([ONE, TWO], now + 5.0)[0] == ONE


def test_silence_is_news_once() -> None:
    standing = Standing()
    assert [standing.note_silent(ONE, at) for at in (0.0, 1.0, 6.0)] == [True, False, False]


def test_literals_and_the_hosts_file_need_no_server() -> None:
    hosts = addresses_in("# all\n10.1.1.1 db.internal db # mine\n::5 db\n\n")
    assert local_addresses("::1", "AAAA", hosts) == ("::1",)
    assert local_addresses("::1", "A", hosts) == ()
    assert local_addresses("DB.internal.", "A", hosts) == ("10.1.1.1",)
    assert local_addresses("db", "AAAA", hosts) == ("::5",)
    assert local_addresses("x.localhost", "A", hosts) == ("127.0.0.1",)
    assert local_addresses("db.example", "A", hosts) is None
    assert local_addresses("db", "SRV", hosts) is None


def test_only_a_single_label_is_completed() -> None:
    assert names_to_ask("db", ("a.test", "b.test.")) == ["db.a.test", "db.b.test", "db"]
    assert names_to_ask("db.", ("a.test",)) == ["db"]
    assert names_to_ask("db.x", ("a.test",)) == ["db.x"]
    assert names_to_ask("db", ()) == ["db"]


def test_a_file_is_read_again_when_it_changes_and_kept_when_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    file = FileText(str(path), servers_in)
    assert file.value() == (Server("127.0.0.1"),)
    path.write_text("nameserver 10.0.0.1\n")
    assert file.value() == (ONE,)
    beside = tmp_path / "new"
    beside.write_text("nameserver 10.0.0.2\n")
    beside.replace(path)
    assert file.value() == (TWO,)
    path.unlink()
    assert file.value() == (TWO,)
