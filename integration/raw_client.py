"""A client that says and hears raw bytes, and services made for one test each."""

from __future__ import annotations

import socket
import time

from integration.node import Node
from integration.origins import service_entry


class Client:
    """A raw connection to the egress port."""

    def __init__(self, node: Node) -> None:
        self.sock = socket.create_connection(("127.0.0.1", node.port), 10)
        self.sock.settimeout(10)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`; fails when the connection ends before."""
        data = b""
        while mark not in data:
            more = self.sock.recv(65536)
            assert more, data
            data += more
        return data

    def rest(self) -> bytes:
        """Everything to the end of the connection; a reset adds b"<reset>"."""
        data = b""
        while True:
            try:
                more = self.sock.recv(65536)
            except ConnectionResetError:
                return data + b"<reset>"
            if not more:
                return data
            data += more


_names = iter(range(1000))


def serve(node: Node, *ports: int, extra: str = "", protocol: str = "HTTP") -> bytes:
    """A fresh service name for these origins; returns the Host line of requests to it."""
    name = f"s{next(_names)}"
    version = node.admin_json("/status")["registry_version"]  # type: ignore[call-overload,index]
    text = service_entry(name, *ports, protocol=protocol)
    node.write(f"{name}.yaml", text + extra.replace("NAME", name))
    until = time.monotonic() + 10
    while node.admin_json("/status")["registry_version"] == version:  # type: ignore[call-overload,index]
        assert time.monotonic() < until, node.log()
        time.sleep(0.02)
    return f"Host: {name}.example\r\n".encode()


def virtual(http: str) -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: NAME}\n"
        f"spec: {{hosts: [NAME.example], http: {http}}}\n"
    )


TO = "route: [{destination: {host: NAME.example}}]"
