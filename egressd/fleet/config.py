"""Which store holds the fleet's resources: options of the `fleet` adapter, which commands read, too."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points

import msgspec

from egressd.api.duration import EXPECTED, parse_duration
from egressd.api.nearest import expected_name
from egressd.api.secret import Secret, redact_value, shown
from egressd.fleet.layout import DEFAULT_PREFIX, Layout, read_prefix
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.adapter_options import declared_options
from egressd.registry.keyvalue import ENTRY_POINT_GROUP, KeyValue, KeyValueFactory
from egressd.registry.option_faults import faults_of

_KNOWN = ("store", "prefix", "options", "statusInterval")
_INTERVAL = (1.0, 600.0)


class FleetConfig(msgspec.Struct, frozen=True):
    """Where the fleet's resources are. `store` names an entry point of `egressd.keyvalue`, which checks
    `options`."""

    store: str
    layout: Layout = Layout()
    options: Mapping[str, object] = msgspec.field(default_factory=dict)
    status_interval_s: float = 15.0

    def open(self) -> KeyValue:
        """A client of the store; asks nothing yet. Raises `AdapterConfigError`."""
        factory = _find_factory(self.store)
        if factory is not None:
            try:
                return factory(self.options)
            except AdapterConfigError as error:
                raise _within_options(error) from None
        points = entry_points(group=ENTRY_POINT_GROUP)
        known = expected_name(self.store, sorted(point.name for point in points))
        raise AdapterConfigError(
            f"options.store: found {shown(self.store)}, expected an installed store: {known}"
        )


class _FleetOptions(msgspec.Struct, rename="camel"):
    """The adapter's options as they are shown; those of the store by the store's own type."""

    store: str = ""
    prefix: str = ""
    status_interval: str = ""
    options: Mapping[str, Secret] = {}


def declared_fleet_options(options: Mapping[str, object]) -> type[msgspec.Struct]:
    """The type of the adapter's options, with those of the store that they name."""
    factory = _find_factory(options.get("store"))
    inner = options.get("options")
    stores = declared_options(factory, inner if isinstance(inner, Mapping) else {})
    if stores is None:
        return _FleetOptions
    fields = [("options", stores)]
    return msgspec.defstruct("StoreOptions", fields, bases=(_FleetOptions,), kw_only=True)


def _find_factory(store: object) -> KeyValueFactory | None:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == store:
            factory: KeyValueFactory = point.load()
            return factory
    return None


def read_config(options: Mapping[str, object]) -> FleetConfig:
    """The adapter's options. Raises `AdapterConfigError`."""
    unknown = sorted(options.keys() - set(_KNOWN))
    if unknown:
        raise AdapterConfigError(
            f"options.{redact_value(unknown[0])}: found an unknown option, "
            f"expected {expected_name(unknown[0], _KNOWN)}"
        )
    store = options.get("store")
    if not isinstance(store, str) or not store:
        raise AdapterConfigError(f"options.store: found {_scalar(store)}, expected etcd or consul")
    inner = options.get("options") or {}
    if not isinstance(inner, Mapping):
        raise AdapterConfigError(f"options.options: found {_scalar(inner)}, expected a mapping")
    return FleetConfig(
        store,
        Layout(_prefix(options.get("prefix", DEFAULT_PREFIX))),
        {str(name): value for name, value in inner.items()},
        _interval_s(options.get("statusInterval", "15s")),
    )


def _within_options(error: AdapterConfigError) -> AdapterConfigError:
    """The same of the store's options, which stand in an option of that name."""
    faults = tuple(
        msgspec.structs.replace(fault, option=f"options.{fault.option}")
        for fault in error.faults or faults_of(str(error))
    )
    return AdapterConfigError("; ".join(map(str, faults)), faults)


def _scalar(value: object) -> str:
    """A value as a message shows it; what is in a list or mapping is not."""
    return f"a {type(value).__name__}" if isinstance(value, list | Mapping) else shown(value)


def _prefix(value: object) -> str:
    try:
        return read_prefix(value if isinstance(value, str) else "")
    except ValueError:
        raise AdapterConfigError(
            f"options.prefix: found {_scalar(value)}, expected a path such as {DEFAULT_PREFIX}"
        ) from None


def _interval_s(value: object) -> float:
    low, high = _INTERVAL
    try:
        seconds = parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        seconds = 0.0
    if not low <= seconds <= high:
        raise AdapterConfigError(
            f"options.statusInterval: found {_scalar(value)}, expected {EXPECTED}, "
            f"from {low:g} s to {high:g} s"
        )
    return seconds
