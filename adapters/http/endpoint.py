"""Where a server listens."""

from __future__ import annotations

from typing import Literal

import msgspec


class Endpoint(msgspec.Struct, frozen=True):
    """Where a server listens: a host and port, or the path of a Unix socket."""

    scheme: Literal["http", "https", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def url(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @property
    def authority(self) -> str:
        """What the Host header says."""
        return "localhost" if self.scheme == "unix" else self.url.partition("://")[2]
