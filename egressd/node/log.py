"""The node's own log: structlog to standard error, for people or as JSON lines."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from egressd.node.bootstrap_model import LogConfig, LogFormat


def configure_log(config: LogConfig) -> None:
    """Set up structlog for this process and the children it forks."""
    as_console = config.format is LogFormat.console or (
        config.format is LogFormat.auto and sys.stderr.isatty()
    )
    stamps: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ends: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
        if as_console
        else [
            structlog.processors.format_exc_info,
            structlog.processors.UnicodeDecoder(),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[*stamps, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.level.value.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,  # a reload may change level and format
    )
