"""What a message about something unknown says of sources that have never answered."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from egressd.registry.lookup import RecordingView
from egressd.registry.memory import MemoryView
from egressd.registry.records import SourceState
from egressd.registry.sidecar import SidecarView
from egressd.registry.store import StoreWriter
from egressd.registry.view import awaited
from egressd.registry.visibility import VisibleView


@pytest.mark.parametrize(
    ("unanswered", "said"),
    [
        ({}, ""),
        ({"consul": ""}, "; source consul has not answered yet"),
        ({"consul": "c: refused"}, "; source consul has never answered: c: refused"),
        (
            {"a": "x", "b": "", "c": "y", "d": ""},
            "; source a has never answered: x; source b has not answered yet; nor have c, d",
        ),
    ],
)
def test_what_is_said(unanswered: dict[str, str], said: str) -> None:
    view = MemoryView((), unanswered=unanswered)
    for outer in (view, VisibleView(view, "x"), RecordingView(view), SidecarView(view, ())):
        assert awaited(outer) == said


def test_the_store_has_those_that_have_never_said_anything(tmp_path: Path) -> None:
    path = str(tmp_path / "registry")
    with closing(StoreWriter.open(path)) as writer:
        assert writer.unanswered() == {}
        writer.note_sources(
            {"a": SourceState(error="refused"), "b": SourceState(synced_at=1.0, error="refused")}
        )
        assert writer.unanswered() == {"a": "refused"}
        writer.note_sources({"b": SourceState(synced_at=1.0)})
        assert writer.unanswered() == {}
