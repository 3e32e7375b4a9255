"""Options of adapters: read strictly, each mistake told by option, what was found, what is expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from adapters.http import Tls
from egressd.api.secret import Secret, redact_value, shown
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.adapter_options import hint_at, is_declared_secret, shown_option

_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = r"^\d{1,9}(\.\d{1,9})?(ms|s|m|h)$"
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DURATION_EXPECTED = "a duration such as 30s, 500ms or 1.5m"
DOMAIN_EXPECTED = "a DNS name in lower case"
LABEL_EXPECTED = "a DNS label in lower case"
Protocol = Literal[
    "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS"
]  # Istio ServicePort.protocol
PROTOCOLS = frozenset(get_args(Protocol))
PROTOCOL_EXPECTED = f"one of {', '.join(get_args(Protocol))}"
DurationText = Annotated[str, msgspec.Meta(pattern=_DURATION)]
DomainText = Annotated[str, msgspec.Meta(pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
LabelText = Annotated[str, msgspec.Meta(pattern=rf"^{_LABEL}$")]
Shape = TypeVar("Shape", bound=msgspec.Struct)


def convert_options(
    name: str,
    options: Mapping[str, object],
    shape: type[Shape],
    expected: Mapping[str, str],
    place: str = "options",
) -> Shape:
    """The options of the adapter `name` as a value of `shape`, a struct that forbids unknown fields.

    `expected` says by option what it may be, where the type's own words are too plain; `place` is where
    the options stand. Values are shown as far as their types let them. Raises `AdapterConfigError`.
    """
    try:
        return msgspec.convert(dict(options), shape, dec_hook=decode_secret)
    except msgspec.ValidationError as error:
        what = f"adapter {name}: {place}"
        raise _refused(what, options, shape, expected, str(error)) from None


def decode_secret(kind: type, value: object) -> object:
    """What msgspec makes of a `Secret` or `SecretUrl` (its `dec_hook`)."""
    if not (isinstance(kind, type) and issubclass(kind, Secret)):
        return value
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


def check_tls(name: str, tls: Tls) -> None:
    """Raises `AdapterConfigError` for a certificate without its key, or the other way round."""
    if bool(tls.cert_file) != bool(tls.key_file):
        lonely = "keyFile" if tls.cert_file else "certFile"
        raise AdapterConfigError(
            f"adapter {name}: options.tls.{lonely}: found nothing, "
            "expected certFile and keyFile together"
        )


def seconds(text: str) -> float:
    """The seconds of a duration that `DurationText` admits: "500ms", "30s", "1.5m"."""
    match = re.fullmatch(r"([\d.]+)(ms|s|m|h)", text)
    assert match is not None
    return float(match[1]) * _UNIT_S[match[2]]


def _refused(
    what: str,
    options: Mapping[str, object],
    shape: type[msgspec.Struct],
    expected: Mapping[str, str],
    message: str,
) -> AdapterConfigError:
    """The library's message as option, found, expected. It ends in " - at `$.option`"; the elements
    of a list are `option[0]` or `option[...]` there."""
    said, _, place = message.partition(" - at `$.")
    path = re.sub(r"\[[^]]*\]", "", place.rstrip("`"))
    unknown = re.search(r"unknown field `(.*)`", said)
    if unknown:
        option = ".".join(part for part in (path, redact_value(unknown[1])) if part)
        known = Tls if path == "tls" else shape
        names = ", ".join(known.__struct_encode_fields__)
        return AdapterConfigError(
            f"{what}.{option}: found an unknown option, expected one of {names}"
        )
    missing = re.search(r"missing required field `(.*)`", said)
    if missing:
        option = ".".join(part for part in (path, missing[1]) if part)
        wanted = expected.get(option, "a value")
        return AdapterConfigError(f"{what}.{option}: found nothing, expected {wanted}")
    value: object = options
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else value
    hint = hint_at(shape, path)
    if is_declared_secret(hint) or isinstance(value, Mapping):
        found = f"{type(value).__name__}, not shown"
    elif hint is None:
        found = shown(value)
    else:
        found = repr(shown_option(value, hint))
    wanted = said.removeprefix("Expected ") if said.startswith("Expected ") else "another value"
    wanted = expected.get(path) or wanted
    return AdapterConfigError(f"{what}.{path}: found {found}, expected {wanted}")
