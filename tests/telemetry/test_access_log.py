"""One entry is one line, whatever a client sent."""

from __future__ import annotations

import json

from egressd.telemetry.access_log import AccessEntry, AccessLog, LogFormat
from egressd.telemetry.flags import ResponseFlag, join_flags

EVIL = b'/a"\n\x1b[31m\xff\xe2\x80\xae\\'


def _lines(log_format: LogFormat, entry: AccessEntry) -> list[bytes]:
    log = AccessLog(log_format)
    log.add(entry)
    return log.drain().splitlines()


def _entry(path: bytes = b"/") -> AccessEntry:
    return AccessEntry(
        start_time_s=1.5,
        method=b"GET",
        path=path,
        protocol=b"HTTP/1.1",
        response_code=200,
        user_agent=path,
        upstream_host="10.0.0.1:80",
    )


def test_json_lines_parse_and_keep_to_one_line() -> None:
    (line,) = _lines("json", _entry(EVIL))
    found = json.loads(line)
    assert found["response_code"] == 200
    assert found["start_time"] == "1970-01-01T00:00:01.500Z"
    assert b"\x1b" not in line
    assert line.isascii() or "\u202e" not in line.decode()


def test_text_lines_are_envoys_and_printable_ascii() -> None:
    (line,) = _lines("text", _entry(EVIL))
    assert line.startswith(b'[1970-01-01T00:00:01.500Z] "GET ')
    assert all(0x20 <= byte < 0x7F for byte in line)


def test_past_the_bound_lines_are_dropped_and_counted() -> None:
    log = AccessLog("text", limit=2)
    for _ in range(5):
        log.add(_entry())
    assert (len(log), log.dropped) == (2, 3)


RETRIED = ResponseFlag.URX
FAILED = ResponseFlag.UF


def test_flags_are_joined_in_envoys_order() -> None:
    assert join_flags([RETRIED, FAILED, FAILED]) == "UF,URX"
    assert join_flags([]) == ""
