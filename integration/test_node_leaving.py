"""Clients that leave while their origin says nothing: what they held of its limits is free again."""

from __future__ import annotations

import socket
from pathlib import Path

from integration.node import Node, eventually
from integration.origins import service_entry

RULE = (
    "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: s}\nspec: "
    "{host: s.example, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 4}}}}\n"
)


def test_clients_that_sent_fin_lock_nobody_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        port = int(silent.getsockname()[1])
        with Node(tmp_path, {"s.yaml": service_entry("s", port) + RULE}) as node:
            eventually(lambda: "s.example" in node.cli("registry", "list").stdout)
            clients = []
            for _ in range(4):
                client = socket.create_connection(("127.0.0.1", node.port), 5)
                client.sendall(b"GET / HTTP/1.1\r\nHost: s.example\r\n\r\n")
                clients.append(client)

            def is_free() -> bool:
                with socket.create_connection(("127.0.0.1", node.port), 5) as fifth:
                    fifth.settimeout(0.5)
                    fifth.sendall(b"GET / HTTP/1.1\r\nHost: s.example\r\n\r\n")
                    try:
                        return b" 503 " not in fifth.recv(1000)
                    except TimeoutError:
                        return True  # let through: its origin says nothing, too

            eventually(lambda: not is_free())
            for client in clients:
                client.shutdown(socket.SHUT_WR)
            eventually(is_free)
            gone = eventually(lambda: [e for e in node.access_log() if e["response_flags"] == "DC"])
            assert gone[0]["response_code_details"] == "downstream_remote_disconnect"
            for client in clients:
                client.close()
