"""Faults that the supervisor meets and outlives."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.supervised import PATIENCE_S, Node, ask


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    try:
        yield node
    finally:
        node.kill_everything()


def test_a_fault_within_a_reload_refuses_it_and_ends_nothing(node: Node) -> None:
    node.write_config()
    node.start_ready()
    broken = node.path / "state" / "broken"
    broken.touch()
    node.signal(signal.SIGHUP)
    node.wait_notified("READY=1")
    assert node.status().config_error == "ZeroDivisionError: a fault that nobody thought of"
    broken.unlink()
    node.signal(signal.SIGHUP)
    node.wait_notified("READY=1")
    assert node.status().config_error == ""
    assert node.status().generation == 2


def test_a_status_file_that_cannot_be_written_ends_nothing(node: Node) -> None:
    node.write_config()
    node.start_ready()
    port = node.port
    before = node.child("worker").pid
    run = node.path / "run"
    run.rename(node.path / "moved")
    os.kill(before, signal.SIGKILL)
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.settimeout(PATIENCE_S)
        assert str(before) not in ask(connection, "who")
    (node.path / "moved").rename(run)
    node.signal(signal.SIGTERM)
    assert node.end() == 0
