"""Every target: what is in its corpus, and a while of mutation. FUZZ_SECONDS and FUZZ_SEED change it."""

from __future__ import annotations

import os

import pytest

from tests.fuzz.engine import Target, fuzz
from tests.fuzz.targets import TARGETS, corpus_of

SECONDS = float(os.environ.get("FUZZ_SECONDS", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.mark.parametrize(
    ("name", "file"), [(name, file) for name in TARGETS for file in corpus_of(name)]
)
def test_the_corpus_breaks_nothing(name: str, file: str) -> None:
    TARGETS[name].check(corpus_of(name)[file])


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_target(name: str) -> None:
    run = fuzz(TARGETS[name], corpus_of(name).values(), seconds=SECONDS, seed=SEED)
    assert run.finding is None, f"{run.finding}; keep it: python -m tests.fuzz --seed {SEED} {name}"
    assert run.behaviours >= 3


def test_the_engine_finds_what_is_there_and_makes_it_small() -> None:
    def check(data: bytes) -> str:
        assert b"BUG" not in data
        return str(len(data) % 7)

    run = fuzz(Target(check, [b"hello"], [b"BU", b"G"]), seconds=30.0, seed=1, rounds=100_000)
    assert run.finding is not None
    assert run.finding.data == b"BUG"
    again = fuzz(Target(check, [b"hello"], [b"BU", b"G"]), seconds=30.0, seed=1, rounds=100_000)
    assert again.rounds == run.rounds
