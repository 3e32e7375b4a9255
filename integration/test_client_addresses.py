"""Names that clients choose and that lead to loopback, asked of a real node with a real name server."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.consul import free_ports
from integration.servers.dns import NameServer

NAMES = {
    "four.wild.test": ["127.0.0.1"],
    "six.wild.test": ["AAAA ::1"],
    "mapped.wild.test": ["AAAA ::ffff:127.0.0.1"],
    "zero.wild.test": ["0.0.0.0"],
    "any.wild.test": ["AAAA ::"],
    "four.dyn.test": ["127.0.0.1"],
    "four.far.test": ["127.0.0.1"],
    "mapped.far.test": ["AAAA ::ffff:127.0.0.1"],
    "excepted.wild.test": ["127.0.0.1", "AAAA ::1"],
    "written.test": ["127.0.0.1"],
    "rebound.wild.test": ["127.0.0.1"],
}
DENIED = [name for name in NAMES if name.split(".")[0] not in ("excepted", "written", "rebound")]
WILD = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: ["{host}"]
  ports:
  - {{number: {port}, name: http, protocol: HTTP}}
  - {{number: {tunnel}, name: tcp, protocol: TCP}}
  - {{number: 443, name: tls, protocol: TLS}}
  resolution: {resolution}
"""


@dataclass
class Ground:
    """A node under ALLOW_ANY with an HTTP and a TLS listener, and who would answer on loopback."""

    node: Node
    server: NameServer
    port: int
    tunnel: int

    def get(self, name: str) -> tuple[int, bytes]:
        status, _, body = self.node.get(f"{name}:{self.port}")
        return status, body

    def connect(self, name: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.node.port), 10) as raw:
            raw.sendall(f"CONNECT {name}:{self.tunnel} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            return raw.recv(1000).partition(b"\r\n")[0]


def wild(name: str, host: str, port: int, resolution: str, tunnel: int = 5432) -> str:
    return WILD.format(name=name, host=host, port=port, resolution=resolution, tunnel=tunnel)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("addresses")
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(Origin("loopback"))
        tunnel = stack.enter_context(Origin("tunnel")).port
        server = stack.enter_context(NameServer(dict(NAMES)))
        resources = {
            "wild.yaml": wild("wild", "*.wild.test", origin.port, "NONE", tunnel),
            "dyn.yaml": wild("dyn", "*.dyn.test", origin.port, "DYNAMIC_DNS", tunnel),
            "written.yaml": wild("written", "written.test", origin.port, "NONE", tunnel),
        }
        node = Node(
            directory,
            resources,
            workers=1,
            dns={"nameservers": [server.address], "goneAfter": "0s", "maxTtl": "1s"},
            outboundTrafficPolicy={"mode": "ALLOW_ANY"},
            limits={
                "allowedAddresses": {"excepted.wild.test": ["127.0.0.0/8"]},
                "connectPorts": [tunnel],
            },
        )
        stack.enter_context(node)
        eventually(lambda: node.get(f"written.test:{origin.port}")[0] == 200)
        yield Ground(node, server, origin.port, tunnel)


@pytest.mark.parametrize("name", DENIED)
def test_a_name_that_leads_to_loopback_is_403(ground: Ground, name: str) -> None:
    status, body = ground.get(name)
    assert status == 403
    assert b"limits.deniedAddresses" in body


@pytest.mark.parametrize("name", DENIED)
def test_a_connect_to_one_is_403(ground: Ground, name: str) -> None:
    assert ground.connect(name).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"])
def test_an_address_as_the_host_is_403(ground: Ground, address: str) -> None:
    assert ground.get(address)[0] == 403
    assert ground.connect(address).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("name", ["written.test", "excepted.wild.test"])
def test_what_an_operator_wrote_or_excepted_is_reached(ground: Ground, name: str) -> None:
    assert ground.get(name) == (200, b"loopback")
    assert ground.connect(name).startswith(b"HTTP/1.1 200 ")


def test_of_two_addresses_the_one_that_is_left_is_used(ground: Ground) -> None:
    assert ground.get("excepted.wild.test") == (200, b"loopback")
    clusters = ground.node.admin_json("/clusters?format=json")
    assert isinstance(clusters, list)
    name = f"outbound|{ground.port}||*.wild.test@excepted.wild.test"
    (found,) = [one for one in clusters if one["name"] == name]
    assert {one["id"] for one in found["endpoints"]} == {f"127.0.0.1:{ground.port}"}


def test_a_new_answer_is_judged_anew(ground: Ground) -> None:
    """Away from loopback and back: each answer counts by itself (DNS rebinding)."""
    name = "rebound.wild.test"
    assert ground.get(name)[0] == 403
    ground.server.table[name] = ["127.0.0.1", "AAAA ::1"]
    assert ground.get(name)[0] == 403
    ground.server.table[name] = []
    eventually(lambda: ground.get(name)[0] == 503)
    ground.server.table[name] = ["127.0.0.1"]
    eventually(lambda: ground.get(name)[0] == 403)


def test_explain_says_the_same(ground: Ground) -> None:
    name = "four.wild.test"
    assert ground.get(name)[0] == 403
    done = ground.node.cli("explain", "GET", f"http://{name}:{ground.port}/", "-o", "json")
    outcome = json.loads(done.stdout)["outcome"]
    assert (outcome["status"], outcome["flag"]) == (403, "NC")
    assert "limits.deniedAddresses" in outcome["says"]


def test_a_server_name_that_leads_to_loopback_is_closed(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    resource = wild("wild", "*.wild.test", 80, "NONE").replace("443", str(port))
    listener = {"name": "tls", "address": "127.0.0.1", "port": port, "protocol": "TLS"}
    with (
        NameServer({"lo.wild.test": ["127.0.0.2"]}) as server,
        socket.create_server(("127.0.0.2", port)) as inside,
        Node(
            tmp_path,
            {"wild.yaml": resource},
            workers=1,
            dns={"nameservers": [server.address]},
            listeners=[listener],
        ) as node,
    ):
        eventually(lambda: "wild" in node.cli("registry", "list").stdout)
        context = ssl._create_unverified_context()
        raw = socket.create_connection(("127.0.0.1", port), 10)
        with raw, pytest.raises(OSError):
            context.wrap_socket(raw, server_hostname="lo.wild.test")
        (line,) = eventually(lambda: node.access_log())
        assert line["response_flags"] == "NC"
        assert "limits.deniedAddresses" in str(line["upstream_transport_failure_reason"])
        inside.setblocking(False)
        with pytest.raises(BlockingIOError):
            inside.accept()
