"""The whole line on a real node: files, routing, TLS origination, ejections over four workers."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from pathlib import Path

import trustme

from integration.node import Node, eventually
from integration.origins import Origin, service_entry

OUTLIER = """\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web.example
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 5, interval: 1s, baseEjectionTime: 12s}
"""


def _tls_rule(ca: Path, san: str) -> str:
    return f"""\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: secure}}
spec:
  host: secure.example
  trafficPolicy:
    tls: {{mode: SIMPLE, caCertificates: {ca}, subjectAltNames: [{san}]}}
"""


def test_a_file_change_is_served_and_a_bad_file_never_replaces_the_good_one(tmp_path: Path) -> None:
    with Origin("one") as one, Origin("two") as two:
        with Node(tmp_path, {"web.yaml": service_entry("web", one.port)}) as node:
            assert node.get("web.example")[2] == b"one"
            node.write("web.yaml", service_entry("web", two.port))
            eventually(lambda: node.get("web.example")[2] == b"two")
            node.write("web.yaml", service_entry("web", one.port).replace("STATIC", "STATIK"))
            problem = eventually(lambda: node.admin_json("/status")["problems"])  # type: ignore[index]
            assert "spec.resolution" in problem[0]
            assert "STATIK" in problem[0]
            assert node.get("web.example")[2] == b"two"
            node.stop()
            node.start()  # cold, with the bad file still there: the last good one serves
            assert node.get("web.example")[2] == b"two"
            (node.resources / "web.yaml").unlink()
            eventually(lambda: node.get("web.example")[0] == 502)


def test_tls_is_originated_and_a_wrong_san_is_refused_with_a_reason(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("secure.example").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    with Origin("tls", tls=context) as origin:
        entry = service_entry("secure", origin.port)
        good = {"secure.yaml": entry + _tls_rule(ca, "secure.example")}
        with Node(tmp_path / "node", good) as node:
            assert node.get("secure.example")[2] == b"tls"
            node.write("secure.yaml", entry + _tls_rule(ca, "other.example"))
            _, headers, body = eventually(lambda: (a := node.get("secure.example"))[0] == 503 and a)
            assert headers["x-egressd-response-flags"].startswith("UF")
            assert b"secure.example" in body
            assert b"other.example" in body
            logged = eventually(
                lambda: [e for e in node.access_log() if str(e["response_flags"]).startswith("UF")]
            )
            assert "SAN" in str(logged[0]["upstream_transport_failure_reason"])


def test_five_errors_over_four_workers_eject_once_for_the_whole_node(tmp_path: Path) -> None:
    with Origin("good") as good, Origin("bad") as bad:
        bad.status = 500
        entry = service_entry("web", good.port, bad.port)
        with Node(tmp_path, {"web.yaml": entry + OUTLIER}, workers=4) as node:
            started = time.monotonic()
            eventually(lambda: (node.get("web.example"), len(bad.seen) >= 5)[1])
            ejected_at = time.monotonic()
            before = len(bad.seen)
            assert before == 5
            while time.monotonic() - ejected_at < 1.5:
                assert node.get("web.example")[0] == 200
            assert len(bad.seen) == before
            metrics = node.admin("/metrics")[1].decode()
            cluster = 'cluster="outbound|80||web.example"'
            endpoint = f'endpoint="127.0.0.1:{bad.port}"'
            assert f"egressd_ejections_active{{{cluster},{endpoint}}} 1.0" in metrics
            rule = 'rule="consecutive_5xx"'
            assert f"egressd_ejections_total{{{cluster},{rule}}} 1.0" in metrics
            shown = node.cli("status")
            assert shown.returncode == 0, shown.stderr
            assert "ejected" in shown.stdout
            bad.status = 200
            eventually(lambda: (node.get("web.example"), len(bad.seen) > before)[1], 30)
            assert time.monotonic() - started > 12


def test_counters_are_those_of_all_workers(tmp_path: Path) -> None:
    with Origin("web") as origin:
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}, workers=3) as node:
            for _ in range(30):
                assert node.get("web.example")[0] == 200
            metrics = node.admin("/metrics")[1].decode()
            total = sum(
                float(line.rpartition(" ")[2])
                for line in metrics.splitlines()
                if line.startswith("istio_requests_total{") and "web.example" in line
            )
            assert total == 30


def test_the_commands_explain_the_running_node(tmp_path: Path) -> None:
    with Origin("web") as origin:
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}) as node:
            node.get("web.example")
            explained = node.cli("explain", "GET", "http://web.example/x", "-o", "json")
            assert explained.returncode == 0, explained.stderr
            found = json.loads(explained.stdout)
            (destination,) = found["destinations"]
            assert destination["cluster"] == "outbound|80||web.example"
            assert destination["levels"][0]["endpoints"][0]["health"] == "healthy"
            listed = json.loads(node.cli("registry", "list", "-o", "json").stdout)
            assert [r["resource"]["kind"] for r in listed["records"]] == ["ServiceEntry"]
            assert "web.example" in node.cli("routes", "web.example").stdout
            assert node.cli("registry", "get", "nope.example").returncode == 1
            validated: subprocess.CompletedProcess[str] = node.cli("validate", str(node.resources))
            assert validated.returncode == 0
