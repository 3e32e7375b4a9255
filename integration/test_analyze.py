"""`egressd analyze` beside a running node: its registry, and what it has seen of a port."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from integration.node import Node
from integration.origins import Origin
from tests.cli.test_analyze import CANARY

ALERT = b"\x15\x03\x01\x00\x02\x02\x46"
NGINX = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 66\r\nConnection: close\r\n\r\n"
    b"400 The plain HTTP request was sent to HTTPS port; that is an error"
)


def service(name: str, port: int, labels: str = "{version: v1}") -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}, labels: {labels}}}]
"""


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that says the same to everybody and closes."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def ask(node: Node, host: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def found(node: Node, *arguments: str) -> dict[str, str]:
    """Code and place of each finding."""
    listed = json.loads(node.cli("analyze", "-o", "json", *arguments).stdout)
    return {f"{one['code']} {one['resource']}": one["found"] for one in listed}


def test_files_are_judged_with_what_the_node_knows_and_has_seen(tmp_path: Path) -> None:
    canary = tmp_path / "canary.yaml"
    canary.write_text(CANARY)
    both = "{version: v1}}, {address: 127.0.0.2, labels: {version: v2}"
    with answering(ALERT) as alert, answering(NGINX) as nginx, answering(b"") as closing:
        with Origin("reviews") as origin, answering(NGINX.replace(b"HTTPS", b"other")) as bad:
            texts = [
                service("reviews", origin.port, both),
                service("alert", alert), service("nginx", nginx), service("closing", closing),
                service("bad", bad),
            ]  # fmt: skip
            with Node(tmp_path / "node", {"all.yaml": "---\n".join(texts)}) as node:
                assert found(node, str(canary)) == {}
                assert node.cli("validate", str(canary)).stdout.count("503") == 0
                assert "EG0101 VirtualService/default/reviews" in found(
                    node, "--offline", str(canary)
                )
                assert ask(node, "reviews.example")[0] == 200
                status, body = ask(node, "alert.example")
                assert (status, "the endpoint speaks TLS" in body) == (502, True), body
                assert ask(node, "nginx.example")[0] == 400
                assert ask(node, "closing.example")[0] == 503
                assert ask(node, "bad.example")[0] == 400
                names = ("alert", "closing", "nginx")
                assert sorted(found(node)) == [
                    f"EG0508 ServiceEntry/default/{name}" for name in names
                ]
                assert found(node, "--offline", str(node.resources)) == {}
                rule = tmp_path / "rule.yaml"
                rule.write_text(
                    "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: "
                    "{name: alert}\nspec: {host: alert.example, "
                    "trafficPolicy: {tls: {mode: SIMPLE}}}\n"
                )
                assert "EG0508 ServiceEntry/default/alert" not in found(node, str(rule))
