"""Fixtures of the integration suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.node import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of a file; each makes its own services (`raw_client.serve`)."""
    limits = {"headTimeout": "1s", "maxRequestHeadBytes": 8192, "retryBufferBytes": 1024}
    directory = tmp_path_factory.mktemp("node")
    with Node(directory, workers=1, limits=limits) as running:
        yield running
