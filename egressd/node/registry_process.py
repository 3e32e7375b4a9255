"""The registry process: runs the sources, merges what they say, publishes, rings the bells.

The only writer of the shared registry. Without it workers serve on with the last version they saw.
"""

from __future__ import annotations

import signal
from time import time

import structlog
import trio

from egressd.admin.server import serve_admin
from egressd.node.admin_state import NodeAdmin
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.inherited import Inherited
from egressd.node.publisher import Publisher
from egressd.node.registry_state import RegistryState
from egressd.node.sources import SourceSink, configured_sources, run_source
from egressd.registry.store import StoreWriter

log = structlog.get_logger("egressd.registry")


async def serve_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """The whole process as one trio task tree; returns on SIGTERM."""
    sources = configured_sources(bootstrap)
    store = StoreWriter.open(store_path)
    if store.moved_aside:
        log.error("the registry store was corrupt and was moved aside", aside=store.moved_aside)
    store.arrange([config.source for config in sources], time())
    state = RegistryState(store, sources)
    publisher = Publisher(store, state, sources, bootstrap, inherited.bells)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.run)
                nursery.start_soon(publisher.watch_holds)
                if inherited.admin is not None:
                    admin = NodeAdmin(state, bootstrap, publisher.confirm)
                    nursery.start_soon(serve_admin, admin, inherited.admin)
                for config in sources:
                    sink = SourceSink(state.status(config.source), publisher.take, publisher.heard)
                    nursery.start_soon(run_source, config, bootstrap, sink)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
    finally:
        store.close()


def run_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """Entry of the forked child."""
    trio.run(serve_registry, bootstrap, inherited, store_path)
