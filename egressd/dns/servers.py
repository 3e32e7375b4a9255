"""Name servers: how they are written, and which is asked first. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

PORT = 53
FIRST_PENALTY_S = 5.0
MAX_PENALTY_S = 60.0


class Server(NamedTuple):
    """One name server."""

    address: str
    port: int = PORT

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


def split_server(text: str) -> Server:
    """A server written "address", "address:port" or "[v6]:port". Raises `ValueError`."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest[:1] not in ("", ":"):
            raise ValueError(text)
        port = rest[1:] if rest else str(PORT)
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        port = str(PORT)
    if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
        raise ValueError(text)
    ipaddress.ip_address(host)
    return Server(host, int(port))


def servers_in(resolv_conf: str) -> tuple[Server, ...]:
    """The `nameserver` lines of a resolv.conf; this host's own when there is none (resolv.conf(5))."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            found.append(Server(words[1]))
    return tuple(found) or (Server("127.0.0.1"),)


class Standing:
    """Which servers did not answer lately: these are asked after the others, for a short while."""

    def __init__(self) -> None:
        self._silent: dict[Server, tuple[int, float]] = {}  # times in a row, until when

    def order(self, servers: Iterable[Server], now: float) -> list[Server]:
        """The servers in the order in which to ask them."""

        def until(server: Server) -> float:
            ends = self._silent.get(server, (0, 0.0))[1]
            return ends if ends > now else 0.0

        return sorted(servers, key=until)

    def note_silent(self, server: Server, now: float) -> bool:
        """It did not answer in time. Whether that is news."""
        times, until = self._silent.get(server, (0, 0.0))
        if times and now < until:
            return False
        penalty = min(FIRST_PENALTY_S * 2.0 ** min(times, 10), MAX_PENALTY_S)
        self._silent[server] = times + 1, now + penalty
        return times == 0

    def note_answer(self, server: Server) -> bool:
        """It answered. Whether that is news."""
        return self._silent.pop(server, None) is not None
