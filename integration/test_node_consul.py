"""A real Consul agent in front of a real node: registration, health, outage, cold start."""

from __future__ import annotations

import contextlib
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


def test_held_instances_keep_their_ports_when_consul_lost_its_state(tmp_path: Path) -> None:
    """w1 and w2 listen elsewhere than w0, which alone registers anew; a trap is where they would be
    called at its port."""
    with contextlib.ExitStack() as stack:
        w0 = stack.enter_context(Origin("w0"))
        w1 = stack.enter_context(Origin("w1", address="127.0.0.2"))
        w2 = stack.enter_context(Origin("w2", address="127.0.0.3", port=w1.port))
        traps = [
            stack.enter_context(Origin("trap", address=each.address, port=w0.port))
            for each in (w1, w2)
        ]
        agent = stack.enter_context(ConsulAgent(tmp_path / "consul"))
        for each in (w0, w1, w2):
            agent.register("web", each.port, address=each.address, service_id=each.name)
        options = {"address": agent.address, "maxBackoff": "300ms"}
        adapters = [{"name": "consul", "type": "consul", "options": options}]
        node = stack.enter_context(Node(tmp_path / "node", adapters=adapters, resources=[]))
        host = "web.service.consul"

        def reached() -> set[bytes]:
            return {node.get(host)[2] for _ in range(40)}

        eventually(lambda: reached() == {b"w0", b"w1", b"w2"})
        agent.kill()
        agent.start()
        agent.register("web", w0.port, address=w0.address, service_id="w0")
        eventually(lambda: "ALARM" in node.cli("status").stdout, 30)
        for _ in range(5):
            assert reached() == {b"w0", b"w1", b"w2"}
        assert not any(trap.seen for trap in traps)
        node.cli("registry", "confirm", "consul")
        eventually(lambda: reached() == {b"w0"})
