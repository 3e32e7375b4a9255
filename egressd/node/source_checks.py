"""Whether adapters are what the bootstrap says: installed, with options that they take.

What an adapter would refuse when it is started is an error of the configuration: `egressd validate`
says it, a start ends with it, a reload is refused for it. Whether a server answers or a file is there
is no part of it: that changes without the configuration, and the node serves on meanwhile.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib.metadata import entry_points

import msgspec
import trio

from egressd.api.nearest import expected_name
from egressd.api.report import Report, quoted
from egressd.api.secret import redact
from egressd.node.bootstrap_model import AdapterConfig, Bootstrap
from egressd.node.signals import signals_held
from egressd.node.sources import make_adapter
from egressd.registry.adapter import ENTRY_POINT_GROUP, AdapterConfigError, OptionFault
from egressd.registry.adapter_options import declared_options
from egressd.registry.option_faults import faults_of, option_faults

_PATIENCE_S = 10.0
"""How long the code of adapters, some of it foreign, may take to be loaded and to look at options."""


def check_sources(bootstrap: Bootstrap, report: Report) -> None:
    """Report what is wrong with the adapters. Loads their code, as the registry process does."""
    _report(_found(bootstrap), report)


def check_sources_apart(bootstrap: Bootstrap, report: Report) -> None:
    """The same in a process of its own: whatever an adapter does when it is loaded (threads, an exit, a
    hang) happens there. What is not known in time is no error: the source will say so."""
    if bootstrap.adapters:
        _report(_asked(partial(_found, bootstrap)), report)


class _Finding(msgspec.Struct, frozen=True):
    path: str
    found: str
    expected: str


def _report(findings: Iterable[_Finding], report: Report) -> None:
    for one in findings:
        report.error(one.path, redact(one.found), redact(one.expected))


def _found(bootstrap: Bootstrap) -> list[_Finding]:
    return [
        finding
        for index, config in enumerate(bootstrap.adapters)
        for finding in _check(config, f"adapters[{index}]", bootstrap)
        if config.type  # an empty one is told of already
    ]


def _check(config: AdapterConfig, path: str, bootstrap: Bootstrap) -> list[_Finding]:
    points = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if config.type not in points:
        expected = expected_name(config.type, sorted(points))
        return [_Finding(f"{path}.type", quoted(config.type), f"an installed adapter: {expected}")]
    try:
        factory = points[config.type].load()
    except Exception as error:
        found = f"{quoted(config.type)}, whose code cannot be loaded: {_words(error)}"
        return [_Finding(f"{path}.type", found, "an adapter that works")]
    faults: tuple[OptionFault, ...] = ()
    try:
        trio.run(_make, config, bootstrap)
    except AdapterConfigError as error:
        faults = error.faults or faults_of(str(error))
    except OSError:
        pass  # of the machine as it is now
    except Exception as error:  # an adapter without checks of its own
        faults = (
            OptionFault("options", "values that the adapter does not take: " + _words(error)),
        )
    shape = declared_options(factory, config.options)
    if shape is not None:
        declared = option_faults(shape, config.options, strict=bool(faults))
        named = {fault.option for fault in faults}
        own = tuple(fault for fault in faults if fault.option != "options" or not declared)
        faults = own + tuple(fault for fault in declared if fault.option not in named)
    return [_Finding(f"{path}.{one.option}", one.found, one.expected) for one in faults]


async def _make(config: AdapterConfig, bootstrap: Bootstrap) -> None:
    """In a loop, as the registry process has one: not every adapter keeps to needing none."""
    make_adapter(config, bootstrap)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _asked(question: Callable[[], list[_Finding]]) -> list[_Finding]:
    """The answer of a child process; none where it dies or takes too long."""
    read, write = os.pipe()
    with signals_held():  # for good in the child: its handlers would wake up the supervisor
        pid = os.fork()
        if not pid:
            with suppress(BaseException):
                os.close(read)
                answer = msgspec.msgpack.encode(question())
                while answer:
                    answer = answer[os.write(write, answer) :]
            os._exit(0)
    os.close(write)
    try:
        return msgspec.msgpack.decode(_read_all(read), type=list[_Finding])
    except msgspec.DecodeError:
        return []
    finally:
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _read_all(descriptor: int) -> bytes:
    data = b""
    while select.select([descriptor], [], [], _PATIENCE_S)[0]:
        if not (part := os.read(descriptor, 65536)):
            break
        data += part
    return data
