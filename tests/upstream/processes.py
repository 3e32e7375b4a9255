"""Runs a function in forked processes, as the supervisor runs workers, and collects results."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable
from typing import Any


def in_processes(work: Callable[[int], Any], indices: Iterable[int]) -> list[Any]:
    """`work(index)` in one forked process each, released at once; their (JSON) results in order.

    A process that dies without a result gives the string "killed".
    """
    start_read, start_write = os.pipe()
    running = [_fork(work, index, start_read, start_write) for index in indices]
    os.close(start_read)
    os.close(start_write)  # end of file at every reader: go
    results = []
    for pid, result_read in running:
        with os.fdopen(result_read, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            results.append("killed")
            continue
        assert os.waitstatus_to_exitcode(status) == 0, "a forked process failed, see stderr"
        results.append(json.loads(data))
    return results


def _fork(
    work: Callable[[int], Any], index: int, start_read: int, start_write: int
) -> tuple[int, int]:
    result_read, result_write = os.pipe()
    pid = os.fork()
    if pid:
        os.close(result_write)
        return pid, result_read
    code = 1
    try:
        os.close(start_write)
        os.read(start_read, 1)
        os.write(result_write, json.dumps(work(index)).encode())
        code = 0
    finally:
        os._exit(code)


def die() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)
