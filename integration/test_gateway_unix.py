"""Gateways on Unix sockets of a real node."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.test_node_gateway import bound, exchange, gateway, server, to


def get_unix(path: str, host: str) -> bytes:
    """One request to a Unix socket, b"" where nobody listens."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return b""
        return exchange(sock, host, "/")


@pytest.mark.parametrize("abstract", [False, True])
def test_a_gateway_is_bound_to_a_unix_socket(tmp_path: Path, abstract: bool) -> None:
    path = f"@egressd-{tmp_path.name}" if abstract else str(tmp_path / "edge.sock")
    name = "\0" + path[1:] if abstract else path
    with Origin("a") as origin, Node(tmp_path) as node:
        node.write("a.yaml", service_entry("a", origin.port))
        listed = server(0, "HTTP").removesuffix("}") + f", bind: 'unix://{path}'}}"
        text = gateway("g", listed, "{}") + bound("v", "[a.example]", "[g]", to("a.example"))
        node.write("g.yaml", text)
        for _ in range(4):  # whichever worker accepts
            assert eventually(lambda: get_unix(name, "a.example")).endswith(b"\r\n\r\na")
        assert b" 404 " in get_unix(name, "b.example")
        loop = f"[{{address: 'unix://{path}'}}]"
        if not abstract:
            assert os.stat(path).st_mode & 0o777 == 0o666
            node.write("a.yaml", service_entry("a").replace("endpoints: []", f"endpoints: {loop}"))
            eventually(lambda: b" 503 " in get_unix(name, "a.example"))
        (node.resources / "g.yaml").unlink()
        eventually(lambda: not get_unix(name, "a.example"))
        assert abstract or not os.path.exists(path)
        node.write("g.yaml", text)
        eventually(lambda: get_unix(name, "a.example"))
