"""This machine's own services in a real Consul: they come with `egressd register`, and go with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.consul import ConsulAgent


def write_services(directory: Path, *services: dict[str, object]) -> Path:
    path = directory / "services.yaml"
    path.write_text(json.dumps({"services": list(services)}))
    return path


@contextmanager
def registering(agent: ConsulAgent, path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`egressd register` in the background."""
    command = [sys.executable, "-m", "egressd.cli.main", "register", "-f", str(path)]
    command += ["--to", "consul", "--option", f"address={agent.address}", *more]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "EGRESSD_CONFIG": str(_no_bootstrap(path))},
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _no_bootstrap(path: Path) -> Path:
    config = path.parent / "none.yaml"
    config.write_text("{}")
    return config


def passing(agent: ConsulAgent, name: str) -> list[str]:
    """The ids of the instances that pass their checks."""
    found = agent.request("GET", f"/v1/health/service/{name}?passing")
    assert isinstance(found, list)
    return [entry["Service"]["ID"] for entry in found]


def test_traffic_reaches_a_registered_service_until_it_leaves(tmp_path: Path) -> None:
    with Origin("a") as origin, ConsulAgent(tmp_path / "consul") as agent:
        check = {"http": f"http://127.0.0.1:{origin.port}/", "interval": "100ms"}
        path = write_services(
            tmp_path,
            {"name": "web", "port": origin.port, "address": "127.0.0.1", "check": check},
        )
        adapter = {"type": "consul", "options": {"address": agent.address}}
        with Node(tmp_path / "node", adapters=[adapter], resources=[]) as node:
            host = "web.service.consul"
            with registering(agent, path) as process:
                eventually(lambda: node.get(host)[0] == 200, 20)
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0
            assert passing(agent, "web") == []
            eventually(lambda: node.get(host)[0] != 200)


def test_an_agent_that_lost_its_state_is_told_again(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "consul") as agent:
        path = write_services(tmp_path, {"name": "web", "port": 80, "check": {"ttl": "1h"}})
        with registering(agent, path) as process:
            eventually(lambda: passing(agent, "web") == ["web-80"], 20)
            agent.restart()
            eventually(lambda: passing(agent, "web") == ["web-80"], 20)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=15)
        assert process.returncode == 0
        assert said.count("registered") >= 3  # twice, and "deregistered"


def test_a_check_by_time_fails_when_nobody_is_left_to_pass_it(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "consul") as agent:
        path = write_services(tmp_path, {"name": "web", "port": 80, "check": {"ttl": "2s"}})
        with registering(agent, path) as process:
            eventually(lambda: passing(agent, "web") == ["web-80"], 20)
            process.kill()
            process.wait()
            eventually(lambda: passing(agent, "web") == [], 20)
        with registering(agent, path):
            eventually(lambda: passing(agent, "web") == ["web-80"], 20)


def test_once_and_deregister(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "consul") as agent:
        path = write_services(tmp_path, {"name": "a", "port": 1}, {"name": "b", "port": 2})
        adapter = {"type": "consul", "name": "dc1", "options": {"address": agent.address}}
        node = Node(tmp_path / "node", adapters=[adapter])
        done = node.cli("register", "-f", str(path), "--once")  # the bootstrap's only registry
        assert done.returncode == 0, done.stderr
        assert "registered a-1, b-2" in done.stdout
        assert passing(agent, "b") == ["b-2"]
        for _ in range(2):  # what is not there any more is fine
            done = node.cli("deregister", "-f", str(path), "--to", "dc1")
            assert done.returncode == 0, done.stderr
        assert passing(agent, "a") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to", "nothing"], "expected one of consul, etcd"),
        ([], "no adapter of the bootstrap to register with"),
        (["--to", "consul", "--option", "adress=x"], "adress"),
        (
            ["--to", "consul", "--option", "address=http://127.0.0.1:1", "--once"],
            "register a (a-1)",
        ),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, arguments: list[str], says: str) -> None:
    path = write_services(tmp_path, {"name": "a", "port": 1})
    done = Node(tmp_path / "node").cli("register", "-f", str(path), *arguments)
    assert done.returncode != 0
    assert says in done.stderr


def test_a_refused_token_ends_it(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "consul", token="secret") as agent:
        path = write_services(tmp_path, {"name": "a", "port": 1})
        with registering(agent, path) as process:
            said, _ = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "403" in said
