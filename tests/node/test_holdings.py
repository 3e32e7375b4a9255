"""The directories of a node are its own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from egressd.node.bootstrap_model import AdminConfig, Bootstrap
from egressd.node.holdings import Holdings, first_indices, worker_indices
from egressd.node.sockets import StartError
from egressd.node.status import ChildState, ChildStatus, SupervisorStatus, write_status
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


@pytest.mark.parametrize(
    ("owner", "workers", "expected"),
    [
        ([0, 1], 2, [2, 3]),
        ([2, 3], 2, [0, 1]),
        ([1, 2, 4], 3, [0, 3, 5]),
        (range(8), 2, [0, 1]),  # none is free
        (range(6), 2, [6, 7]),
    ],
)
def test_a_candidate_s_workers_leave_the_owner_s_control_sockets_alone(
    owner: Iterable[int], workers: int, expected: list[int], tmp_path: Path
) -> None:
    bootstrap = Bootstrap(run_dir=str(tmp_path), workers=workers)
    assert first_indices(bootstrap, is_candidate=True) == list(range(workers))
    children = tuple(
        ChildStatus(
            role="worker", index=at, pid=9, state=ChildState.READY, started_at=1.0, restarts=0
        )
        for at in owner
    )
    status = SupervisorStatus(
        pid=8,
        state="upgrading",
        started_at=1.0,
        generation=1,
        config_path="",
        config_error="",
        admin_address="",
        worker_restarts=0,
        registry_restarts=0,
        listeners=(),
        children=children,
    )
    write_status(Path(bootstrap.status_path), status)
    assert first_indices(bootstrap, is_candidate=True) == expected
    assert first_indices(bootstrap, is_candidate=False) == list(range(workers))


@pytest.mark.parametrize(
    ("before", "after", "is_refused"),
    [
        (("run", "state"), ("run", "state"), False),
        (("one", "one"), ("one", "one"), False),
        (("run", "state"), ("run", "state-2"), True),
        (("run", "state"), ("run-2", "state"), True),
        (("run", "state"), ("run", "run"), True),
        (("one", "one"), ("one", "state"), True),
    ],
)
def test_a_node_is_taken_over_with_the_directories_that_it_has(
    before: tuple[str, str], after: tuple[str, str], is_refused: bool, tmp_path: Path
) -> None:
    with closing(Holdings(_bootstrap(tmp_path, *before), {})) as owner:
        asked = _bootstrap(tmp_path, *after)
        asked = msgspec.structs.replace(asked, admin=AdminConfig(address=f"unix:{tmp_path}/2.sock"))
        locks = [os.dup(fd) for fd in owner.lock_fds]
        if is_refused:
            with pytest.raises(StartError, match="the running node has another"):
                Holdings(asked, {}, locks=locks)
        else:
            Holdings(asked, {}, locks=locks).close()
