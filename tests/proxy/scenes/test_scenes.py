"""Every scene, as written and in all its variations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import pytest

from tests.proxy.scenes import (
    actions,
    basic,
    changing,
    doors,
    malformed,
    overrides,
    policies,
    retries,
    reuse,
    spellings,
    stalls,
    tunnels,
    uploads,
)
from tests.proxy.scenes.replay import Play, Variation, closes, splits
from tests.proxy.scenes.script import Scene

SCENES: tuple[Scene, ...] = tuple(
    scene
    for part in (
        basic,
        reuse,
        uploads,
        malformed,
        retries,
        overrides,
        actions,
        policies,
        tunnels,
        doors,
        spellings,
        stalls,
        changing,
    )
    for scene in part.SCENES
)
_MOST = int(os.environ.get("SCENE_POSITIONS", "32"))
"""Positions of one scene and kind: past it every n-th, first and last among them. CI takes all."""
_MOST_TLS = 3
"""Over TLS, whose handshakes take most of the time."""


def named(scenes: Sequence[Scene]) -> list[object]:
    return [pytest.param(scene, id=scene.name.replace(" ", "_")) for scene in scenes]


def play(scene: Scene, variations: Iterable[Variation], *, tls: bool) -> None:
    """Play all; the first that goes wrong is told."""
    for variation in variations:
        problems = Play(scene, variation, tls=tls).run()
        assert not problems, f"{scene.name}, {variation}:\n" + "\n".join(problems)


def sampled(variations: Iterable[Variation], most: int) -> list[Variation]:
    """The first, the last and some between, always the same."""
    found = list(variations)
    if len(found) <= most:
        return found
    step = (len(found) - 1) / (most - 1)
    return [found[round(at * step)] for at in range(most)]


@pytest.mark.parametrize("scene", named(SCENES))
def test_as_written(scene: Scene) -> None:
    play(scene, [None], tls=False)


@pytest.mark.parametrize("scene", named([one for one in SCENES if one.over_tls]))
def test_as_written_over_tls(scene: Scene) -> None:
    play(scene, [None], tls=True)


@pytest.mark.parametrize("scene", named([one for one in SCENES if one.splits]))
def test_every_write_in_two(scene: Scene) -> None:
    play(scene, sampled(splits(scene), _MOST), tls=False)


@pytest.mark.parametrize("scene", named([one for one in SCENES if one.splits and one.over_tls]))
def test_every_write_in_two_records(scene: Scene) -> None:
    play(scene, sampled(splits(scene), _MOST_TLS), tls=True)


@pytest.mark.parametrize("by", ["ends", "resets"])
@pytest.mark.parametrize("side", ["client", "origin"])
@pytest.mark.parametrize("scene", named([one for one in SCENES if one.closes]))
def test_a_side_closes_after_every_byte(scene: Scene, side: str, by: str) -> None:
    play(scene, sampled(closes(scene, side, by), _MOST), tls=False)


@pytest.mark.parametrize("by", ["ends", "resets"])
@pytest.mark.parametrize("side", ["client", "origin"])
@pytest.mark.parametrize("scene", named([one for one in SCENES if one.closes and one.over_tls]))
def test_a_side_closes_over_tls(scene: Scene, side: str, by: str) -> None:
    play(scene, sampled(closes(scene, side, by), _MOST_TLS), tls=True)
