"""Restart, upgrade in place and a killed supervisor, under load: nothing refused, reset or lost."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from integration.manager import ManagedNode, has_ended
from integration.node import Node, eventually

SCRIPT = """#!{python}
import sys
from egressd.cli.main import main
{more}
if __name__ == "__main__":
    main(prog_name="egressd")
"""
BROKEN = "import a_module_that_is_not_there"
HANGS = "import time\nif 'EGRESSD_TAKEOVER' in __import__('os').environ: sys.exit(5)"
OTHER = "import egressd\negressd.__version__ = '9.9.9'"


def resources(port: int) -> dict[str, str]:
    """The origin as a service that answers HTTP and echoes through CONNECT, and through a Gateway."""
    return {
        "echo.yaml": f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo}}
spec:
  hosts: [echo.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 443, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}, tcp: {port}}}}}]
"""
    }


@pytest.fixture(scope="module")
def origin() -> Iterator[int]:
    command = [sys.executable, "-m", "integration.steady_load", "--origin", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def managed(origin: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedNode]:
    directory = tmp_path_factory.mktemp("managed")
    node = ManagedNode(directory, resources(origin), accessLog={"path": ""})
    node.program = [str(directory / "egressd"), "run", "--bootstrap", str(node.config)]
    install(node)
    node.start()
    try:
        yield node
    finally:
        node.stop()
        for pid in node.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def install(node: ManagedNode, more: str = "") -> None:
    """Put another program in the place of the one that started the node."""
    path = Path(node.program[0])
    beside = path.with_suffix(".new")
    beside.write_text(SCRIPT.format(python=sys.executable, more=more))
    beside.chmod(stat.S_IRWXU)
    beside.replace(path)


def under_load(node: Node, act: Callable[[], None]) -> None:
    """Do it while 64 clients and a tunnel are busy; all is well with every one of them."""
    stop = node.directory / "stop"
    stop.unlink(missing_ok=True)
    command = [sys.executable, "-m", "integration.steady_load", "--port", str(node.port)]
    load = subprocess.Popen(
        [*command, "--tunnel", "echo.example:443", "--stop", str(stop)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(0.5)
        act()
        time.sleep(0.5)
    finally:
        stop.touch()
        said, _ = load.communicate(timeout=60)
    tally = json.loads(said)
    print(tally)
    assert tally["faults"] == {}
    assert tally["answers"] > 100
    assert tally["tunnel_echoes"] > 5


def workers(node: Node) -> set[int]:
    """Process ids of those that serve."""
    return set(node.pids("worker").values())


def test_a_restart_loses_nothing(managed: ManagedNode) -> None:
    before = workers(managed)
    under_load(managed, managed.restart)
    assert not before & workers(managed)


def test_a_killed_supervisor_loses_nothing(managed: ManagedNode) -> None:
    before = workers(managed)

    def kill() -> None:
        os.kill(managed.main_pid, signal.SIGKILL)
        managed.reap(managed.main_pid)
        assert managed.get("echo.example", x_id="7")[2] == b"7"
        managed.start()

    # The port is asked of the status file, which the killed one left.
    under_load(managed, kill)
    assert not before & workers(managed)
    managed.take_notes()
    assert len(managed.kept) == 3  # two listening sockets and the admin socket


def test_an_upgrade_loses_nothing(managed: ManagedNode) -> None:
    said: list[str] = []

    def upgrade() -> None:
        install(managed, OTHER)
        done = managed.cli("upgrade")
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        eventually(managed.is_serving)

    before = managed.main_pid, managed.status()["version"]
    under_load(managed, upgrade)
    assert f"serving: {before[1]} -> 9.9.9, process {managed.main_pid}" in said[0]
    assert managed.main_pid != before[0]
    managed.reap(before[0])
    assert managed.get("echo.example", x_id="8")[2] == b"8"
    install(managed)


@pytest.mark.parametrize(
    ("program", "config", "reason"),
    [
        (BROKEN, None, "No module named 'a_module_that_is_not_there'"),
        (HANGS, None, "it ended before it had taken over"),
        ("", "wrokers: 3", 'found unknown field "wrokers"'),
        (
            "",
            "listeners: [{name: egress, address: 192.0.2.1, port: 8}]",
            "this machine has no such address",
        ),
    ],
    ids=["import-error", "ends", "configuration", "cannot-listen"],
)
def test_a_program_that_does_not_serve_changes_nothing(
    managed: ManagedNode, program: str, config: str | None, reason: str
) -> None:
    before = managed.main_pid, workers(managed)
    other = managed.directory / "other.yaml"
    other.write_text(managed.config.read_text())
    install(managed, program)
    if config is not None:
        both = json.loads(managed.config.read_text())
        key, _, value = config.partition(": ")
        import yaml

        managed.config.write_text(json.dumps({**both, key: yaml.safe_load(value)}))
    command = [sys.executable, "-m", "egressd.cli.main", "upgrade", "--bootstrap", str(other)]
    failed: list[subprocess.CompletedProcess[str]] = []

    def upgrade() -> None:
        failed.append(subprocess.run(command, capture_output=True, text=True, check=False))

    try:
        if config is None:
            under_load(managed, upgrade)
        else:
            upgrade()
    finally:
        install(managed)
        managed.save()
    assert failed[0].returncode == 1
    assert reason in failed[0].stderr
    managed.take_notes()
    assert (managed.main_pid, workers(managed)) == before
    status = managed.status()
    assert status["state"] == "ready"
    assert reason in str(status["upgradeError"])


def test_a_restart_to_a_broken_program_leaves_the_workers(managed: ManagedNode) -> None:
    before = workers(managed)

    def restart() -> None:
        install(managed, BROKEN)
        os.kill(managed.main_pid, signal.SIGRTMIN)
        managed.reap(managed.main_pid)
        managed.launch()
        assert managed.process is not None
        assert managed.process.wait(30) == 1
        assert managed.get("echo.example", x_id="6")[2] == b"6"
        install(managed)
        managed.config.write_text("wrokers: 3\n")
        managed.launch()
        assert managed.process.wait(30) == 1
        managed.save()
        managed.start()

    under_load(managed, restart)
    assert not before & workers(managed)


def test_an_upgrade_whose_owner_is_killed_ends_with_one_supervisor(managed: ManagedNode) -> None:
    def kill() -> None:
        os.kill(managed.main_pid, signal.SIGUSR2)
        eventually(lambda: managed.status()["state"] == "upgrading")
        os.kill(managed.main_pid, signal.SIGKILL)
        managed.reap(managed.main_pid)
        managed.start()

    under_load(managed, kill)
    main = managed.main_pid
    eventually(lambda: len(supervisors(managed)) == 1, 60)
    assert supervisors(managed) == [main]


def supervisors(node: ManagedNode) -> list[int]:
    """Processes of the node that have a node's locks."""
    locked = {os.stat(node.directory / name).st_ino for name in ("run", "state")}
    found = []
    for pid in node.processes():
        with suppress(OSError):
            opened = [
                os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")
            ]
            if locked <= set(opened):
                found.append(pid)
    return found


def test_without_a_manager_the_first_process_stays_until_the_last_ends(
    origin: int, tmp_path: Path
) -> None:
    node = Node(tmp_path, resources(origin), accessLog={"path": ""})
    node.start()
    first = node.status()["pid"]
    done = node.cli("upgrade")
    assert done.returncode == 0, done.stderr
    second = node.status()["pid"]
    assert second != first
    assert isinstance(second, int)
    assert os.getpgid(second) == second  # Ctrl-C comes to it once, from the first
    assert node.get("echo.example", x_id="9")[2] == b"9"
    assert node.process is not None
    assert node.process.poll() is None
    assert node.stop() == 0
    eventually(lambda: has_ended(second))
