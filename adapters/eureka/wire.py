"""What a Eureka server answers in JSON, as far as egressd needs it. Pure.

Source: Netflix Eureka 1.x, `EurekaJacksonCodec`. Numbers and booleans may come as strings, a list of
one as the one, `overriddenStatus` in two spellings: servers of all ages and makes do one or the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

STATUSES = ("UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN")
DELETED = "DELETED"
Key = tuple[str, str]  # application and instance


class Port(msgspec.Struct, frozen=True):
    """`{"$": 8080, "@enabled": "true"}`."""

    number: int = msgspec.field(name="$", default=0)
    is_enabled: bool = msgspec.field(name="@enabled", default=False)

    @property
    def usable(self) -> int:
        """The number; 0 for a port that is disabled or none."""
        return self.number if self.is_enabled and 0 < self.number <= 65535 else 0


class DataCenter(msgspec.Struct, frozen=True):
    """`dataCenterInfo`; metadata only on Amazon."""

    name: str = ""
    metadata: dict[str, object] | None = None


class Lease(msgspec.Struct, frozen=True, rename="camel"):
    """`leaseInfo`, as the server keeps it. Milliseconds of its clock."""

    registration_timestamp: int = 0
    last_renewal_timestamp: int = 0


class Instance(msgspec.Struct, frozen=True, rename="camel"):
    """`InstanceInfo`."""

    app: str = ""
    instance_id: str = ""
    host_name: str | None = None
    ip_addr: str | None = None
    status: str = "UNKNOWN"
    overridden_status: str = "UNKNOWN"
    overriddenstatus: str = "UNKNOWN"
    port: Port = Port()
    secure_port: Port = Port()
    vip_address: str | None = None
    secure_vip_address: str | None = None
    metadata: dict[str, object] | None = None
    data_center_info: DataCenter = DataCenter()
    lease_info: Lease | None = None
    action_type: str | None = None

    @property
    def key(self) -> Key:
        """Identity within a registry (`InstanceInfo.getId`)."""
        named = self.instance_id or texts(self.data_center_info.metadata).get("instance-id")
        return self.app.upper(), named or self.host_name or ""

    @property
    def effective_status(self) -> str:
        """The status with the operator's override. A server applies it with the next heartbeat only;
        DOWN and STARTING are the instance's own word and stand (`DownOrStartingRule`)."""
        overrides = {self.overridden_status, self.overriddenstatus} - {"UNKNOWN"}
        if overrides and self.status in ("UP", "OUT_OF_SERVICE"):
            return min(overrides)
        return self.status


class Listing(msgspec.Struct, frozen=True):
    """The answer of `/apps` or `/apps/delta`; applications still as they came. A full listing's
    version is always 1, a delta's grows for as long as the server runs."""

    version: int
    hashcode: str
    applications: tuple[msgspec.Raw, ...]


class Application(msgspec.Struct, frozen=True):
    """One application. `unreadable` says what was wrong with instances that are left out."""

    name: str
    instances: tuple[Instance, ...]
    unreadable: tuple[str, ...] = ()


class _Applications(msgspec.Struct):
    version: int = msgspec.field(name="versions__delta", default=0)
    hashcode: str = msgspec.field(name="apps__hashcode", default="")
    application: msgspec.Raw = msgspec.Raw(b"[]")


class _Envelope(msgspec.Struct):
    applications: _Applications


class _Application(msgspec.Struct):
    name: str
    instance: msgspec.Raw = msgspec.Raw(b"[]")


_ENVELOPE = msgspec.json.Decoder(_Envelope, strict=False)
_APPLICATION = msgspec.json.Decoder(_Application)
_LIST = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_INSTANCE = msgspec.json.Decoder(Instance, strict=False)


def read_listing(body: bytes) -> Listing:
    """Raises `msgspec.DecodeError`."""
    found = _ENVELOPE.decode(body).applications
    return Listing(found.version, found.hashcode, _items(found.application))


def read_application(raw: msgspec.Raw) -> Application:
    """What cannot be read is left out and told."""
    try:
        found = _APPLICATION.decode(raw)
    except msgspec.DecodeError as error:
        return Application("?", (), (str(error),))
    instances, unreadable = [], []
    for item in _items(found.instance):
        try:
            instance = _INSTANCE.decode(item)
        except msgspec.DecodeError as error:
            unreadable.append(str(error))
        else:
            named = instance.app or found.name
            instances.append(msgspec.structs.replace(instance, app=named))
    return Application(found.name, tuple(instances), tuple(unreadable))


def hashcode_of(instances: Iterable[Instance]) -> str:
    """`apps__hashcode` of a registry: how many instances are in which status."""
    counts = Counter(i.status if i.status in STATUSES else "UNKNOWN" for i in instances)
    return "".join(f"{status}_{count}_" for status, count in sorted(counts.items()))


def texts(metadata: dict[str, object] | None) -> dict[str, str]:
    """The metadata that is text; "@class" is Java's, not the user's."""
    plain = (metadata or {}).items()
    return {k: str(v) for k, v in plain if isinstance(v, str | int | float) and k != "@class"}


def _items(raw: msgspec.Raw) -> tuple[msgspec.Raw, ...]:
    text = bytes(raw).lstrip()
    if text[:1] == b"[":
        return _LIST.decode(raw)
    return () if text == b"null" else (raw,)
