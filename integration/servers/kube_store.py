"""What the double of the Kubernetes API server remembers: objects, versions, changes. etcd's part."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


class Expired(Exception):
    """A version or a page that is no longer known."""


@dataclass(frozen=True)
class Change:
    """One write."""

    version: int
    resource: str
    item: Object  # as it is now; of a deletion the last state, with the deletion's version
    before: Object | None
    is_deletion: bool

    def is_in(self, namespace: str) -> bool:
        return not namespace or self.item["metadata"]["namespace"] == namespace

    def seen_by(self, selector: str) -> tuple[bool, bool]:
        """Whether a watch with that selector saw the object before, and sees it now."""
        was = self.before is not None and matches(self.before, selector)
        return was, not self.is_deletion and matches(self.item, selector)


@dataclass(frozen=True)
class Page:
    version: int
    items: list[Object]
    after: str
    remaining: int


class Store:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        self._changes: list[Change] = []
        self._pages: dict[str, tuple[int, list[Object]]] = {}
        self._version = 1
        self._oldest = 0
        self.is_interrupted = False

    @property
    def version(self) -> int:
        return self._version

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get(resource, {}).get((namespace, name))

    def put(self, resource: str, item: Object) -> Object:
        """Store an object under the next version."""
        meta = item["metadata"]
        key = (meta["namespace"], meta["name"])
        with self._lock:
            before = self._objects.get(resource, {}).get(key)
            stored = self._next(resource, item, before, is_deletion=False)
            self._objects.setdefault(resource, {})[key] = stored
            return stored

    def delete(self, resource: str, namespace: str, name: str) -> bool:
        with self._lock:
            before = self._objects.get(resource, {}).pop((namespace, name), None)
            if before is not None:
                self._next(resource, before, before, is_deletion=True)
            return before is not None

    def page(self, resource: str, namespace: str, selector: str, limit: int, after: str) -> Page:
        """A page of a list; the pages of one list are of one version."""
        with self._lock:
            if after:
                if after not in self._pages:
                    raise Expired
                version, items = self._pages[after]
            else:
                version = self._version
                listed = sorted(self._objects.get(resource, {}).items())
                items = [
                    item
                    for (place, _), item in listed
                    if namespace in ("", place) and matches(item, selector)
                ]
            if not limit or len(items) <= limit:
                return Page(version, items, "", 0)
            rest = items[limit:]
            start = "/".join(items[limit]["metadata"][k] for k in ("namespace", "name"))
            body = {"v": "meta.k8s.io/v1", "rv": version, "start": f"{start}\0"}
            token = base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
            self._pages[token] = (version, rest)
            return Page(version, items[:limit], token, len(rest))

    def since(self, version: int, wait_s: float) -> tuple[int, list[Change]]:
        """The changes after a version, and the version that they lead to. Waits for some."""
        with self._lock:
            if version < self._oldest:
                raise Expired(self._oldest)
            self._lock.wait_for(lambda: self._version > version or self.is_interrupted, wait_s)
            return self._version, [c for c in self._changes if c.version > version]

    def compact(self) -> None:
        """Forget the past and the present: every watch and page that is known is gone (410)."""
        with self._lock:
            self._version += 1
        self.compact_to_now()

    def compact_to_now(self) -> None:
        """Forget the past; the present version is known still."""
        with self._lock:
            self._oldest = self._version
            self._changes.clear()
            self._pages.clear()

    def interrupt(self) -> None:
        """End every watch."""
        with self._lock:
            self.is_interrupted = True
            self._lock.notify_all()

    def _next(
        self, resource: str, item: Object, before: Object | None, *, is_deletion: bool
    ) -> Object:
        self._version += 1
        meta = {**item["metadata"], "resourceVersion": str(self._version)}
        stored = {**item, "metadata": meta}
        self._changes.append(Change(self._version, resource, stored, before, is_deletion))
        self._lock.notify_all()
        return stored


def matches(item: Mapping[str, Any], selector: str) -> bool:
    """Kubernetes label selectors: `k`, `!k`, `k=v`, `k!=v`, with commas between them."""
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        key, equals, value = term.partition("=")
        if not equals:
            fits = (key.removeprefix("!") in labels) != key.startswith("!")
        elif key.endswith("!"):
            fits = labels.get(key[:-1]) != value
        else:
            fits = labels.get(key) == value.removeprefix("=")
        if not fits:
            return False
    return True


def merged(before: Any, change: Any) -> Any:
    """JSON merge patch (RFC 7396)."""
    if not isinstance(change, dict):
        return change
    base = before if isinstance(before, dict) else {}
    kept = {key: value for key, value in base.items() if key not in change}
    new = {key: merged(base.get(key), value) for key, value in change.items() if value is not None}
    return {**kept, **new}
