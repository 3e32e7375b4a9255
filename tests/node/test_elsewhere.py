"""Listeners that do not listen where the configuration says."""

from __future__ import annotations

import pytest

from egressd.node.bootstrap_model import ListenerConfig
from egressd.node.sockets import elsewhere


@pytest.mark.parametrize(
    ("address", "port", "bound", "expected"),
    [
        ("127.0.0.1", 15001, ("egress", "127.0.0.1", 15001), ""),
        ("127.0.0.1", 0, ("egress", "127.0.0.1", 40000), ""),
        ("::1", 15001, ("egress", "::1", 15001), ""),
        ("0:0::0:1", 15001, ("egress", "::1", 15001), ""),
        ("127.0.0.1", 15001, ("other", "127.0.0.1", 9), ""),
        ("127.0.0.1", 8080, ("egress", "127.0.0.1", 15001), "127.0.0.1 port 15001"),
        ("127.0.0.1", 15001, ("egress", "0.0.0.0", 15001), "0.0.0.0 port 15001"),
        ("127.0.0.1", 0, ("egress", "10.0.0.1", 15001), "10.0.0.1 port 15001"),
        ("127.0.0.1", 15001, ("egress", "unix:/run/e.sock", 0), "unix:/run/e.sock"),
    ],
)
def test_what_a_socket_unit_decides_is_said(
    address: str, port: int, bound: tuple[str, str, int], expected: str
) -> None:
    listener = ListenerConfig(name="egress", address=address, port=port)
    said = elsewhere([listener], [bound])
    assert bool(said) == bool(expected)
    assert all(f"listens on {expected}," in sentence for sentence in said)
