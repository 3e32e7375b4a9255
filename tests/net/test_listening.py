"""Which addresses are a process's own."""

from __future__ import annotations

import socket
from pathlib import Path

from egressd.net.listening import Listening, is_of_this_host


def test_an_address_is_listened_on_until_its_last_socket_is_gone() -> None:
    listening = Listening()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address, port = sock.getsockname()
        first, second = listening.add(sock), listening.add(sock)
        listening.remove(first)
        assert listening.has(address, port)
        assert not listening.has("127.0.0.2", port)
        assert not listening.has_any(port)
        listening.remove(second)
        assert not listening.has(address, port)


def test_a_socket_of_every_address_is_known_by_its_port() -> None:
    listening = Listening()
    with socket.create_server(("", 0)) as sock:
        listening.add(sock)
        assert listening.has_any(sock.getsockname()[1])


def test_a_unix_socket_is_its_path(tmp_path: Path) -> None:
    listening = Listening()
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        listening.remove(listening.add(sock))
        listening.add(sock)
        assert listening.has(path, 0)


def test_a_connection_stays_on_the_host_when_both_ends_are_its_own() -> None:
    assert is_of_this_host("10.0.0.1", "10.0.0.1")
    assert is_of_this_host("127.0.0.1", "127.0.0.2")
    assert not is_of_this_host("10.0.0.1", "10.0.0.2")
