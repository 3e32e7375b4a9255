"""The node's own log: structlog to standard error, for people or as JSON lines.

Logging never raises and never waits, whatever standard error is: lines go through a `LineWriter`, a
line that cannot be rendered is rendered plainly, and everything else that Python code says (the
`logging` module, warnings, `print`, uncaught exceptions of any thread) takes the same way.
"""

from __future__ import annotations

import atexit
import fcntl
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from egressd.api.secret import redact
from egressd.node.bootstrap_model import LogConfig, LogFormat
from egressd.telemetry.line_writer import LineWriter

FLUSH_S = 0.5
"""How long the last lines of a process may take."""

_NUMBERS = (100, 3)  # out of the way of whoever expects low numbers, unless the limit is as low
_REPEAT_S = 60.0
_MOST_KINDS = 1000
_MOST_UNENDED = 8192

log = structlog.get_logger("egressd.python")


class _Render:
    """A structlog processor that makes the line, whatever the event holds."""

    def __init__(self, processors: list[Processor]) -> None:
        self._processors = processors

    def __call__(self, logger: object, method: str, event: EventDict) -> str:
        try:
            made: object = dict(event)
            for processor in self._processors:
                made = processor(logger, method, made)  # type: ignore[arg-type]
            return str(made)
        except Exception as error:
            return json.dumps(
                {
                    "event": ascii(redact(str(event.get("event", "")))),
                    "level": method,
                    "unprintable": type(error).__name__,
                }
            )


class _Lines:
    """What structlog writes to: a method a level, all alike."""

    def __init__(self, *_: object) -> None:
        pass

    def msg(self, message: str) -> None:
        _writer.write(message.encode("utf-8", "backslashreplace") + b"\n")

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = msg


def _note(dropped: int) -> bytes:
    event: EventDict = {"event": "log lines dropped", "lines": dropped}
    return _render(None, "warning", event).encode("utf-8", "backslashreplace") + b"\n"


def _open_standard_error() -> int:
    """A copy that stays whatever becomes of descriptor 2; 2 itself where there is none to be had."""
    secure_standard_descriptors()
    for lowest in _NUMBERS:
        with suppress(OSError):
            return fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, lowest)
    return 2


def secure_standard_descriptors() -> None:
    """Open /dev/null for those of 0, 1 and 2 that are closed: the next socket would take the place
    and get what is meant for a log. Raises OSError."""
    for fd in range(3):
        try:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(null, True)


def processors_of(config: LogConfig, is_terminal: bool) -> list[Processor]:
    """What makes a line of an event."""
    as_console = config.format is LogFormat.console or (
        config.format is LogFormat.auto and is_terminal
    )
    stamps: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks become text before anything is written: what an exception says may quote a URL.
    texts: list[Processor] = [*stamps, structlog.processors.format_exc_info, redact_event]
    if as_console:
        plain = structlog.dev.plain_traceback
        return [
            *texts,
            structlog.dev.ConsoleRenderer(colors=is_terminal, exception_formatter=plain),
        ]
    return [
        *texts,
        structlog.processors.UnicodeDecoder(),
        structlog.processors.JSONRenderer(),
    ]


def redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Takes the secrets of URLs out of whatever is logged."""
    for name, value in event.items():
        if isinstance(value, str | Exception | Mapping | list | tuple):
            event[name] = redact(str(value))
    return event


_render = _Render(processors_of(LogConfig(), False))
_writer = LineWriter(2, _note)


def configure_log(config: LogConfig) -> None:
    """Set up structlog for this process and the children it forks. Again at a reload."""
    global _render
    if _writer.fd == 2:
        _writer.fd = _open_standard_error()
        atexit.register(flush_log)
    _render = _Render(processors_of(config, os.isatty(_writer.fd)))
    level = logging.getLevelNamesMapping()[config.level.value.upper()]
    structlog.configure(
        processors=[_render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=False,  # a reload may change level and format
    )
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    least = max(level, logging.WARNING)  # what libraries say below that was never shown
    logging.basicConfig(handlers=[_FromLogging()], level=least, force=True)


def log_descriptor() -> int:
    """Where the lines go: standard error as the process was given it."""
    return _writer.fd


def dropped_lines() -> int:
    """Lines of this process that could not be written."""
    return _writer.dropped


def flush_log(within_s: float = FLUSH_S) -> None:
    """Let the last lines out before the process ends."""
    _writer.flush(within_s)


def tell(text: str) -> None:
    """Lines for whoever started the command."""
    _writer.write(redact(text).encode("utf-8", "backslashreplace") + b"\n")


# -- what is no structlog event ----------------------------------------------------------------


class _FromLogging(logging.Handler):
    """Records of libraries as events, a repeated one once a minute: trio's accept loop alone would
    write ten tracebacks a second while descriptors are short."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            key = (record.name, str(record.msg))
            since, count = self._seen.get(key, (-_REPEAT_S, 0))
            if record.created - since < _REPEAT_S:
                self._seen[key] = (since, count + 1)
                return
            if len(self._seen) >= _MOST_KINDS:
                self._seen.clear()
            self._seen[key] = (record.created, 0)
            level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
            log.log(level, record.getMessage(), **_fields(record, count))
        except Exception:
            self.handleError(record)  # says nothing: logging.raiseExceptions is off


def _fields(record: logging.LogRecord, repeated: int) -> dict[str, object]:
    fields: dict[str, object] = {"logger": record.name}
    if repeated:
        fields["repeated"] = repeated
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, OSError):  # its text says it all
        fields["error"] = str(error)
    elif error is not None:
        fields["exc_info"] = error
    return fields


class LogStream(io.TextIOBase):
    """Stands in for `sys.stdout` and `sys.stderr`: what is printed becomes events."""

    def __init__(self, name: str, fd: int) -> None:
        self._name = name
        self._fd = fd
        self._begun = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, text: str) -> int:
        whole, _, self._begun = (self._begun + text).rpartition("\n")
        self._say(whole)
        if len(self._begun) > _MOST_UNENDED:
            self.flush()
        return len(text)

    def flush(self) -> None:
        begun, self._begun = self._begun, ""
        self._say(begun)

    def _say(self, text: str) -> None:
        if text.strip():
            log.warning("printed", stream=self._name, text=text)


def capture_python_output() -> None:
    """Let nothing that Python code says reach a descriptor directly: from here on in this process
    and the children it forks."""
    sys.stdout = LogStream("stdout", 1)
    sys.stderr = LogStream("stderr", 2)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: log.error(
        "uncaught exception in a thread",
        thread=args.thread.name if args.thread else "",
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )
    sys.unraisablehook = lambda args: log.error(
        args.err_msg or "exception ignored",
        where=_shown(args.object),
        exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
    )


def _shown(thing: object) -> str:
    with suppress(Exception):
        return repr(thing)
    return object.__repr__(thing)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught exception", exc_info=(kind, error, trace))
