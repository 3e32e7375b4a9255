"""A real Consul agent in front of a real node: registration, health, outage, cold start."""

from __future__ import annotations

import time
from pathlib import Path

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.consul import ConsulAgent


def test_traffic_follows_consul_and_survives_its_outage(tmp_path: Path) -> None:
    with Origin("a") as a, Origin("b") as b, ConsulAgent(tmp_path / "consul") as agent:
        options = {"address": agent.address}
        adapters = [{"name": "consul", "type": "consul", "options": options}]
        for origin in (a, b):
            agent.register("web", origin.port, service_id=f"web-{origin.name}")
        with Node(tmp_path / "node", adapters=adapters, resources=[]) as node:
            host = "web.service.consul"
            eventually(lambda: node.get(host)[0] == 200)
            eventually(lambda: (node.get(host), a.seen and b.seen)[1])
            agent.deregister("web-b")
            time.sleep(1)  # the promise: within a second
            seen = len(b.seen)
            for _ in range(20):
                assert node.get(host)[2] == b"a"
            assert len(b.seen) == seen
            agent.kill()
            for _ in range(20):
                assert node.get(host)[2] == b"a"
            node.stop()
            node.start()  # Consul is still down: the last-known-good copy serves
            for _ in range(20):
                assert node.get(host)[2] == b"a"
            assert "consul" in node.cli("status").stdout
