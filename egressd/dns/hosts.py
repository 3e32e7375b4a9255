"""Names that need no server: address literals, the hosts file, localhost; and the search list. Pure
but for reading a file again when it has changed."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


def addresses_in(hosts: str) -> Mapping[str, tuple[str, ...]]:
    """The text of a hosts file as name, in lower case, to addresses (hosts(5))."""
    names: dict[str, tuple[str, ...]] = {}
    for line in hosts.splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            names[name.lower()] = (*names.get(name.lower(), ()), words[0])
    return names


def local_addresses(
    name: str, kind: str, hosts: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...] | None:
    """What is known of a name without asking; None: ask. A name of the hosts file has no other
    addresses than those there."""
    if kind not in ("A", "AAAA"):
        return None
    plain = name.rstrip(".").lower()
    version = 6 if kind == "AAAA" else 4
    try:
        found: tuple[str, ...] = (str(ipaddress.ip_address(plain)),)
    except ValueError:
        found = hosts.get(plain, ())
        if not found and (plain == "localhost" or plain.endswith(".localhost")):
            found = ("127.0.0.1", "::1")  # RFC 6761 6.3
    if not found:
        return None
    return tuple(one for one in found if (6 if ":" in one else 4) == version)


def names_to_ask(name: str, search: Sequence[str]) -> list[str]:
    """The full names that a name may stand for: a single label is tried in each search domain first.
    A name with dots is never completed, so that nobody's domain can answer for another's."""
    plain = name.rstrip(".")
    if "." in plain or name.endswith("."):
        return [plain]
    return [f"{plain}.{domain.strip('.')}" for domain in search] + [plain]


class FileText(Generic[T]):
    """A small file as it is now, read again only when it has changed; unreadable is empty."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._stamp: tuple[int, int] | None = None
        self._value = parse("")

    def value(self) -> T:
        """The parsed file."""
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._value = self._parse(file.read())
                self._stamp = stamp
        except OSError:
            pass  # between two versions of it, the last one read stands
        return self._value
