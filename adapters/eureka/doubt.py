"""Why what a Eureka server no longer lists may not be gone. Pure.

Registrations live in the servers' memory. A server that starts without a peer to copy from lists
nothing until the instances' next heartbeats (30 s by default) make them register again; one that was
cut off from its peers lists what it heard itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from adapters.eureka.wire import Instance

YOUNG_S = 300.0  # a registry whose every registration is newer began lately
KEPT_AFTER_ERROR = 0.5  # share of the instances that an answer after an error must still list
KEPT_BY_YOUNG = 0.9


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What a full listing follows on."""

    is_first: bool = False  # since the adapter started
    is_after_error: bool = False  # or from another server than the one before
    is_young: bool = False  # see `is_young`


def doubt_of(before: int, now: int, circumstances: Circumstances) -> str:
    """The reason to doubt a full listing of `now` instances after one of `before`; "" = none."""
    if not now and (before or circumstances.is_first):
        return "the server lists no instance"
    if circumstances.is_young and (circumstances.is_first or now < before * KEPT_BY_YOUNG):
        return f"the server has started lately and lists {now} instances so far"
    if circumstances.is_after_error and now < before * KEPT_AFTER_ERROR:
        return f"the first answer after an error lists {now} of {before} instances"
    return ""


def is_young(instances: Sequence[Instance]) -> bool:
    """Whether the server's registry began within the last minutes: no registration is older, by the
    server's own clock, which is the newest time in its listing."""
    leases = [instance.lease_info for instance in instances if instance.lease_info is not None]
    registered = min((x.registration_timestamp for x in leases), default=0)
    now = max((x.last_renewal_timestamp for x in leases), default=0)
    return registered > 0 and now - registered < YOUNG_S * 1000
