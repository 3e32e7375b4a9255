"""The directories of a node are its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from egressd.node.bootstrap_model import AdminConfig, Bootstrap
from egressd.node.holdings import Holdings, worker_indices
from egressd.node.sockets import StartError
from egressd.upstream.node_state import MAX_WORKERS


def _bootstrap(base: Path, run: str, state: str) -> Bootstrap:
    return Bootstrap(
        run_dir=str(base / run),
        state_dir=str(base / state),
        admin=AdminConfig(address=f"unix:{base}/{run}.sock"),
    )


@pytest.mark.parametrize(
    ("run", "state", "taken"),
    [
        ("run", "state-2", "runDir"),
        ("run-2", "state", "stateDir"),
        ("run", "state", "runDir"),
        ("state", "state-2", "runDir"),
        ("run-2", "run", "stateDir"),
        ("state", "state", "runDir"),
    ],
)
def test_a_directory_of_another_node_is_refused(
    run: str, state: str, taken: str, tmp_path: Path
) -> None:
    with closing(Holdings(_bootstrap(tmp_path, "run", "state"), {})):
        (tmp_path / "run" / "worker-0.sock").touch()
        with pytest.raises(StartError) as refused:
            Holdings(_bootstrap(tmp_path, run, state), {})
        assert (tmp_path / "run" / "worker-0.sock").exists()
    directory = tmp_path / (run if taken == "runDir" else state)
    assert str(refused.value) == (
        f"{taken} {directory}: another node runs in it; stop it, or set another {taken}"
    )


@pytest.mark.parametrize(("run", "state"), [("run", "state"), ("one", "one")])
def test_a_node_that_ended_leaves_its_directories_to_the_next(
    run: str, state: str, tmp_path: Path
) -> None:
    for _ in range(2):
        Holdings(_bootstrap(tmp_path, run, state), {}).close()


def test_a_refused_node_leaves_the_directory_that_was_free(tmp_path: Path) -> None:
    with closing(Holdings(_bootstrap(tmp_path, "run", "state"), {})):
        with pytest.raises(StartError):
            Holdings(_bootstrap(tmp_path, "run-2", "state"), {})
        Holdings(_bootstrap(tmp_path, "run-2", "state-2"), {}).close()


@pytest.mark.parametrize("workers", range(1, 65))
def test_a_reload_finds_indices_while_generations_drain(workers: int) -> None:
    indices = worker_indices(workers)
    assert 2 * workers <= indices <= MAX_WORKERS
    assert indices >= 4 * workers or workers > MAX_WORKERS // 4
