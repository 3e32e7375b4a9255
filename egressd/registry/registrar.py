"""Registration of this machine's own services in a registry: the values and the interface.

Found by name in the entry-point group `egressd.registrars`; the entry point is a `RegistrarFactory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from egressd.api.secret import RedactedError, SecretUrl

ENTRY_POINT_GROUP = "egressd.registrars"


class RegistrationError(RedactedError):
    """A service cannot be registered or taken out. The message names it, the registry, the cause."""


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How the registry knows that the service lives. Exactly one of `http`, `tcp`, `ttl_s`.

    `http` (a URL) and `tcp` ("host:port") are asked every `interval_s`, by the registry where it can
    (Consul), else by egressd. `ttl_s`: egressd says that the service lives, at least three times within
    the time, for as long as it runs.
    """

    http: SecretUrl = SecretUrl()
    tcp: str = ""
    ttl_s: float = 0.0
    interval_s: float = 10.0
    timeout_s: float = 5.0
    deregister_after_s: float = 0.0  # critical for so long: the registry forgets it; 0 = never


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a service on this machine. `id` is unique among those of this machine."""

    name: str
    id: str
    port: int
    address: str = ""  # "" = the address that the registry knows of this machine
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = msgspec.field(default_factory=dict)
    weight: int = 1
    check: HealthCheck | None = None


class Registrar(Protocol):
    """One registry to be entered in. Every method ends within deadlines of its own."""

    async def keep(self, services: tuple[Registration, ...]) -> None:
        """Register all and keep them registered, over outages and restarts of the registry, until
        cancelled; leaves them registered then. Raises `RegistrationError` only for what no waiting
        mends (a refused token, a wrong field)."""

    async def register(self, services: tuple[Registration, ...]) -> None:
        """Register all once. Raises `RegistrationError`."""

    async def deregister(self, services: tuple[Registration, ...]) -> None:
        """Take all out; one that is not there is fine. Raises `RegistrationError`."""


class RegistrarFactory(Protocol):
    """Makes a registrar from the options of the adapter of the same name. Raises
    `egressd.registry.adapter.AdapterConfigError`."""

    def __call__(self, options: Mapping[str, object]) -> Registrar: ...
