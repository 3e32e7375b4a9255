"""An endpoint that is the node's own listener."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.node import Node
from integration.raw_client import serve


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_request_that_would_come_back_is_503_and_says_why(tmp_path: Path, address: str) -> None:
    listeners = [{"name": "egress", "address": address, "port": 0}]
    with Node(tmp_path, workers=1, listeners=listeners) as node:
        name = serve(node, node.port).decode().split()[1]
        status, headers, body = node.get(name)
        assert status == 503
        assert headers["x-egressd-response-flags"].startswith("UF")
        assert b"a listener of the node itself" in body
