"""The bootstrap as people may see it: options of adapters by their types, URLs without secrets."""

from __future__ import annotations

import msgspec

from egressd.api.secret import redact_within
from egressd.node.bootstrap_model import AdapterConfig, Bootstrap
from egressd.node.options import AdapterOptions
from egressd.node.sources import find_factory
from egressd.registry.adapter_options import declared_options, shown_options


def shown_bootstrap(bootstrap: Bootstrap) -> object:
    """JSON-like data. What an adapter does not declare the type of is not shown."""
    plain = redact_within(msgspec.to_builtins(bootstrap, enc_hook=_empty))
    assert isinstance(plain, dict)
    if bootstrap.adapters:
        for one, config in zip(plain["adapters"], bootstrap.adapters, strict=True):
            one["options"] = shown_options(declared_shape(config), config.options)
    return plain


def _empty(value: object) -> object:
    """In the place of options, until they are shown by their types."""
    if isinstance(value, AdapterOptions):
        return {}
    raise TypeError(f"{type(value).__name__} is not shown")


def declared_shape(config: AdapterConfig) -> type[msgspec.Struct] | None:
    """The type of an adapter's options; None: it says none, or is not installed."""
    try:
        return declared_options(find_factory(config.type), config.options)
    except Exception:  # not installed, or its import fails: the source's error says so
        return None
