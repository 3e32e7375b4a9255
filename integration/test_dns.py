"""`resolution: DNS` on a real node against a name server: TTL, outage, names without addresses."""

from __future__ import annotations

import time
from pathlib import Path

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.dns import NameServer

FLAGS = "x-egressd-response-flags"
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: partner}}
spec:
  hosts: [partner.test]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
  resolution: DNS
"""


def test_a_dns_service_follows_its_name_and_survives_its_server(tmp_path: Path) -> None:
    with Origin("partner") as origin, NameServer({"partner.test": ["127.0.0.1"]}) as server:
        resources = {"partner.yaml": ENTRY.format(port=origin.port)}
        dns = {"nameservers": [server.address], "minTtl": "1s", "maxTtl": "2s"}
        with Node(tmp_path, resources, workers=1, dns=dns) as node:
            assert node.get("partner.test")[2] == b"partner"
            server.table["partner.test"] = ["127.0.0.2"]  # nobody listens there
            eventually(lambda: node.get("partner.test")[0] == 503)
            server.table["partner.test"] = ["127.0.0.1"]
            eventually(lambda: node.get("partner.test")[0] == 200)
            server.mode = "silent"
            asked = server.asked
            eventually(lambda: server.asked > asked)
            time.sleep(1)
            assert node.get("partner.test")[2] == b"partner"  # the last good answer stands


def test_a_name_without_addresses_is_no_healthy_upstream(tmp_path: Path) -> None:
    with NameServer({}) as server:
        dns = {"nameservers": [server.address]}
        with Node(tmp_path, {"p.yaml": ENTRY.format(port=80)}, workers=1, dns=dns) as node:
            status, headers, body = node.get("partner.test")
            assert status == 503
            assert headers["x-egressd-response-flags"] == "UH"
            assert b"partner.test" in body


def test_last_answers_end_at_their_limits(tmp_path: Path) -> None:
    with Origin("partner") as origin, NameServer({"partner.test": ["127.0.0.1"]}) as server:
        resources = {"partner.yaml": ENTRY.format(port=origin.port)}
        dns = {"nameservers": [server.address], "staleFor": "2s", "goneAfter": "2s"}
        with Node(tmp_path, resources, workers=1, dns=dns) as node:
            assert node.get("partner.test")[0] == 200
            for mode, table in (("well", {}), ("servfail", {"partner.test": ["127.0.0.1"]})):
                server.mode, server.table = mode, table
                eventually(lambda: node.get("partner.test")[1].get(FLAGS) == "UH", 20)
                assert node.log().count("name has no records any more") >= 1
                server.mode, server.table = "well", {"partner.test": ["127.0.0.1"]}
                eventually(lambda: node.get("partner.test")[0] == 200, 20)
