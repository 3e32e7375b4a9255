"""What explain does not tell of conditions on headers and parameters."""

from __future__ import annotations

import pytest

from tests.explain.questions import step
from tests.explain.test_steps import TO_A, routed, why

HIDDEN = "[redacted]"


@pytest.mark.parametrize(
    ("condition", "text", "words"),
    [
        ("queryParams: {v: {exact: '2'}}", "GET /?v=S3", 'exact "2", found another value'),
        ("queryParams: {v: {exact: '2'}}", "GET /?w=S3", 'exact "2", found no such parameter'),
        ("queryParams: {key: {exact: S3}}", "GET /?key=x", f'exact "{HIDDEN}", found another value'),
        ("headers: {x-token: {exact: S3}}", "GET / x-token: x", f'exact "{HIDDEN}", found "{HIDDEN}"'),
        ("headers: {cookie: {prefix: S3}}", "GET /", f'prefix "{HIDDEN}", found no such header'),
    ],
)  # fmt: skip
def test_a_credential_is_not_told(condition: str, text: str, words: str) -> None:
    found = routed(f"match: [{{{condition}}}], {TO_A}", text)
    (reason,) = why(step(found, "route"), "spec.http[0]")
    assert reason.partition(": wants ")[2] == words
