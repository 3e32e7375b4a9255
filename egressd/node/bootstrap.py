"""Reads the node's own configuration (`/etc/egressd/egressd.yaml`) as strictly as any resource.

`Bootstrap` and its parts are the values, `load_bootstrap` the one way to get them from a file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from egressd.api import nodes
from egressd.api.decode import decode_message, is_null
from egressd.api.report import Report
from egressd.api.resource import Place, Problem
from egressd.node.bootstrap_checks import check_bootstrap
from egressd.node.bootstrap_model import (
    AccessLogConfig,
    AccessLogFormat,
    AdapterConfig,
    AdminConfig,
    Bootstrap,
    DnsConfig,
    Limits,
    ListenerConfig,
    ListenerProtocol,
    LogConfig,
    LogFormat,
    LogLevel,
    NodeIdentity,
    OutboundMode,
    OutboundTrafficPolicy,
    OutlierConfig,
)

__all__ = [
    "DEFAULT_PATH",
    "AccessLogConfig",
    "AccessLogFormat",
    "AdapterConfig",
    "AdminConfig",
    "Bootstrap",
    "BootstrapError",
    "DnsConfig",
    "Limits",
    "ListenerConfig",
    "ListenerProtocol",
    "LogConfig",
    "LogFormat",
    "LogLevel",
    "NodeIdentity",
    "OutboundMode",
    "OutboundTrafficPolicy",
    "OutlierConfig",
    "load_bootstrap",
    "reload_bootstrap",
]

_FOR_NOW = {
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ESTALE,
    errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOBUFS,
}  # fmt: skip
"""Shortages and file servers that are away: no fault of the configuration."""

DEFAULT_PATH = Path("/etc/egressd/egressd.yaml")


class BootstrapError(Exception):
    """The bootstrap file cannot be used. `problems` holds everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


Check = Callable[[Bootstrap, Report], None]
"""Looks at what a configuration names, beyond the file itself (`egressd.node.source_checks`)."""


def load_bootstrap(path: Path | None, also: Check | None = None) -> Bootstrap:
    """The configuration in `path`; None is a node of defaults. What `also` reports is wrong, too.

    Raises BootstrapError, and OSError where the path is right and cannot be read for now.
    """
    if path is None:
        return Bootstrap()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno in _FOR_NOW:
            raise
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise BootstrapError(
            (Problem(place=Place(str(path)), found=str(reason), expected="a readable YAML file"),)
        ) from None
    return parse_bootstrap(text, str(path), also)


def reload_bootstrap(path: Path, also: Check | None = None) -> Bootstrap:
    """The configuration that a running node takes next. A file that is suddenly empty is being written,
    or its disk is full: it is not that of a node of defaults. Raises BootstrapError."""
    try:
        is_blank = not path.read_bytes().strip()
    except OSError:
        is_blank = False  # `load_bootstrap` says why
    if is_blank:
        expected = "a configuration; a node that runs takes no empty one"
        raise BootstrapError(
            (Problem(place=Place(str(path)), found="an empty file", expected=expected),)
        )
    return load_bootstrap(path, also)


def parse_bootstrap(text: str, file: str = "", also: Check | None = None) -> Bootstrap:
    """The configuration that a YAML text holds; an empty one is all defaults.

    Raises BootstrapError with every problem of the text.
    """
    report = Report(file)
    try:
        documents = [node for node in nodes.documents(text) if not is_null(node)]
    except nodes.TextError as error:
        report.undecodable("", error.line, error.found, error.expected, error.column)
        raise BootstrapError(tuple(report.problems)) from None
    if not documents:
        return Bootstrap()
    if len(documents) > 1:
        report.undecodable("", documents[1].line, "a second document", "one document")
    config = decode_message(Bootstrap, documents[0], "", report)
    check_bootstrap(config, report)
    if also is not None:
        also(config, report)
    if report.has_errors():
        raise BootstrapError(tuple(sorted(report.problems, key=lambda one: one.place.line)))
    return config
