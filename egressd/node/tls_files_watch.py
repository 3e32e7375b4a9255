"""Looks at the files of TLS settings when a rule is loaded and whenever one of them changes.

What is wrong is a problem in `egressd status`, and one line of the log when it begins and ends. In the
registry process, in a thread: a file system may be slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from os import stat
from time import time

import structlog
import trio

from egressd.api.resource import Kind, Problem, Resource
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.profile import node_profile
from egressd.node.registry_state import RegistryState
from egressd.registry.profile import NodeProfile
from egressd.upstream.tls_files import TlsFiles, look_at_tls_files

LOOK_S = 2.0  # between two looks at whether files have changed
_EXPIRY_S = 600.0  # between two looks at files that have not: certificates expire
_LINES = 20

log = structlog.get_logger("egressd.registry")

Stamps = tuple[tuple[str, int, int], ...]
Seen = Mapping[str, tuple[Resource, Stamps, float, TlsFiles]]


async def watch_tls_files(state: RegistryState, bootstrap: Bootstrap) -> None:
    """Keep `state.file_problems` at what is wrong now, until cancelled."""
    profile = node_profile(bootstrap)
    resources: tuple[Resource, ...] = ()
    version = -1
    seen: Seen = {}
    while True:
        if state.version != version:
            version = state.version
            resources = await trio.to_thread.run_sync(_resources, state, abandon_on_cancel=True)
        if resources or seen:
            look = partial(look_again, resources, profile, seen, time())
            seen = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
            _tell(state, tuple(p for *_, files in seen.values() for p in files.problems))
        await trio.sleep(LOOK_S)


def _resources(state: RegistryState) -> tuple[Resource, ...]:
    kinds = (Kind.DESTINATION_RULE, Kind.GATEWAY)
    return tuple(record.resource for kind in kinds for record in state.view.records(kind))


def look_again(resources: Iterable[Resource], profile: NodeProfile, seen: Seen, now: float) -> Seen:
    """Load what is new or has changed; of the rest what was found before stands. Problems that are still
    there are the same objects."""
    found: dict[str, tuple[Resource, Stamps, float, TlsFiles]] = {}
    for resource in resources:
        before = seen.get(resource.ref)
        if before is not None and before[0] == resource:
            _, stamps, at, files = before
            places = (*files.files, profile.credentials_dir)
            if _stamps(places) == stamps and not _is_due(files, now - at):
                found[resource.ref] = before
                continue
        files = look_at_tls_files(resource, profile, now)
        stamps = _stamps((*files.files, profile.credentials_dir))
        found[resource.ref] = (resource, stamps, now, files)
    return found


def _is_due(files: TlsFiles, age_s: float) -> bool:
    """Whether to load again what has not changed: a secret that is not there names no files yet."""
    return age_s >= (LOOK_S if files.problems else _EXPIRY_S)


def _stamps(files: Iterable[str]) -> Stamps:
    stamps = []
    for file in files:
        with suppress(OSError, ValueError):
            found = stat(file)
            stamps.append((file, found.st_mtime_ns, found.st_ino))
    return tuple(stamps)


def _tell(state: RegistryState, problems: tuple[Problem, ...]) -> None:
    before = set(state.file_problems)
    new = [problem for problem in problems if problem not in before]
    gone = before - set(problems)
    state.file_problems = problems
    for problem in new[:_LINES]:
        log.warning("files of TLS cannot be used", problem=str(problem))
    if len(new) > _LINES:
        log.warning("more files of TLS cannot be used", count=len(new) - _LINES)
    well = {problem.resource for problem in gone} - {problem.resource for problem in problems}
    for resource in sorted(well)[:_LINES]:
        log.info("files of TLS can be used again", resource=resource)
