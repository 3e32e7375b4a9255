"""Values that would make two messages of one, written as resources of a running node."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import service_entry

BREAK = "x HTTP/1.1\r\nHost: evil\r\n\r\nGET /two"
TO = [{"destination": {"host": "web.example"}}]
HASH = {"loadBalancer": {"consistentHash": {"httpCookie": {"name": BREAK, "ttl": "1s"}}}}
HOSTILE = {
    "uri": {"route": TO, "rewrite": {"uri": f"/{BREAK}"}},
    "uri-space": {"route": TO, "rewrite": {"uri": "/a b"}},
    "authority": {"route": TO, "rewrite": {"authority": BREAK}},
    "authority-space": {"route": TO, "rewrite": {"authority": "a b"}},
    "regex": {"route": TO, "rewrite": {"uriRegexRewrite": {"match": "x", "rewrite": BREAK}}},
    "redirect-uri": {"redirect": {"uri": f"/{BREAK}"}},
    "redirect-authority": {"redirect": {"authority": BREAK}},
    "redirect-prefix": {"redirect": {"prefixRewrite": f"/{BREAK}"}},
    "set": {"route": TO, "headers": {"request": {"set": {"x-a": BREAK}}}},
    "host": {"route": TO, "headers": {"request": {"set": {"host": BREAK}}}},
    "name": {"route": TO, "headers": {"response": {"add": {BREAK: "x"}}}},
    "stat": {"route": TO, "match": [{"statPrefix": BREAK}]},
    "route": {"route": TO, "name": BREAK},
}


@pytest.fixture(scope="module")
def seen() -> list[bytes]:
    return []


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, seen: list[bytes]) -> Iterator[Node]:
    """A node before an origin that keeps what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    sock, _ = server.accept()
                except OSError:
                    return
                with sock:
                    seen.append(sock.recv(65536))
                    sock.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                    )

        threading.Thread(target=serve, daemon=True).start()
        resources = {"web.yaml": service_entry("web", server.getsockname()[1])}
        with Node(tmp_path_factory.mktemp("wire"), resources, workers=1) as node:
            yield node
        server.shutdown(socket.SHUT_RDWR)


def virtual(name: str, route: dict[str, object]) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": name},
            "spec": {"hosts": [f"{name}.example"], "http": [route]},
        }
    )


def test_each_is_refused_with_its_field_and_one_line_of_log(node: Node, tmp_path: Path) -> None:
    for name, route in HOSTILE.items():
        node.write(f"{name}.json", virtual(name, route))
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "rule"},
        "spec": {"host": "web.example", "trafficPolicy": HASH},
    }
    node.write("rule.json", json.dumps(rule))

    def problems() -> list[str]:
        found: list[str] = json.loads(node.admin("/status")[1])["problems"]
        return (
            found if all(any(f"/{n}.json" in p for p in found) for n in (*HOSTILE, "rule")) else []
        )

    found = eventually(problems)
    assert all(problem.isprintable() for problem in found)
    assert sum(": spec." in problem for problem in found) > len(HOSTILE)
    for name in HOSTILE:
        assert node.get(f"{name}.example")[0] == 502
    assert node.get("web.example")[0] == 200
    log = node.log()
    assert "\r" not in log
    assert not any(line.startswith(("Host: evil", "GET /two")) for line in log.splitlines())


def test_what_is_left_of_a_path_is_a_target(node: Node, seen: list[bytes]) -> None:
    regex = {"match": "^/strip(.*)$", "rewrite": "\\1"}
    fields = {"request": {"set": {"x-time": "a%START_TIME(%n)%b"}}}
    route = {"route": TO, "rewrite": {"uriRegexRewrite": regex}, "headers": fields}
    node.write("strip.json", virtual("strip", route))
    eventually(lambda: node.get("strip.example")[0] == 200)
    for path, target in (("/strip", b"/"), ("/strip?q=1", b"/?q=1"), ("/stripa/b", b"/a/b")):
        assert node.get("strip.example", path)[0] == 200
        line, *lines = seen[-1].split(b"\r\n")
        assert line == b"GET %b HTTP/1.1" % target
        assert b"x-time: ab" in lines
