"""The supervisor as a real process with real children, sockets and signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.supervised import PATIENCE_S, Node, ask, eventually, is_alive, is_refused


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    try:
        yield node
    finally:
        node.kill_everything()


def test_a_connection_in_the_queue_of_a_killed_worker_is_served_by_its_replacement(
    node: Node,
) -> None:
    node.write_config()
    node.start_ready()
    first = node.child("worker")
    os.kill(first.pid, signal.SIGSTOP)
    with node.connect() as connection:
        connection.sendall(b"who\n")  # waits in the accept queue: nobody runs
        os.kill(first.pid, signal.SIGKILL)
        answer = connection.recv(200).decode()
    assert answer.startswith(f"worker {first.index} pid ")
    assert f"pid {first.pid} " not in answer
    eventually(lambda: node.status().worker_restarts == 1, "one restart counted")
    assert node.child("worker").last_exit == "signal SIGKILL"


def test_a_killed_registry_process_is_replaced_while_workers_stay(node: Node) -> None:
    node.write_config(workers=2)
    node.start_ready()
    workers = {child.pid for child in node.status().children if child.role == "worker"}
    killed = node.child("registry").pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: node.child("registry").pid not in {0, killed}, "a new registry process")
    assert {child.pid for child in node.status().children if child.role == "worker"} == workers
    assert node.status().registry_restarts == 1


def test_a_crash_loop_is_reported_and_never_given_up(node: Node) -> None:
    node.write_config(behaviour="crashes")
    node.start()
    eventually(lambda: (node.path / "run" / "supervisor.json").exists(), "a status file")
    eventually(lambda: node.child("worker").crash_loop, "the crash loop is seen")
    restarts = node.status().worker_restarts
    eventually(lambda: node.status().worker_restarts > restarts, "another try")
    assert node.child("worker").last_exit == "exit 3"
    node.signal(signal.SIGTERM)
    assert node.end() == 0


def test_a_stuck_worker_is_killed_and_replaced(node: Node) -> None:
    node.write_config(limits={"heartbeatTimeout": "1s"})
    node.start_ready()
    first = node.child("worker").pid
    with node.connect() as connection:
        connection.sendall(b"stall\n")
        eventually(lambda: node.child("worker").pid not in {0, first}, "a new worker")
    assert node.child("worker").last_exit == "signal SIGABRT"

    def serves() -> bool:  # one that stood in may do so for a moment
        with node.connect() as connection:
            return ask(connection, "who").startswith("worker 0")

    eventually(serves, "the new worker serves")


def test_sigterm_drains_workers_first_and_leaves_nothing_behind(node: Node) -> None:
    node.write_config(workers=2)
    node.start_ready()
    port = node.port
    with node.connect() as connection:
        assert ask(connection, "held") == "holding"
        node.signal(signal.SIGTERM)
        node.wait_notified("STOPPING=1")
        assert connection.recv(200) == b"finished\n"
    assert node.end() == 0
    assert node.events()[-1] == "registry ended"
    assert sorted(node.events()[1:-1]) == ["worker 0 ended", "worker 1 ended"]
    assert list((node.path / "run").iterdir()) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def test_connections_are_refused_while_workers_drain(node: Node) -> None:
    node.write_config(behaviour="never-drains", workers=2, limits={"drainTimeout": "1h"})
    node.start_ready()
    port = node.port
    node.signal(signal.SIGTERM)
    node.wait_notified("STOPPING=1")
    eventually(lambda: is_refused(port), "connections are refused")
    assert node.process is not None
    assert node.process.poll() is None


def test_a_second_signal_does_not_wait_for_draining(node: Node) -> None:
    node.write_config(behaviour="never-drains", limits={"drainTimeout": "1h"})
    node.start_ready()
    node.signal(signal.SIGTERM)
    node.wait_notified("STOPPING=1")
    node.signal(signal.SIGINT)
    assert node.end() == 4
    assert list((node.path / "run").iterdir()) == []


def test_a_reload_with_a_bad_file_changes_nothing(node: Node) -> None:
    node.write_config()
    node.start_ready()
    before = {child.pid for child in node.status().children}
    node.config.write_text("workers: many\n")
    node.signal(signal.SIGHUP)
    node.wait_notified("RELOADING=1")
    node.wait_notified("READY=1")
    eventually(lambda: "workers" in node.status().config_error, "the reason in the status")
    assert {child.pid for child in node.status().children} == before
    assert node.status().generation == 1


def test_a_reload_replaces_workers_without_losing_a_request(node: Node) -> None:
    node.write_config(version="1")
    node.start_ready()
    port = node.port
    with node.connect() as old:
        assert ask(old, "held") == "holding"
        node.write_config(version="2", workers=3)
        node.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in node.wait_notified("RELOADING=1")
        node.wait_notified("READY=1")
        assert old.recv(200) == b"finished\n"
    eventually(lambda: len(node.status().children) == 4, "the old worker is gone")
    assert node.port == port
    for _ in range(20):  # every socket of the port has a worker
        with node.connect() as connection:
            assert ask(connection, "who").endswith(" 2")


def test_fewer_workers_after_a_reload_still_serve_every_socket(node: Node) -> None:
    node.write_config(workers=4)
    node.start_ready()
    node.write_config(workers=1, version="2")
    node.signal(signal.SIGHUP)
    node.wait_notified("RELOADING=1")
    node.wait_notified("READY=1")
    eventually(lambda: len(node.status().children) == 2, "the old workers are gone")
    for _ in range(20):
        with node.connect() as connection:
            assert ask(connection, "who").endswith(" 2")


def test_a_reload_whose_workers_crash_is_rolled_back(node: Node) -> None:
    node.write_config()
    node.start_ready()
    before = node.child("worker").pid
    node.write_config(behaviour="crashes", workers=3)
    node.signal(signal.SIGHUP)
    node.wait_notified("RELOADING=1")
    node.wait_notified("READY=1")
    eventually(lambda: len(node.status().children) == 2, "the new workers are gone")
    assert node.child("worker").pid == before
    assert "exit 3" in node.status().config_error
    for _ in range(20):  # no socket without a worker is left
        with node.connect() as connection:
            assert ask(connection, "who").endswith(" 1")


def test_children_end_when_a_supervisor_without_a_manager_is_killed(node: Node) -> None:
    node.write_config(workers=2)
    node.start_unmanaged()
    pids = [child.pid for child in node.status().children]
    node.signal(signal.SIGKILL)
    node.end()
    eventually(lambda: not any(map(is_alive, pids)), "no child is left")
    ended = [event for event in node.events() if event.endswith("ended")]
    assert sorted(ended) == ["registry ended", "worker 0 ended", "worker 1 ended"]


def test_a_killed_node_starts_again_over_what_it_left(node: Node) -> None:
    node.write_config()
    node.start_unmanaged()
    pids = [child.pid for child in node.status().children]
    node.signal(signal.SIGKILL)
    node.end()
    eventually(lambda: not any(map(is_alive, pids)), "no child is left")
    assert (node.path / "run" / "admin.sock").exists()
    node.start_ready()
    node.signal(signal.SIGTERM)
    assert node.end() == 0


@pytest.mark.parametrize("field", ["runDir", "stateDir"])
def test_a_second_node_in_the_same_directory_is_refused(node: Node, field: str) -> None:
    node.write_config()
    node.start_ready()
    other = {"runDir": "stateDir", "stateDir": "runDir"}[field]
    node.write_config(**{other: str(node.path / "other")})
    second = subprocess.run(
        [sys.executable, "-m", "integration.supervised_node", str(node.config)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert second.returncode == 3
    assert f"another node runs in it; stop it, or set another {field}" in second.stderr.decode()
    assert node.child("worker").pid


def test_a_port_that_another_process_has_is_named(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        node.write_config(listeners=[{"name": "egress", "port": port}])
        refused = subprocess.run(
            [sys.executable, "-m", "integration.supervised_node", str(node.config)],
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert refused.returncode == 3
    assert f"port {port}: another process has this port".encode() in refused.stderr.replace(
        b"Address already in use; ", b""
    )


def test_workers_share_a_socket_that_systemd_passes(node: Node) -> None:
    node.write_config(workers=2)
    with socket.create_server(("127.0.0.1", 0)) as passed:
        # What systemd does between fork and exec: descriptor 3, and LISTEN_PID of the very process.
        script = """if True:
            import os, sys
            os.dup2(int(sys.argv[1]), 3)
            os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="egress", LISTEN_PID=str(os.getpid()))
            node = [sys.executable, "-m", "integration.supervised_node", sys.argv[2]]
            os.execv(sys.executable, node)
        """
        node.process = subprocess.Popen(
            [sys.executable, "-c", script, str(passed.fileno()), str(node.config)],
            env={**os.environ, "NOTIFY_SOCKET": str(node.path / "notify")},
            pass_fds=[passed.fileno()],
        )
        node.wait_notified("READY=1")
        assert node.port == passed.getsockname()[1]
        with node.connect() as connection:
            assert ask(connection, "who").startswith("worker")


def test_the_watchdog_is_fed_while_a_worker_serves(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    node.write_config()
    node.start_ready()
    node.wait_notified("WATCHDOG=1")
    node.wait_notified("WATCHDOG=1")
