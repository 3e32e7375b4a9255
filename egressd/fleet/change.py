"""What a command changes, worked out against the set as it is. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from egressd.api.parse import parse_text
from egressd.api.render import to_yaml
from egressd.api.resource import Problem, Resource
from egressd.fleet.errors import ChangedMeanwhile, FleetError, Refused
from egressd.fleet.resource_set import ResourceSet


class Action(enum.StrEnum):
    """What becomes of a resource, in kubectl's words."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


class Change(msgspec.Struct, frozen=True):
    """One resource before and after, as texts of the store; "" = it is not there."""

    ref: str
    before: str
    after: str
    resource: Resource | None  # what `after` says

    @property
    def action(self) -> Action:
        if self.before == self.after:
            return Action.UNCHANGED
        if not self.before:
            return Action.CREATED
        return Action.CONFIGURED if self.after else Action.DELETED


def plan_apply(
    base: ResourceSet, resources: Sequence[Resource], now: datetime, *, prune: bool = False
) -> tuple[Change, ...]:
    """Make the fleet's resources say what `resources` say; `prune` deletes all others.

    Who states a revision (`metadata.resourceVersion`) overwrites that one only. Raises
    `ChangedMeanwhile`, and `Refused` when a resource stands twice in the input.
    """
    changes: dict[str, Change] = {}
    for resource in resources:
        ref = resource.ref
        if ref in changes:
            twice = Problem(
                place=resource.place,
                resource=ref,
                field="metadata.name",
                found=f"a second {ref}",
                expected="each kind, namespace and name once",
            )
            raise Refused((twice,))
        changes[ref] = change = _applied(base, resource, now)
        if resource.revision and change.action is not Action.UNCHANGED:
            _check_stated(resource, base)
    if prune:
        for change in plan_delete(base, [ref for ref in base.stored if ref not in changes]):
            changes[change.ref] = change
    return tuple(changes.values())


def plan_delete(base: ResourceSet, refs: Iterable[str]) -> tuple[Change, ...]:
    """Take resources out; those that are not there are left out of the plan."""
    return tuple(Change(ref, base.text(ref), "", None) for ref in refs if ref in base.stored)


def plan_restore(base: ResourceSet, target: Mapping[str, str]) -> tuple[Change, ...]:
    """Give resources back the texts that they had; "" = it was not there. Raises `Refused` for a
    text that this egressd does not read."""
    changes: list[Change] = []
    for ref, text in target.items():
        parsed = parse_text(text, ref)
        if parsed.errors:
            raise Refused(parsed.errors)
        resource = parsed.resources[0] if parsed.resources else None
        changes.append(Change(ref, base.text(ref), text, resource))
    return tuple(changes)


def check_untouched(read: ResourceSet, now: ResourceSet, changes: Iterable[Change]) -> None:
    """That nobody wrote what is about to be written since `read`. Raises `ChangedMeanwhile`."""
    for change in changes:
        had = read.revision_of(change.ref)
        if change.action is not Action.UNCHANGED and now.revision_of(change.ref) != had:
            raise ChangedMeanwhile(_meanwhile(change.ref, had, now.revision_of(change.ref)))


def canonical(resource: Resource) -> str:
    """The text of a resource in the store: without a revision, which is the store's to know."""
    return to_yaml(msgspec.structs.replace(resource, revision=""))


def _applied(base: ResourceSet, resource: Resource, now: datetime) -> Change:
    """The creation time is the store's, as with an API server: conflicts go by it on every node."""
    stored = base.stored.get(resource.ref)
    created = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    if stored is not None and stored.resource is not None:
        created = stored.resource.metadata.creation_timestamp
    metadata = msgspec.structs.replace(resource.metadata, creation_timestamp=created)
    after = msgspec.structs.replace(resource, metadata=metadata, revision="")
    text = canonical(after)
    if stored is not None and stored.resource is not None and _same(stored.resource, after):
        text = stored.text  # perhaps written by hand, in another style
    return Change(resource.ref, base.text(resource.ref), text, after)


def _same(one: Resource, other: Resource) -> bool:
    return (one.spec, one.metadata, one.api_version) == (
        other.spec,
        other.metadata,
        other.api_version,
    )


def _check_stated(resource: Resource, base: ResourceSet) -> None:
    stated, now = resource.revision, base.revision_of(resource.ref)
    if stated == str(now):
        return
    if not stated.isdigit():
        raise FleetError(
            f"{resource.place.file}: {resource.ref}: metadata.resourceVersion: found {stated!r}, "
            "expected the number that `egressd get -o yaml` printed, or none"
        )
    raise ChangedMeanwhile(_meanwhile(resource.ref, int(stated), now))


def _meanwhile(ref: str, had: int, now: int) -> str:
    if not now:
        what = f"{ref} is not there (any more); you had revision {had}"
    else:
        yours = f"you had {had}" if had else "it was not there"
        what = f"somebody changed {ref} since you read it (revision {now}, {yours})"
    return f"{what}: look with `egressd diff`, then read and apply again"
