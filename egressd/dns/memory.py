"""Answers over a restart: what is held of names, as bytes to keep and to read back. Pure.

Times in the bytes are seconds since the epoch; everywhere else they are the watch's own clock.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from egressd.dns.held import Held, Part
from egressd.dns.watch import Question


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    name: str
    kinds: tuple[str, ...]
    parts: tuple[Part | None, ...]


def encode_answers(answers: Mapping[Question, Held], epoch_s: float) -> bytes:
    """The answers as bytes; `epoch_s` is when the watch's clock was 0."""
    return msgspec.json.encode(
        [
            _Kept(question.name, question.kinds, _shifted(held.parts, epoch_s))
            for question, held in answers.items()
        ]
    )


def decode_answers(data: bytes, epoch_s: float) -> dict[Question, Held]:
    """The answers in bytes; what is no such bytes has none."""
    try:
        kept = msgspec.json.decode(data, type=tuple[_Kept, ...])
    except msgspec.MsgspecError:
        return {}
    return {
        Question(one.name, one.kinds): Held(_shifted(one.parts, -epoch_s))
        for one in kept
        if len(one.kinds) == len(one.parts)
    }


def _shifted(parts: tuple[Part | None, ...], by_s: float) -> tuple[Part | None, ...]:
    return tuple(
        None if part is None else Part(part.records, part.good_until + by_s) for part in parts
    )
