"""Each example from its file: what the node makes of it, with only ports and files put in its place."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import trustme
import yaml

from integration.node import Node, eventually
from integration.origins import Origin
from integration.test_node_gateway import get, get_tls, is_open, write_cert
from integration.test_node_l4 import free_port

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str, *origins: Origin, **replaced: str) -> str:
    """The file as it stands, its endpoints at the test's origins."""
    text = (EXAMPLES / name).read_text()
    for number, origin in enumerate(origins):
        text = text.replace(f"http: {9080 + number}}}", f"http: {origin.port}}}")
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_valid_and_analysis_finds_nothing_broken(
    file: Path, tmp_path: Path
) -> None:
    node = Node(tmp_path, node={"id": "n", "labels": {"app": "edge"}})
    assert node.cli("validate", str(file)).returncode == 0
    found = node.cli("analyze", "--suppress", "EG0503", str(file))
    assert found.returncode == 0, found.stdout


def test_the_gateway_example_ends_tls_and_redirects_with_301(tmp_path: Path) -> None:
    authority = trustme.CA()
    cert, key = write_cert(tmp_path, "orders", authority.issue_cert("orders.example.com"))
    plain, secure = free_port(), free_port()
    with Origin("orders") as origin:
        text = example("gateway-https.yaml", origin)
        text = text.replace("/etc/egressd/tls/orders.crt", cert)
        text = text.replace("/etc/egressd/tls/orders.key", key)
        ports = {"80": plain, "443": secure}
        with Node(
            tmp_path,
            {"example.yaml": text},
            node={"id": "n", "labels": {"app": "edge"}},
            gateways={"address": "127.0.0.1", "ports": ports},
        ) as node:
            warnings = node.cli("validate", str(node.resources / "example.yaml"))
            assert warnings.returncode == 0
            assert re.search(r"warning: .*tls\.serverCertificate", warnings.stdout)
            assert re.search(r"warning: .*tls\.privateKey", warnings.stdout)
            eventually(lambda: is_open(plain) and is_open(secure))
            answer = get(plain, "orders.example.com", "/a?b=c")
            assert answer.startswith(b"HTTP/1.1 301 ")
            assert b"location: https://orders.example.com/a?b=c\r\n" in answer
            answer, _ = get_tls(secure, "orders.example.com", authority)
            assert answer.endswith(b"\r\n\r\norders")


def test_the_outlier_example_ejects_after_five_errors_for_three_minutes(tmp_path: Path) -> None:
    with Origin("good") as good, Origin("bad") as bad:
        bad.status = 503
        text = example("outlier.yaml", good, bad)
        with Node(tmp_path, {"example.yaml": text}) as node:
            found = node.cli("validate", str(node.resources / "example.yaml"))
            assert re.search(r"warning: .*consecutiveErrors", found.stdout)

            def ejected() -> list[tuple[str, str, float]]:
                node.get("catalog.example.com")
                status = node.admin_json("/status")
                assert isinstance(status, dict)
                return status["ejected"]  # type: ignore[no-any-return]

            (_, endpoint, left) = eventually(ejected)[0]
            assert endpoint == f"127.0.0.1:{bad.port}"
            assert 170 < left <= 180
            seen = len(bad.seen)
            assert all(node.get("catalog.example.com")[0] == 200 for _ in range(20))
            assert len(bad.seen) == seen


def test_the_fault_example_aborts_a_tenth_with_500(tmp_path: Path) -> None:
    with Origin("ratings") as origin:
        with Node(tmp_path, {"example.yaml": example("fault.yaml", origin)}) as node:
            found = node.cli("validate", str(node.resources / "example.yaml"))
            assert "warning" in found.stdout and "bare number 10" in found.stdout
            eventually(lambda: node.get("ratings.example.com")[0] in (200, 500))
            counts = Counter(node.get("ratings.example.com")[0] for _ in range(600))
            assert set(counts) == {200, 500}
            assert 25 < counts[500] < 110  # 60 expected; 5 standard deviations are 37


def test_the_fault_of_the_oldest_api_is_read_from_json(tmp_path: Path) -> None:
    with Origin("ratings") as origin:
        documents = list(yaml.safe_load_all(example("fault.yaml", origin)))
        documents[0]["spec"]["http"][0]["fault"] = {"abort": {"percent": 10, "http_status": 500}}
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents}, indent="\t")
        with Node(tmp_path, {"example.json": text}) as node:
            found = node.cli("validate", str(node.resources / "example.json"))
            assert found.returncode == 0
            assert re.search(r"warning: .*fault\.abort\.percent: ", found.stdout)
            eventually(lambda: node.get("ratings.example.com")[0] in (200, 500))
            counts = Counter(node.get("ratings.example.com")[0] for _ in range(300))
            assert set(counts) == {200, 500} and 8 < counts[500] < 62


def test_the_canary_example_follows_header_and_weights(tmp_path: Path) -> None:
    with Origin("v1") as v1, Origin("v2") as v2:
        with Node(tmp_path, {"example.yaml": example("canary.yaml", v1, v2)}) as node:
            eventually(lambda: node.get("reviews.example.com")[0] == 200)
            assert node.get("reviews.example.com", x_canary="yes")[2] == b"v2"
            counts = Counter(node.get("reviews.example.com")[2] for _ in range(300))
            assert counts[b"v1"] > counts[b"v2"] > 0


def test_the_sticky_example_keeps_a_user_at_one_endpoint(tmp_path: Path) -> None:
    with Origin("one") as one, Origin("two") as two:
        with Node(tmp_path, {"example.yaml": example("sticky.yaml", one, two)}) as node:
            eventually(lambda: node.get("carts.example.com")[0] == 200)
            _, headers, first = node.get("carts.example.com")
            cookie = headers["set-cookie"]
            assert "Max-Age=3600" in cookie and "Path=/" in cookie and "HttpOnly" in cookie
            sent = cookie.partition(";")[0]
            for _ in range(10):
                _, headers, body = node.get("carts.example.com", cookie=sent)
                assert body == first and "set-cookie" not in headers
            users = {node.get("carts.example.com", cookie=f"user={n}")[2] for n in range(40)}
            assert users == {b"one", b"two"}


def test_the_policy_example_hides_and_refuses(tmp_path: Path) -> None:
    with Origin("users") as origin:
        with Node(tmp_path, {"example.yaml": example("sidecar-policy.yaml", origin)}) as node:
            eventually(lambda: node.get("users.example.com")[0] == 200)
            assert node.get("users.example.com", method="DELETE")[0] == 403
            assert node.get("payroll.example.com")[0] == 502
