"""Explain on a running node: what it says is what the node does, and it knows who is ejected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from integration.node import Node, eventually
from integration.origins import Origin

API = "networking.istio.io/v1"
RESOURCES = f"""
apiVersion: {API}
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: GOOD}}, labels: {{is: good}}}}
  - {{address: 127.0.0.1, ports: {{http: BAD}}, labels: {{is: bad}}}}
---
apiVersion: {API}
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web.example
  trafficPolicy:
    loadBalancer: {{simple: RANDOM}}
    outlierDetection: {{consecutive5xxErrors: 1, baseEjectionTime: 250s}}
---
apiVersion: {API}
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: [web.example]
  http:
  - {{match: [{{uri: {{prefix: /old}}}}], redirect: {{uri: /new}}}}
  - {{match: [{{uri: {{prefix: /tea}}}}], directResponse: {{status: 418}}}}
  - match: [{{uri: {{prefix: /down}}}}]
    fault: {{abort: {{httpStatus: 507, percentage: {{value: 100}}}}}}
    route: [{{destination: {{host: web.example}}}}]
  - match: [{{uri: {{prefix: /lost}}}}]
    route: [{{destination: {{host: web.example, subset: none}}}}]
  - match: [{{uri: {{prefix: /api}}}}]
    retries: {{attempts: 0}}
    route: [{{destination: {{host: web.example}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: closed}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: ["/closed*"], ports: ["80"]}}}}]}}]}}
"""


def explained(node: Node, *words: str) -> dict[str, Any]:
    done = node.cli("explain", *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_running_node_does_what_explain_says_and_tells_who_is_ejected(tmp_path: Path) -> None:
    with Origin("good") as good, Origin("bad") as bad:
        bad.status = 500
        text = RESOURCES.replace("GOOD", str(good.port)).replace("BAD", str(bad.port))
        with Node(tmp_path, {"web.yaml": text}) as node:
            eventually(lambda: node.get("web.example", "/api")[0] == 200)
            eventually(lambda: (node.get("web.example", "/api"), bad.seen)[1])
            found = explained(node, "GET", "http://web.example/api")
            assert found["outcome"]["kind"] == "forwarded"
            (destination,) = found["destinations"]
            by_id = {e["id"]: e for level in destination["levels"] for e in level["endpoints"]}
            healthy, ejected = by_id[f"127.0.0.1:{good.port}"], by_id[f"127.0.0.1:{bad.port}"]
            assert (healthy["health"], healthy["share"]) == ("healthy", 100.0)
            assert (ejected["health"], ejected["share"], ejected["times_ejected"]) == (
                "ejected",
                0,
                1,
            )
            assert 0 < ejected["ejected_for_s"] <= 250
            assert ejected["labels"] == {"is": "bad"}

            listener = f"127.0.0.1:{node.port} 'egress' of the node, HTTP"
            assert found["steps"][0]["says"] == listener
            assert found["steps"][3]["by"]["file"] == str(node.resources / "web.yaml")

            for path in ("/old", "/tea", "/down", "/lost", "/closed", "/nothing"):
                outcome = explained(node, "GET", f"http://web.example{path}")["outcome"]
                status, headers, _ = node.get("web.example", path)
                assert outcome["status"] == status, path
                assert outcome["flag"] == headers.get("x-egressd-response-flags", ""), path
                assert dict(outcome["headers"]).get("location") == headers.get("location"), path
            shown = node.cli("explain", "GET", "http://web.example/api").stdout
            assert "ejected for" in shown and "1 time" in shown
