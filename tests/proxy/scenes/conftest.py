"""Scenes have a clock of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proxy.scenes.given import given_clock


@pytest.fixture(autouse=True, scope="module")
def clock() -> Iterator[None]:
    with given_clock():
        yield
