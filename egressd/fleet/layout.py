"""Where things lie in the store (docs/fleet.md):

    PREFIX/resources/KIND/NAMESPACE/NAME    one resource, as YAML
    PREFIX/resources/version                the set's version: grows by one with every change
    PREFIX/history/0000000012               what version 12 replaced
    PREFIX/status/NODE                      what a node says; goes away by itself

The version lies among the resources, so that one listing is the whole set with its version at one
moment, and one watch hears of every change; what nodes say wakes nobody.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from egressd.api.resource import Kind

DEFAULT_PREFIX = "egressd/fleet/"


class Layout(msgspec.Struct, frozen=True):
    """The keys below a prefix, which ends in a slash."""

    prefix: str = DEFAULT_PREFIX

    @property
    def resources(self) -> str:
        return f"{self.prefix}resources/"

    @property
    def version(self) -> str:
        return f"{self.resources}version"

    @property
    def history(self) -> str:
        return f"{self.prefix}history/"

    @property
    def statuses(self) -> str:
        return f"{self.prefix}status/"

    def resource(self, ref: str) -> str:
        """The key of a resource: kinds, namespaces and names need no quoting."""
        return f"{self.resources}{ref}"

    def ref(self, key: str) -> str | None:
        """The resource of a key; None for a key that is none's."""
        ref = key.removeprefix(self.resources)
        parts = ref.split("/")
        is_resource = len(parts) == 3 and parts[0] in set(Kind) and parts[1] and parts[2]
        return ref if is_resource else None

    def history_of(self, version: int) -> str:
        """The key of a version's history, in the order of versions."""
        return f"{self.history}{version:010d}"

    def status_of(self, node: str) -> str:
        """The key of a node's status."""
        return f"{self.statuses}{quote(node, safe='')}"


def read_prefix(text: str) -> str:
    """A prefix as stores take it: without a leading slash, with one at the end. Raises ValueError."""
    inner = text.strip("/")
    if not inner or "//" in inner or not inner.isprintable() or " " in inner:
        raise ValueError("not a path")
    return f"{inner}/"
