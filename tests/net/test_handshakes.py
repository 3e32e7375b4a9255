"""A listener that is about to close."""

from __future__ import annotations

import select
import socket

from egressd.net.handshakes import stop_handshakes


def test_no_new_connection_begins_and_those_that_have_begun_go_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = listener.getsockname()
        with socket.create_connection(place, 5) as queued:
            has_stopped = stop_handshakes(listener)
            with socket.socket() as late:
                late.setblocking(False)
                late.connect_ex(place)
                if has_stopped:
                    assert select.select([], [late], [], 0.2)[1] == [], "its SYN was answered"
                else:  # newer kernels ask for CAP_NET_ADMIN: then all is as without a filter
                    assert select.select([], [late], [], 5)[1] == [late]
            queued.sendall(b"asked before")
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(100) == b"asked before"
                accepted.sendall(b"answered")
            assert queued.recv(100) == b"answered"


def test_a_unix_socket_is_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # a name of the kernel's choice
        listener.listen()
        stop_handshakes(listener)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(listener.getsockname())
