"""TLS origination on a real node as a partner sees it: resumed sessions, one context for many names."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from integration.node import Node, eventually
from integration.origins import Origin, service_entry


class CountingContext(ssl.SSLContext):
    """A server context that counts full and resumed handshakes."""

    full: int
    resumed: int
    lock: threading.Lock


class _CountingSocket(ssl.SSLSocket):
    """Counts itself when it has read something: the handshake is done with the first read."""

    counted = False

    def read(self, len: int = 1024, buffer: bytearray | None = None) -> Any:
        found = super().read(len, buffer)
        if not self.counted:
            self.counted = True
            context = self.context
            assert isinstance(context, CountingContext)
            with context.lock:
                if self.session_reused:
                    context.resumed += 1
                else:
                    context.full += 1
        return found


def counting_context(authority: trustme.CA, *names: str) -> CountingContext:
    context = CountingContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _CountingSocket
    context.full = context.resumed = 0
    context.lock = threading.Lock()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    return made


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as node:
        yield node


def rule(host: str, ca: Path, more: str = "") -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\n"
        f"spec: {{host: '{host}', trafficPolicy: "
        f"{{tls: {{mode: SIMPLE, caCertificates: {ca}}}{more}}}}}\n"
    )


ONE_REQUEST = ", connectionPool: {http: {maxRequestsPerConnection: 1}}"


def test_a_partner_sees_one_full_handshake_a_worker(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    context = counting_context(authority, "pay.example")
    with Origin("pay", tls=context) as origin:
        node.write(
            "pay.yaml",
            service_entry("pay", origin.port)
            + rule("pay.example", tmp_path / "ca.pem", ONE_REQUEST),
        )
        eventually(lambda: node.get("pay.example")[0] == 200)
        for _ in range(30):
            assert node.get("pay.example")[0] == 200
    assert 1 <= context.full <= 2
    assert context.full + context.resumed >= 31


def test_clients_that_come_at_once_cost_a_partner_one_full_handshake_a_worker(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    context = counting_context(authority, "pay.example")
    with Origin("pay", tls=context) as origin:
        text = service_entry("pay", origin.port) + rule("pay.example", tmp_path / "ca.pem")
        node.write("pay.yaml", text)
        eventually(lambda: "pay.example" in node.cli("registry", "list").stdout)
        statuses: list[int] = []
        clients = [
            threading.Thread(target=lambda: statuses.append(node.get("pay.example")[0]))
            for _ in range(24)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join(20)
        assert statuses == [200] * 24
    assert 1 <= context.full <= 2


def _resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_invented_names_below_a_wildcard_cost_no_context(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    """A bundle as large as the system's: each context of it is some hundred KiB."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(
        authority.cert_pem.bytes() + b"".join(trustme.CA().cert_pem.bytes() for _ in range(150))
    )
    context = counting_context(authority, "*.w.example")
    with Origin("w", tls=context) as origin:
        entry = service_entry("w", origin.port).replace("[w.example]", "['*.w.example']")
        node.write("w.yaml", entry + rule("*.w.example", bundle))
        eventually(lambda: node.get("first.w.example")[0] == 200)
        pids = node.pids("worker").values()
        before = sum(map(_resident_kib, pids))
        for number in range(150):
            assert node.get(f"n{number}.w.example")[0] == 200
        grown = sum(map(_resident_kib, pids)) - before
    assert grown < 30_000, f"{grown} KiB for 150 names"
