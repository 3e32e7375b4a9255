"""Talking to the service manager: what is sent, and that its absence does no harm."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from egressd.node.sd_notify import Notifier, notifier_from_environment
from egressd.node.sockets import take_passed_sockets


def test_states_are_sent_as_datagrams(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        notifier.reloading(1_234_567_890)
        notifier.ready("fine")
        notifier.stopping("bye")
        notifier.watchdog()
        assert manager.recv(200) == b"RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=Reloading"
        assert manager.recv(200) == f"READY=1\nSTATUS=fine\nMAINPID={os.getpid()}".encode()
        assert manager.recv(200) == b"STOPPING=1\nSTATUS=bye"
        assert manager.recv(200) == b"WATCHDOG=1"
        notifier.close()


def test_an_abstract_address_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # Linux chooses an abstract name
        name = manager.getsockname()
        notifier = Notifier("@" + name[1:].decode())
        notifier.watchdog()
        assert manager.recv(200) == b"WATCHDOG=1"
        notifier.close()


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.ready("fine")
    notifier.close()
    notifier.watchdog()
    Notifier().ready("fine")


def test_the_environment_is_taken_so_that_children_do_not_act_on_it() -> None:
    environ = {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7", "PATH": "/"}
    assert notifier_from_environment(environ, 7).watchdog_s == 3.0
    assert environ == {"PATH": "/"}


def test_another_process_s_watchdog_is_none_of_ours() -> None:
    environ = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}
    assert notifier_from_environment(environ, 7).watchdog_s == 0.0


def test_sockets_passed_to_another_process_are_none_of_ours() -> None:
    environ = {"LISTEN_PID": "8", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "egress"}
    assert take_passed_sockets(environ, 7) == []
    assert environ == {}
