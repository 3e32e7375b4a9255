"""Kinds of resources that are none of egressd's, in directories shared with Kubernetes. Pure, but for
`marked_kinds`.

What is skipped is named: by kind, or `*` for every kind of an API group that is not Istio's. A kind that
egressd reads is never skipped, nor is one of Istio's groups unless it is named: `VirtualServce` is a
mistake, and a PeerAuthentication that nobody reads is something to know.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

MARKER: Final = ".egressd-ignore-kinds"
"""A file of this name marks its directory and those below it: a kind a line, comments from `#` on; an
empty one means `*`."""
ALL: Final = "*"
KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml")
KUSTOMIZE: Final = ("Kustomization", "kustomize.config.k8s.io/v1beta1")
"""What these files are, which need not say so."""
_OURS: Final = ("networking.istio.io", "security.istio.io", "")


class OtherKinds(msgspec.Struct, frozen=True):
    """The kinds to skip."""

    names: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.names)

    def take(self, kind: str, api_version: str, *, is_read: bool) -> bool:
        """Whether a resource is skipped. `is_read`: egressd reads this kind of Istio's groups."""
        group = api_version.rpartition("/")[0]
        is_ours = group in _OURS and not (group == "" and api_version)
        if is_read and is_ours:
            return False
        return kind in self.names or (ALL in self.names and not is_ours)

    def plus(self, other: OtherKinds) -> OtherKinds:
        """Those of both."""
        return OtherKinds(self.names | other.names) if other.names else self


NOTHING: Final = OtherKinds()


def kinds_of(text: str) -> OtherKinds:
    """What a marker file says."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return OtherKinds(frozenset(filter(None, lines)) or frozenset((ALL,)))


def kinds_named(names: Iterable[str]) -> OtherKinds:
    """What an option names, by commas or one by one."""
    parts = (part.strip() for name in names for part in name.split(","))
    return OtherKinds(frozenset(filter(None, parts)))


def marked_kinds(directory: str, known: dict[str, OtherKinds]) -> OtherKinds:
    """What the marker of a directory, or of the nearest one above it, says. `known` keeps what was found
    of others meanwhile."""
    if directory not in known:
        above = os.path.dirname(directory)
        try:
            with open(os.path.join(directory, MARKER), encoding="utf-8") as file:
                known[directory] = kinds_of(file.read())
        except (OSError, UnicodeDecodeError):
            known[directory] = marked_kinds(above, known) if above != directory else NOTHING
    return known[directory]


def skipped_words(skipped: Mapping[str, int]) -> str:
    """Kinds with their number: "Deployment (3), Service (1)"."""
    return ", ".join(f"{kind} ({number})" for kind, number in sorted(skipped.items()))


def count_skipped(many: Iterable[Iterable[str]]) -> Counter[str]:
    """How often each kind was skipped in several texts."""
    return Counter(kind for kinds in many for kind in kinds)
