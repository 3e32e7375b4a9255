"""Logs whose files others may write or read, once each: at start, at a reload (which replaces the
registry process), and when a resource names another key."""

from __future__ import annotations

from functools import partial

import structlog
import trio

from egressd.api.resource import Kind, Problem
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.file_modes import Reader, check_files, check_keys
from egressd.node.registry_state import RegistryState

LOOK_S = 5.0  # between two looks at what resources name
_LINES = 20

log = structlog.get_logger("egressd.registry")


async def log_file_modes(state: RegistryState, bootstrap: Bootstrap) -> None:
    """Look in a thread: a file system may be slow."""
    reader = Reader.current()
    look = partial(_look_at_files, bootstrap, reader)
    _tell(await trio.to_thread.run_sync(look, abandon_on_cancel=True))
    told: set[Problem] = set()
    version = -1
    while True:
        if state.version != version:
            version = state.version
            keys = partial(_look_at_keys, state, reader)
            found = await trio.to_thread.run_sync(keys, abandon_on_cancel=True)
            _tell([problem for problem in found if problem not in told])
            told = set(found)
        await trio.sleep(LOOK_S)


def _look_at_files(bootstrap: Bootstrap, reader: Reader) -> list[Problem]:
    return list(dict.fromkeys(check_files(bootstrap, reader)))


def _look_at_keys(state: RegistryState, reader: Reader) -> list[Problem]:
    kinds = (Kind.DESTINATION_RULE, Kind.GATEWAY)
    resources = (record.resource for kind in kinds for record in state.view.records(kind))
    return list(dict.fromkeys(check_keys(resources, reader)))


def _tell(problems: list[Problem]) -> None:
    for problem in problems[:_LINES]:
        log.warning("not only the node's user has access", problem=str(problem))
    if len(problems) > _LINES:
        log.warning("more such files", count=len(problems) - _LINES)
