"""Lines to descriptors that are broken, full, unread or shared, with real pipes and no clock."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator

import pytest

from egressd.telemetry.line_writer import Appender, LineWriter

PIPE = 4096
LONG_S = 30.0


def note(dropped: int) -> bytes:
    return b"dropped %d\n" % dropped


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def read_lines(fd: int, until: bytes) -> list[bytes]:
    data = b""
    while not data.endswith(until):
        data += os.read(fd, 65536)
    return data.splitlines(keepends=True)


def read_now(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], note)
    lines = [b"line %d\n" % n for n in range(2000)]
    for line in lines:
        writer.write(line)
    assert read_lines(pipe[0], lines[-1]) == lines
    writer.flush(LONG_S)
    assert writer.dropped == 0


def test_an_unread_pipe_costs_lines_and_never_time(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], note, limit_bytes=1000)
    for n in range(5000):
        writer.write(b"%099d\n" % n)
    assert writer.dropped >= 5000 - PIPE // 100 - 11  # in the pipe, in the queue, in the thread
    found = b""
    os.set_blocking(pipe[0], False)
    while not writer.flush(0.01):
        found += read_now(pipe[0])
    os.set_blocking(pipe[0], True)
    writer.write(b"last\n")
    lines = [*found.splitlines(), *b"".join(read_lines(pipe[0], b"last\n")).splitlines()]
    told = [int(line.split()[1]) for line in lines if line.startswith(b"dropped")]
    assert sum(told) == writer.dropped
    assert sum(line.startswith(b"0") for line in lines) == 5000 - writer.dropped


def test_a_pipe_without_a_reader_is_counted_and_nothing_else(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], note)
    os.close(pipe[0])
    for _ in range(10):
        writer.write(b"line\n")
    writer.flush(LONG_S)
    assert writer.dropped == 10


def test_a_closed_descriptor_is_counted_and_nothing_else() -> None:
    reader, fd = os.pipe()
    os.close(reader)
    os.close(fd)
    writer = LineWriter(fd, note)
    writer.write(b"line\n")
    writer.flush(LONG_S)
    assert writer.dropped == 1


def test_what_was_dropped_is_told_when_writing_works_again(pipe: tuple[int, int]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(full, note)
    for _ in range(3):
        writer.write(b"lost\n")
    writer.flush(LONG_S)
    os.dup2(pipe[1], full)
    writer.write(b"kept\n")
    assert read_lines(pipe[0], b"kept\n") == [b"dropped 3\n", b"kept\n"]
    writer.write(b"again\n")
    assert read_lines(pipe[0], b"again\n") == [b"again\n"]
    os.close(full)


def test_a_descriptor_that_others_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1], note)
    lines = [b"%0999d\n" % n for n in range(20)]
    for line in lines:
        writer.write(line)
    assert read_lines(pipe[0], lines[-1]) == lines
    assert writer.dropped == 0
    assert not os.get_blocking(pipe[1])


def test_a_line_longer_than_the_queue_is_dropped(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], note, limit_bytes=10)
    writer.write(b"0123456789\n")
    assert writer.dropped == 1


def test_no_thread_to_be_had_is_no_error(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = LineWriter(pipe[1], note)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        writer.write(b"one\n")
    writer.write(b"two\n")
    assert read_lines(pipe[0], b"two\n") == [b"one\n", b"two\n"]


def test_a_forked_child_writes_its_own_lines_while_the_parents_thread_is_stuck(
    pipe: tuple[int, int],
) -> None:
    writer = LineWriter(pipe[1], note)
    writer.write(b"." * PIPE + b"\n")  # the parent's thread is in write(2)
    writer.write(b"parent\n")
    other, fd = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(fd, pipe[1])
        writer.write(b"child\n")
        writer.flush(LONG_S)
        os._exit(writer.dropped)
    assert os.waitpid(pid, 0)[1] == 0
    assert read_lines(other, b"\n") == [b"child\n"]
    assert read_lines(pipe[0], b"parent\n")[-1] == b"parent\n"
    os.close(other)
    os.close(fd)


def test_a_line_that_was_cut_off_is_ended_before_the_next(pipe: tuple[int, int]) -> None:
    append = Appender()
    append.write(pipe[1], b"half")
    assert append.is_cut
    append.write(pipe[1], b"whole\n")
    assert not append.is_cut
    assert os.read(pipe[0], 100) == b"half\nwhole\n"


def test_the_part_that_could_not_be_written_is_known() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        append = Appender()
        with pytest.raises(OSError, match="No space left"):
            append.write(full.fileno(), b"a\nb\n")
        assert bytes(append.unwritten) == b"a\nb\n"
