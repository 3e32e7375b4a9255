"""What a new operator gets wrong, on a real node: it is said where he looks, once, and nothing stops."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.consul import ConsulAgent

TOKEN = "8b1247ab-9f6b-4a9c-8a5e-5f7a3c2d1e0f"
HOST = "web.service.consul"
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web.service.consul], http: [{route: [{destination: {host: web.service.consul}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web.service.consul, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
"""


def of_source(node: Node, source: str) -> list[str]:
    """The events of the log about a source."""
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{")]
    return [line["event"] for line in lines if line.get("source") == source]


def test_a_consul_that_denies_by_default_and_a_node_without_a_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with Origin("a") as origin, ConsulAgent(tmp_path / "consul", token=TOKEN) as agent:
        agent.register("web", origin.port)
        options: dict[str, object] = {"address": agent.address, "maxBackoff": "200ms"}
        consul = {"type": "consul", "options": options}
        store = {"store": "consul", "options": {"address": agent.address}}
        fleet = {"type": "fleet", "required": False, "options": store}
        with Node(
            tmp_path / "node",
            {"rule.yaml": RULE},
            adapters=[consul, fleet],
            workers=1,
            waits_for_sources=False,
        ) as node:
            _says_so_everywhere(node)
            _refuses_what_adapters_do_not_take(node, options)
            token.write_text(TOKEN)
            options["tokenFile"] = str(token)
            node.save()
            _reload(node)
            eventually(lambda: node.get(HOST)[0] == 200)
            eventually(lambda: node.admin("/readyz") == (200, b"ready\n"))
            status = json.loads(node.cli("status", "-o", "json").stdout)
            assert status["problems"] == []  # a rule for a service of another source is no conflict
            agent.kill()
            node.stop()
            node.start()  # what Consul said to an earlier process is an answer
            assert node.get(HOST)[0] == 200
            eventually(lambda: node.admin("/readyz")[0] == 200)


def _says_so_everywhere(node: Node) -> None:
    missing = "source consul has never answered: "
    why = "no token is given, and Consul denies by default"
    ready = eventually(lambda: _said(node.admin("/readyz"), why))
    assert ready[0] == 503
    assert missing in ready[1].decode()
    answer = eventually(lambda: _said(node.get("other.service.consul")[::2], why))
    assert answer[0] == 502
    assert missing in answer[1].decode()
    shown = node.cli("status").stdout
    assert "NOT READY: required sources have never answered: consul" in shown
    assert why in shown
    explained = node.cli("explain", "GET", "http://other.service.consul/").stdout
    assert why in " ".join(explained.split())
    for source in ("consul", "fleet"):
        eventually(lambda s=source: of_source(node, s))  # type: ignore[misc]
        assert of_source(node, source) == ["source failed, it has never answered"]


def _said(answer: tuple[int, bytes], why: str) -> tuple[int, bytes] | None:
    return answer if why in answer[1].decode() else None


def _refuses_what_adapters_do_not_take(node: Node, options: dict[str, object]) -> None:
    options["adress"] = "x"
    node.save()
    _reload(node)
    eventually(lambda: "reload refused" in node.log())
    assert "adapters[0].options.adress" in node.cli("status").stdout
    del options["adress"]


def _reload(node: Node) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
