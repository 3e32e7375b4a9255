"""What routing sees of a request: bytes as they arrived, already strict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BETWEEN_VALUES: Final = b"\n"
"""Between the values of a repeated header, each of which is matched by itself (Envoy since 1.39)."""


@dataclass(slots=True)
class Request:
    """One request head. `headers` has lower-case names; values of repeated headers stand with
    `BETWEEN_VALUES` between them."""

    method: bytes
    path: bytes  # without the query string, as sent (not decoded)
    query: bytes  # without '?'; b"" when absent
    authority: bytes  # Host as sent, or the absolute form's authority
    host: str  # lower case, no port, no trailing dot
    port: int  # the service port addressed
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    scheme: bytes = b"http"
    gateway: str = "mesh"
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = "default"
