"""The questions that are asked of an API server, typed: lists by pages, and watches by lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from adapters.http import Answer, HttpClient, HttpError, OpenAnswer
from adapters.kubernetes.kubeconfig import Access, AccessError
from adapters.kubernetes.wire import (
    Change,
    Custom,
    EndpointSlice,
    Page,
    Service,
    Status,
    Versioned,
    WatchEvent,
)
from egressd.api.secret import RedactedError, Secret

GONE = 410
Item = TypeVar("Item", Service, EndpointSlice, Custom)


class ReadError(RedactedError):
    """The API server could not be read. The message names the address and what happened."""


class Expired(ReadError):
    """The version or page that was asked for is too old to go on from (410 Gone)."""


class Collection(msgspec.Struct, Generic[Item], frozen=True):
    """One kind of object in one namespace ("" = in all)."""

    shape: type[Item]
    name: str  # "services"
    groups: tuple[str, ...]  # paths of its API group, the newest version first
    namespace: str = ""
    selector: str = ""  # of labels

    def path(self, group: str) -> str:
        place = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{group}{place}/{self.name}"


class Event(msgspec.Struct, Generic[Item], frozen=True):
    """One thing that a watch tells. A bookmark has a version only."""

    change: Change
    version: str
    item: Item | None


class ApiClient:
    """Reads one API server. Every method raises `ReadError`."""

    def __init__(
        self, load: Callable[[], Access], page_size: int, watch_s: float, timeout_s: float
    ) -> None:
        """`load` gives the access, and is called again when its files have changed."""
        self._load = load
        self._page_size = page_size
        self._watch_s = watch_s
        self._timeout_s = timeout_s
        self._access = load()
        self._http = HttpClient(self._access.endpoint, self._access.tls)
        self._groups: dict[str, int] = {}  # which of its groups the server has, by collection name

    @property
    def url(self) -> str:
        """Of the API server."""
        return self._place(self._access.prefix)

    async def page(self, collection: Collection[Item], after: str, size: int = 0) -> Page[Item]:
        """The page of a list that `after` names ("" = the first). Objects are as of now at the
        least: no cache of the server's answers. Raises `Expired` for a page that is too old."""
        asked = {"limit": str(size or self._page_size)} | ({"continue": after} if after else {})
        while True:
            group = self._groups.get(collection.name, 0)
            path, query = self._target(collection, asked)
            headers = {**self._headers(), "Accept-Encoding": "gzip"}
            try:
                answer = await self._http.request(
                    "GET", f"{path}?{query}", headers, timeout_s=self._timeout_s
                )
            except HttpError as error:
                raise ReadError(str(error)) from error
            if answer.status == 404 and group + 1 < len(collection.groups):
                self._groups[collection.name] = group + 1
                continue
            if answer.status != 200:
                self._groups.pop(collection.name, None)
                raise self._refusal(path, answer.status, answer.beginning)
            return self._decoded(path, answer, collection.shape)

    @asynccontextmanager
    async def watch(self, collection: Collection[Item], version: str) -> AsyncIterator[Watch[Item]]:
        """What happens after a version. Raises `Expired` when the server no longer knows that."""
        asked = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(self._watch_s))),
        }
        path, query = self._target(collection, asked)
        try:
            async with self._http.open(
                "GET",
                f"{path}?{query}",
                self._headers(),
                timeout_s=self._timeout_s,
                idle_s=self._watch_s + self._timeout_s,
            ) as answer:
                if answer.status != 200:
                    raise self._refusal(path, answer.status, await answer.text())
                yield Watch(answer, self._place(path), collection.shape)
        except HttpError as error:
            raise ReadError(str(error)) from error

    def close(self) -> None:
        """Close idle connections, and what the access holds open."""
        self._http.close()
        self._access.close()

    def _target(self, collection: Collection[Item], asked: Mapping[str, str]) -> tuple[str, str]:
        self._renew()
        group = collection.groups[self._groups.get(collection.name, 0)]
        selected = {"labelSelector": collection.selector} if collection.selector else {}
        return self._access.prefix + collection.path(group), urlencode({**asked, **selected})

    def _renew(self) -> None:
        """Follow a kubeconfig that was written anew."""
        try:
            if self._access.files.changed():
                access = self._load()
                self.close()
                self._access = access
                self._http = HttpClient(self._access.endpoint, self._access.tls)
        except (OSError, AccessError) as error:
            raise ReadError(f"kubeconfig: {error}") from error

    def _headers(self) -> dict[str, str | Secret]:
        try:
            token = self._access.token.read()
        except HttpError as error:
            raise ReadError(str(error)) from error
        headers: dict[str, str | Secret] = {"Accept": "application/json", "User-Agent": "egressd"}
        if token:
            headers["Authorization"] = Secret(f"Bearer {token.reveal()}")
        return headers

    def _place(self, path: str) -> str:
        return self._access.endpoint.url + path

    def _refusal(self, path: str, code: int, body: str) -> ReadError:
        try:
            said = msgspec.json.decode(body, type=Status).message
        except msgspec.MsgspecError:
            said = body[:300].strip()
        kind = Expired if code == GONE else ReadError
        return kind(f"{self._place(path)}: {code} {said}".strip()[:500])

    def _decoded(self, path: str, answer: Answer, shape: type[Item]) -> Page[Item]:
        try:
            page = msgspec.json.decode(answer.body, type=Page[shape])  # type: ignore[valid-type]
        except msgspec.MsgspecError as error:
            raise ReadError(f"{self._place(path)}: no list: {error}; {answer.text[:80]}") from error
        if not page.metadata.resource_version:
            raise ReadError(f"{self._place(path)}: a list without a resourceVersion")
        return page


class Watch(Generic[Item]):
    """One open watch."""

    def __init__(self, answer: OpenAnswer, place: str, shape: type[Item]) -> None:
        self._answer = answer
        self._place = place
        self._shape: type[Item] = shape

    async def event(self) -> Event[Item] | None:
        """The next event; None when the server ended the watch. Raises `ReadError`."""
        try:
            line = await self._answer.line()
        except HttpError as error:
            raise ReadError(str(error)) from error
        if line is None:
            return None
        try:
            event = msgspec.json.decode(line, type=WatchEvent)
            if event.type == "ERROR":
                status = msgspec.json.decode(event.object, type=Status)
                kind = Expired if status.code == GONE else ReadError
                raise kind(f"{self._place}: {status.code} {status.message}")
            if event.type == "BOOKMARK":
                meta = msgspec.json.decode(event.object, type=Versioned).metadata
                return Event("BOOKMARK", meta.resource_version, None)
            item = msgspec.json.decode(event.object, type=self._shape)
        except msgspec.MsgspecError as error:
            raise ReadError(f"{self._place}: no watch event: {error}; {line[:80]!r}") from error
        return Event(event.type, item.metadata.resource_version, item)
