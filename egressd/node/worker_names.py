"""What the node's workers know of names: in shared memory while it runs, and in files over a restart, so
that what one of them has learnt serves all, also while no name server answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from glob import escape, glob
from pathlib import Path
from time import monotonic, time

import structlog
import trio

from egressd.dns.held import Held
from egressd.dns.memory import decode_answers, encode_answers
from egressd.dns.shared_answers import SharedAnswers
from egressd.dns.watch import Question, Watch
from egressd.node.bells import ring
from egressd.node.inherited import Inherited

_SAVE_S = 2.0
"""How soon records that changed are written down: a node may be killed as a whole."""
_SAVE_ALL_EVERY = 15  # of these: then how long records hold, too

log = structlog.get_logger("egressd.dns")


def shared_answers(inherited: Inherited, index: int) -> SharedAnswers:
    """What all workers know; one's own answers go there, and the others' bells are rung for them."""
    others = [bell for at, bell in enumerate(inherited.bells) if at != index]
    return SharedAnswers(
        inherited.names_fd,
        index,
        len(inherited.bells),
        lambda: ring(others),
        trio.current_time,
        monotonic() - trio.current_time(),
    )


def remembered(directory: str) -> Mapping[Question, Held]:
    """What the workers of this node have written down; of one name the latest."""
    found: dict[Question, Held] = {}
    for path in glob(f"{escape(directory)}/names-*.json"):
        try:
            data = Path(path).read_bytes()
        except OSError:
            continue
        for question, held in decode_answers(data, _epoch_s()).items():
            known = found.get(question)
            if known is None or _age(known) < _age(held):
                found[question] = held
    return found


class NameFile:
    """The file of one worker."""

    def __init__(self, directory: str, index: int, watch: Watch) -> None:
        self._path = Path(directory) / f"names-{index}.json"
        self._watch = watch
        self._saved = b""

    async def run(self) -> None:
        """Write what has changed, from time to time."""
        while True:
            changes = self._watch.changes
            for _ in range(_SAVE_ALL_EVERY):
                await trio.sleep(_SAVE_S)
                if changes != self._watch.changes:
                    break
            write = self._writing()
            if write is not None:
                await trio.to_thread.run_sync(write)

    def save(self) -> None:
        """Write what has changed, now."""
        write = self._writing()
        if write is not None:
            write()

    def _writing(self) -> Callable[[], None] | None:
        data = encode_answers(self._watch.answers(), _epoch_s())
        if data == self._saved:
            return None
        self._saved = data

        def write() -> None:
            beside = self._path.with_suffix(f".{os.getpid()}")
            try:
                beside.write_bytes(data)
                beside.replace(self._path)
            except OSError as error:
                log.warning("names not written down", path=str(self._path), reason=str(error))

        return write


def _epoch_s() -> float:
    """When the watch's clock was 0, in whole seconds: clocks drift, and a file should not for that."""
    return float(round(time() - trio.current_time()))


def _age(held: Held) -> float:
    return max((part.good_until for part in held.parts if part is not None), default=0.0)
