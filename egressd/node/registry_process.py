"""The registry process: runs the sources, merges what they say, publishes, rings the bells.

The only writer of the shared registry. Without it workers serve on with the last version they saw.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import structlog
import trio

from egressd.admin.server import serve_admin
from egressd.node.admin_state import NodeAdmin
from egressd.node.bootstrap_model import AdapterConfig, Bootstrap
from egressd.node.file_modes_watch import log_file_modes
from egressd.node.inherited import Inherited
from egressd.node.publisher import Publisher
from egressd.node.registry_state import RegistryState
from egressd.node.sources import SourceSink, configured_sources, run_source
from egressd.node.tls_files_watch import watch_tls_files
from egressd.registry.store import StoreWriter

log = structlog.get_logger("egressd.registry")

_NICE = 10


async def serve_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """The whole process as one trio task tree; returns on SIGTERM."""
    sources = configured_sources(bootstrap)
    store = StoreWriter.open(store_path)
    if store.moved_aside:
        log.error("the registry store was corrupt and was moved aside", aside=store.moved_aside)
    state = RegistryState(store, sources)
    publisher = Publisher(store, state, sources, bootstrap, inherited.bells)
    try:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                if inherited.admin is not None:
                    admin = NodeAdmin(state, bootstrap, publisher.confirm)
                    nursery.start_soon(serve_admin, admin, inherited.admin)
                nursery.start_soon(_run_sources, publisher, state, sources, bootstrap)
                nursery.start_soon(log_file_modes, state, bootstrap)
                nursery.start_soon(watch_tls_files, state, bootstrap)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
    finally:
        store.close()


async def _run_sources(
    publisher: Publisher,
    state: RegistryState,
    sources: Sequence[AdapterConfig],
    bootstrap: Bootstrap,
) -> None:
    await publisher.load()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # 100,000 endpoints are walked by every full collection
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        nursery.start_soon(publisher.watch_holds)
        for config in sources:
            status = state.status(config.source)
            sink = SourceSink(
                status, publisher.take, publisher.heard, publisher.known, publisher.overruled
            )
            nursery.start_soon(run_source, config, bootstrap, sink)


def run_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """Entry of the forked child. Traffic goes first: a storm of changes on a machine whose cores are all
    busy is taken in fewer, larger strides instead of slowing requests down."""
    with suppress(OSError):  # a sandbox may not let it
        os.nice(_NICE)
    trio.run(serve_registry, bootstrap, inherited, store_path)
