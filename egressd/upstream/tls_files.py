"""What is wrong with the files of a resource's TLS settings now, before a request needs them.

Source: Istio `ClientTLSSettings`, `ServerTLSSettings`. What does not load is loaded here as it is for a
connection, so that both say the same. A resource whose files are missing stays in force: they may come.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509

from egressd.api.destination_rule import ClientTLSMode, ClientTLSSettings
from egressd.api.gateway import ServerTLSMode, ServerTLSSettings
from egressd.api.message import Message, fields_of
from egressd.api.resource import Problem, Resource, Severity
from egressd.registry.profile import NodeProfile
from egressd.upstream.compile_tls import client_files
from egressd.upstream.credentials import Credential, CredentialError
from egressd.upstream.server_tls import server_context, server_tls_spec
from egressd.upstream.tls import ContextKey, TlsConfigError, client_context, stamp_of

EXPIRES_SOON_S = 7 * 86400.0
_CLOSED = frozenset({ServerTLSMode.PASSTHROUGH, ServerTLSMode.AUTO_PASSTHROUGH})


class TlsFiles(msgspec.Struct, frozen=True):
    """What the TLS settings of one resource depend on, and what is wrong with it."""

    problems: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()  # that were found, or are named


def look_at_tls_files(resource: Resource, profile: NodeProfile, now: float) -> TlsFiles:
    """Load everything that the TLS settings of a DestinationRule or Gateway name. `now` is in seconds
    since the epoch: for certificates that have expired, or do within a week. Reads files."""
    problems: list[Problem] = []
    files: list[str] = []
    for field, settings in _settings(resource.spec, "spec"):
        named: list[str] = []
        try:
            certificates = _load(settings, profile, named)
        except (CredentialError, TlsConfigError) as error:
            problems.append(_unusable(resource, _field(field, settings), str(error), settings))
        else:
            for path in certificates:
                if said := _expiry(path, now):
                    problems.append(_expired(resource, field, f"{path}, {said}"))
        files += named
    return TlsFiles(tuple(problems), tuple(dict.fromkeys(files)))


Settings = ClientTLSSettings | ServerTLSSettings


def _settings(message: Message, path: str) -> Iterator[tuple[str, Settings]]:
    """The TLS settings within a message that need files, with their field paths."""
    for info in fields_of(type(message)):
        value, where = getattr(message, info.name), f"{path}.{info.encode_name}"
        found = enumerate(value) if isinstance(value, tuple) else [(-1, value)]
        for index, one in found:
            at = where if index < 0 else f"{where}[{index}]"
            if isinstance(one, ClientTLSSettings):
                if one.mode is not ClientTLSMode.DISABLE:
                    yield at, one
            elif isinstance(one, ServerTLSSettings):
                if one.mode not in _CLOSED:
                    yield at, one
            elif isinstance(one, Message):
                yield from _settings(one, at)


def _load(settings: Settings, profile: NodeProfile, named: list[str]) -> list[str]:
    """Load what the settings name; the files go to `named`. Returns those of own certificates. Raises
    `CredentialError`, `TlsConfigError`."""
    if isinstance(settings, ServerTLSSettings):
        spec = server_tls_spec(settings, profile)
        named += [file for pair in spec.certificates for file in pair]
        named += [file for file in (spec.ca_file, spec.crl_file) if file]
        stamp_of(named)  # names the one file that is not there
        server_context(spec)
        return [chain for chain, _ in spec.certificates]
    files: Credential = client_files(settings, profile)
    named += [file for file in files if file]
    stamp_of(named)
    # Without a CA of its own it takes the system's roots: nothing that an operator wrote.
    client_context(
        ContextKey(files.ca, files.crl, files.certificate, files.key, (), bool(files.ca), False)
    )
    return [files.certificate] if files.certificate else []


def _expiry(path: str, now: float) -> str:
    """What is to be said of a certificate's end; "" = nothing."""
    try:
        leaf = x509.load_pem_x509_certificate(Path(path).read_bytes())
    except (OSError, ValueError):
        return ""
    begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    day = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if now >= end:
        return f"a certificate that expired {day}"
    if now < begin:
        return "a certificate that is not valid yet"
    return f"a certificate that expires {day}" if now + EXPIRES_SOON_S >= end else ""


def _field(path: str, settings: Settings) -> str:
    return f"{path}.credentialName" if settings.credential_name else path


def _unusable(resource: Resource, field: str, found: str, settings: Settings) -> Problem:
    is_server = isinstance(settings, ServerTLSSettings)
    then = "connections to the port are closed" if is_server else "requests are answered with 503"
    return _problem(resource, field, found, f"files that load; until then {then}")


def _expired(resource: Resource, field: str, found: str) -> Problem:
    return _problem(
        resource, field, found, "a certificate that is valid; it is read when it changes"
    )


def _problem(resource: Resource, field: str, found: str, expected: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        place=resource.place,
        resource=resource.ref,
        field=field,
        found=found,
        expected=expected,
    )
