"""Options of adapters: read strictly, each mistake told by option, what was found, what is expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar, get_args

import msgspec

from adapters.http import Tls
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.option_faults import decode_secret, option_faults

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
        faults = tuple(option_faults(shape, options, expected, place))
        said = "; ".join(map(str, faults)) or f"{place}: {error}"
        raise AdapterConfigError(f"adapter {name}: {said}", faults) from None


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
