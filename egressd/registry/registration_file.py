"""Reads the file of this machine's own services (`egressd register -f FILE`), as strict as resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from egressd.api import nodes
from egressd.api.decode import decode_message, is_null
from egressd.api.message import Duration, Message
from egressd.api.names import is_fqdn, is_ip
from egressd.api.report import Report, quoted
from egressd.api.resource import Problem
from egressd.api.rules.grammar import check_grammar
from egressd.api.secret import SecretUrl
from egressd.registry.registrar import HealthCheck, Registration

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,126}[A-Za-z0-9])?")
_NAME_EXPECTED = "letters, digits, '-', '_' and '.', at most 128 characters"
_PORT = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class RegistrationFileError(Exception):
    """The file cannot be used. `problems` holds everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class CheckConfig(Message, frozen=True):
    """How the registry knows that the service lives: one of `http`, `tcp`, `ttl`."""

    http: str = ""
    tcp: str = ""
    ttl: Duration = 0.0
    interval: Duration = 10.0
    timeout: Duration = 5.0
    deregister_after: Duration = 0.0


class ServiceConfig(Message, frozen=True):
    """One instance of a service on this machine; see `Registration`."""

    name: str
    port: _PORT
    id: str = ""  # "" = NAME-PORT
    address: str = ""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = msgspec.field(default_factory=dict)
    weight: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 1
    check: CheckConfig | None = None


class RegistrationFile(Message, frozen=True):
    """The whole file."""

    services: tuple[ServiceConfig, ...]


def parse_registrations(text: str, file: str) -> tuple[Registration, ...]:
    """The services that a YAML or JSON text lists. Raises `RegistrationFileError` with every problem."""
    report = Report(file)
    try:
        documents = [node for node in nodes.documents(text) if not is_null(node)]
    except nodes.TextError as error:
        report.undecodable("", error.line, error.found, error.expected, error.column)
        raise RegistrationFileError(tuple(report.problems)) from None
    if len(documents) != 1:
        line = documents[1].line if documents else 1
        report.undecodable("", line, f"{len(documents)} documents", "one, with a list `services`")
        raise RegistrationFileError(tuple(report.problems))
    config = decode_message(RegistrationFile, documents[0], "", report)
    services = tuple(_registration(service) for service in config.services)
    _check(services, report)
    check_grammar(config, "", report)
    if report.has_errors():
        raise RegistrationFileError(tuple(sorted(report.problems, key=lambda one: one.place.line)))
    return services


def _registration(config: ServiceConfig) -> Registration:
    check = config.check
    return Registration(
        name=config.name,
        id=config.id or f"{config.name}-{config.port}",
        port=config.port,
        address=config.address,
        tags=config.tags,
        meta=config.meta,
        weight=config.weight,
        check=None
        if check is None
        else HealthCheck(
            http=SecretUrl(check.http),
            tcp=check.tcp,
            ttl_s=check.ttl,
            interval_s=check.interval,
            timeout_s=check.timeout,
            deregister_after_s=check.deregister_after,
        ),
    )


def _check(services: tuple[Registration, ...], report: Report) -> None:
    if not services:
        report.error("services", "nothing", "at least one service")
    told = {problem.field for problem in report.problems}
    seen: dict[str, int] = {}
    for index, service in enumerate(services):
        path = f"services[{index}]"
        if not _NAME.fullmatch(service.name):
            if f"{path}.name" not in told:
                report.error(f"{path}.name", quoted(service.name), _NAME_EXPECTED)
            continue
        if not _NAME.fullmatch(service.id):
            report.error(f"{path}.id", quoted(service.id), _NAME_EXPECTED)
        if service.address and not (is_ip(service.address) or is_fqdn(service.address)):
            report.error(f"{path}.address", quoted(service.address), "an IP address or a host name")
        first = seen.setdefault(service.id, index)
        if first != index:
            expected = f"an id that services[{first}] does not have (default: NAME-PORT)"
            report.error(f"{path}.id", quoted(service.id), expected)
        if service.check is not None:
            _check_health(service.check, f"{path}.check", report)


def _check_health(check: HealthCheck, path: str, report: Report) -> None:
    stated = [name for name in ("http", "tcp", "ttl_s") if getattr(check, name)]
    if len(stated) != 1:
        found = " and ".join(name.removesuffix("_s") for name in stated) or "none of them"
        report.error(path, found, "one of http, tcp, ttl")
    if check.http and not _is_http_url(check.http.reveal()):
        report.error(f"{path}.http", quoted(str(check.http)), "a URL, http:// or https://")
    host, _, port = check.tcp.rpartition(":")
    if check.tcp and (not host or not (port.isascii() and port.isdigit() and len(port) < 6)):
        report.error(f"{path}.tcp", quoted(check.tcp), '"host:port"')
    for name in ("interval_s", "timeout_s"):
        if getattr(check, name) <= 0:
            report.error(f"{path}.{name.removesuffix('_s')}", "0s", "a duration above 0")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
