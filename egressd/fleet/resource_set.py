"""The fleet's resources as the store has them at one moment."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from egressd.api.parse import parse_text
from egressd.api.resource import Place, Problem, Resource
from egressd.fleet.errors import FleetError
from egressd.fleet.layout import Layout
from egressd.registry.keyvalue import Entry, Listing


class Stored(msgspec.Struct, frozen=True):
    """One key. `resource` is None where its text is not that resource: `problems` say why.

    The resource carries its key as place and the key's revision.
    """

    ref: str
    text: str
    revision: int
    resource: Resource | None
    problems: tuple[Problem, ...] = ()


class Version(msgspec.Struct, frozen=True):
    """The set's version: who made it, when (seconds since the epoch)."""

    version: int = 0
    at: float = 0.0
    author: str = ""


class ResourceSet(msgspec.Struct, frozen=True):
    """All resources. `version_revision` 0: there is no version yet. `revision` is the store's, to wait
    from."""

    version: Version
    version_revision: int
    revision: int
    stored: Mapping[str, Stored]
    strays: tuple[Problem, ...] = ()  # keys that are no resource's

    @property
    def resources(self) -> dict[str, Resource]:
        """The readable ones by ref."""
        return {ref: one.resource for ref, one in self.stored.items() if one.resource is not None}

    def text(self, ref: str) -> str:
        """What is stored; "" = nothing."""
        return self.stored[ref].text if ref in self.stored else ""

    def revision_of(self, ref: str) -> int:
        """The revision of a resource's last write; 0 = there is none."""
        return self.stored[ref].revision if ref in self.stored else 0


def read_resource(ref: str, entry: Entry) -> Stored:
    """One key's value as the resource that the key promises."""
    try:
        text = entry.value.decode()
    except UnicodeDecodeError as error:
        fault = Problem(
            place=Place(entry.key), resource=ref, found=str(error), expected="UTF-8 text"
        )
        return Stored(ref, "", entry.revision, None, (fault,))
    parsed = parse_text(text, entry.key)
    if parsed.errors:
        return Stored(ref, text, entry.revision, None, parsed.problems)
    found = [resource.ref for resource in parsed.resources]
    if found != [ref]:
        fault = Problem(
            place=Place(entry.key),
            resource=ref,
            found=", ".join(found) or "no resource",
            expected="the one resource that its key names",
        )
        return Stored(ref, text, entry.revision, None, (*parsed.problems, fault))
    resource = msgspec.structs.replace(
        parsed.resources[0], place=Place(entry.key), revision=str(entry.revision)
    )
    return Stored(ref, text, entry.revision, resource, parsed.problems)


def assemble(layout: Layout, listing: Listing, read: Mapping[str, Stored]) -> ResourceSet:
    """The set that a listing of `layout.resources` shows; `read` holds its resources by ref.

    Raises `FleetError` for a version that is none: nobody can say what comes after it.
    """
    version, version_revision = Version(), 0
    stored: dict[str, Stored] = {}
    strays: list[Problem] = []
    for entry in listing.entries:
        ref = layout.ref(entry.key)
        if ref is not None:
            stored[ref] = read[ref]
        elif entry.key == layout.version:
            version, version_revision = _version(entry), entry.revision
        else:
            expected = f"{layout.resources}KIND/NAMESPACE/NAME"
            strays.append(
                Problem(place=Place(entry.key), found="a key of no resource", expected=expected)
            )
    return ResourceSet(version, version_revision, listing.revision, stored, tuple(strays))


def _version(entry: Entry) -> Version:
    try:
        return msgspec.json.decode(entry.value, type=Version)
    except msgspec.DecodeError as error:
        raise FleetError(
            f'{entry.key}: found {entry.value[:60]!r} ({error}), expected {{"version": NUMBER}}'
        ) from None
