"""A misspelt host: which one was meant."""

from __future__ import annotations

from egressd.api.nearest import nearest
from egressd.api.resource import Kind
from egressd.registry.claims import named_hosts
from egressd.registry.lookup import candidates
from egressd.registry.view import RegistryView

_NAMING = (Kind.SERVICE_ENTRY, Kind.VIRTUAL_SERVICE)


def meant(view: RegistryView, host: str) -> str:
    """`; did you mean b.example?` where nothing claims the host and one of another spelling is there."""
    plain = host.lower().removesuffix(".")
    if not plain or any(view.claims(kind, key) for key in candidates(plain) for kind in _NAMING):
        return ""
    hosts = {
        name for kind in _NAMING for one in view.records(kind) for name in named_hosts(one.resource)
    }
    near = nearest(plain, {name for name in hosts if "*" not in name})
    return f"; did you mean {near}?" if near else ""
