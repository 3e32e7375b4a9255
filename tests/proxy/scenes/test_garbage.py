"""An exchange that is over is freed at once: one in a reference cycle would keep its buffers until the
collector runs, which a worker does rarely."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from egressd.proxy.body import RequestBody
from egressd.proxy.context import Exchange
from tests.proxy.scenes import basic, malformed, stalls, uploads
from tests.proxy.scenes.replay import Play, closes
from tests.proxy.scenes.script import Scene
from tests.proxy.scenes.test_scenes import named

_MOST = 8


@contextmanager
def no_garbage_of(*kinds: type) -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [type(one).__name__ for one in gc.garbage if isinstance(one, kinds)]
        assert not found
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("by", ["ends", "resets"])
@pytest.mark.parametrize(
    "scene", named((*uploads.SCENES, *basic.SCENES[:4], *malformed.SCENES[:4], *stalls.SCENES[:4]))
)
def test_an_exchange_whose_client_leaves_is_freed_at_once(scene: Scene, by: str) -> None:
    variations = list(closes(scene, "client", by))
    chosen = variations[:: max(1, len(variations) // _MOST)]
    with no_garbage_of(Exchange, RequestBody):
        for variation in chosen:
            Play(scene, variation, tls=False).run()
