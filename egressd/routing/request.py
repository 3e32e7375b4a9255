"""What routing sees of a request: names and paths in their one form, the rest as it arrived."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

BETWEEN_VALUES: Final = b"\n"
"""Between the values of a repeated header, each of which is matched by itself (Envoy since 1.39)."""


@dataclass(slots=True)
class Request:
    """One request head. `headers` has lower-case names; values of repeated headers stand with
    `BETWEEN_VALUES` between them."""

    method: bytes
    path: bytes  # without the query string; normalized, in the form that is compared
    query: bytes  # without '?'; b"" when absent
    authority: bytes  # `Authority.text`
    host: str  # `Authority.host`
    port: int  # the service port addressed
    headers: dict[bytes, bytes] = field(default_factory=dict)
    scheme: bytes = b"http"
