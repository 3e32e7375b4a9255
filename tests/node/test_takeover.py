"""From one supervisor to the next: what is decided, said and kept, without processes."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from egressd.node.bootstrap_model import AdminConfig, Bootstrap, ListenerConfig
from egressd.node.fleet import Entries, Fleet
from egressd.node.holdings import Holdings
from egressd.node.inherited import Inherited
from egressd.node.lifeline import READY_FD, Lifeline
from egressd.node.sd_notify import Notifier
from egressd.node.sockets import ListenerPool, kept_name
from egressd.node.status import SupervisorStatus
from egressd.node.supervisor import Supervisor
from egressd.node.takeover.kept import KeptSockets
from egressd.node.takeover.line import TakeoverLine, Word
from egressd.node.takeover.orphan import has_successor
from egressd.node.takeover.orphan_sockets import ask_orphans, hand_out
from egressd.node.takeover.program import (
    VARIABLE,
    Candidacy,
    Inheritance,
    candidacy_from_environment,
)
from egressd.node.takeover.succession import Succession, Turn
from egressd.node.takeover.upgrade import Upgrade


class Manager:
    """Keeps descriptors as systemd does: one of each socket, by name."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)
        self.notifier = Notifier(str(path))
        self.kept: dict[str, set[int]] = {}

    def hear(self) -> dict[str, set[int]]:
        """What it keeps, as inodes, after all that was said."""
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self.sock, 4096, 253)
            except BlockingIOError:
                return self.kept
            said = dict(line.split("=", 1) for line in data.decode().split("\n"))
            if "FDSTORE" in said:
                inodes = {os.fstat(fd).st_ino for fd in fds}
                self.kept.setdefault(said["FDNAME"], set()).update(inodes)
            elif "FDSTOREREMOVE" in said:
                self.kept.pop(said["FDNAME"], None)
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        self.notifier.close()
        self.sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path / "notify")) as made:
        yield made


def _inodes(*sockets: socket.socket) -> set[int]:
    return {os.fstat(sock.fileno()).st_ino for sock in sockets}


def test_the_manager_keeps_what_is_listened_on_and_nothing_else(manager: Manager) -> None:
    one, two = socket.socket(), socket.socket()
    with one, two:
        manager.notifier.store("kept-left-80", [one.fileno()])
        manager.notifier.store("kept-a-1", [two.fileno()])
        kept = KeptSockets(manager.notifier, [("kept-left-80", one), ("kept-a-1", two)])
        assert manager.hear() == {"kept-left-80": _inodes(one), "kept-a-1": _inodes(two)}
        kept.sync({"kept-a-1": [one, two], "kept-b-2": [one.dup()]})
        assert manager.hear() == {"kept-a-1": _inodes(one, two), "kept-b-2": _inodes(one)}
        kept.sync({"kept-a-1": [two]})
        assert manager.hear() == {"kept-a-1": _inodes(two)}
        kept.sync({"kept-a-1": [one, two]})
        assert manager.hear() == {"kept-a-1": _inodes(one, two)}
        kept.sync({})
        assert manager.hear() == {}


def test_what_the_manager_could_not_be_told_is_told_the_next_time(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "notify"))
    kept = KeptSockets(notifier)
    with socket.socket() as one:
        kept.sync({"kept-a-1": [one]})  # nobody is there
        with closing(Manager(tmp_path / "notify")) as manager:
            kept.sync({"kept-a-1": [one]})
            assert manager.hear() == {"kept-a-1": _inodes(one)}
    notifier.close()


def test_a_silent_notifier_says_nothing_and_claims_nothing(manager: Manager) -> None:
    manager.notifier.hand_over(7)
    manager.notifier.ready("fine")
    assert not manager.notifier.store("kept-a-1", [0])
    assert manager.sock.recv(200) == b"MAINPID=7"
    with pytest.raises(BlockingIOError):
        manager.sock.recv(200)


def test_the_next_program_gets_the_manager_s_variables(tmp_path: Path) -> None:
    named = Notifier(str(tmp_path / "notify"), 3.0)
    assert named.environment() == {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "3000000",
    }
    named.close()
    abstract = Notifier("@egressd-test")
    assert abstract.environment()["NOTIFY_SOCKET"] == "@egressd-test"
    abstract.close()
    assert Notifier().environment() == {}


def _pool(name: str, *sockets: socket.socket) -> ListenerPool:
    return ListenerPool([(name, sock) for sock in sockets])


def _bootstrap(workers: int, port: int = 0, name: str = "egress") -> Bootstrap:
    return Bootstrap(workers=workers, listeners=(ListenerConfig(name=name, port=port),))


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_left_sockets_are_listened_on_again_and_each_has_a_worker(
    before: int, workers: int
) -> None:
    first = ListenerPool()
    first.shares(_bootstrap(before))
    (name, left), *_ = first.own().items()
    port = left[0].getsockname()[1]
    second = _pool(name, *[sock.dup() for sock in left])
    shares = second.shares(_bootstrap(workers))
    mine = [sock for share in shares for _, sock in share]
    assert _inodes(*left) <= _inodes(*mine)
    assert {sock.getsockname()[1] for sock in mine} == {port}
    # One that joined beside the others takes no connections before its worker does.
    listening = [s for s in mine if s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)]
    assert _inodes(*listening) == _inodes(*left)
    second.close()
    first.close()


def test_left_sockets_that_nobody_wants_are_closed() -> None:
    first = ListenerPool()
    first.shares(_bootstrap(2))
    ((name, left),) = first.own().items()
    second = _pool(name, *[sock.dup() for sock in left])
    second.shares(_bootstrap(1, name="other"))
    assert len(second.all()) == 3
    second.close_unwanted()
    assert len(second.all()) == 1
    second.close()
    first.close()


def test_a_left_port_of_a_gateway_is_taken_one_a_worker() -> None:
    with socket.socket() as one, socket.socket() as two:
        place = ("0.0.0.0", 443)
        pool = _pool(kept_name(place), one, two)
        assert [pool.take_kept(place, 1) for _ in range(3)] == [[one], [two], []]
        assert pool.take_kept(("0.0.0.0", 80)) == []


@pytest.mark.parametrize(
    "place", [("::1", 443), ("unix:/run/egressd/gw.sock", 0), ("127.0.0.1#egress", 0)]
)
def test_a_left_name_is_one_that_the_manager_takes(place: tuple[str, int]) -> None:
    name = kept_name(place)
    assert ":" not in name
    assert name.isascii() and name.isprintable()


def test_the_line_carries_words_and_its_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    owner, candidate = TakeoverLine(ours), TakeoverLine(theirs)
    assert owner.hear() is None
    candidate.say(Word.READY)
    candidate.say(Word.FAILED, "no")
    theirs.send(b'{"word": "of a later version", "more": 1}')
    theirs.send(b"\xff")
    theirs.send(b'{"word": "mine", "more": 1}')
    heard = [owner.hear() for _ in range(5)]
    assert heard == [(Word.READY, ""), (Word.FAILED, "no"), None, None, (Word.MINE, "")]
    candidate.close()
    assert owner.hear() == (Word.GONE, "")
    owner.say(Word.YOURS)  # lost, and no harm
    owner.close()


def test_a_candidate_finds_its_line_and_locks() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lock = os.open("/", os.O_RDONLY)
    environ = {VARIABLE: f"1:{theirs.detach()}:{lock}", "PATH": "/"}
    found = candidacy_from_environment(environ)
    assert found is not None
    assert environ == {"PATH": "/"}
    assert found.locks == [lock]
    found.line.say(Word.READY)
    assert TakeoverLine(ours).hear() == (Word.READY, "")
    found.line.close()
    ours.close()
    os.close(lock)
    assert candidacy_from_environment({}) is None
    with pytest.raises(ValueError, match="protocol"):
        candidacy_from_environment({VARIABLE: "2:9:10"})


@pytest.mark.parametrize(
    ("pid", "started_at", "state", "leaves"),
    [
        (7, 50.0, "ready", False),  # its own supervisor's last word
        (7, 50.0, "stopping", False),
        (7, 101.0, "ready", True),  # the same number, another process
        (8, 101.0, "ready", True),
        (8, 50.0, "ready", True),  # the owner that a candidate's workers wait for
        (8, 50.0, "upgrading", True),
        (8, 101.0, "reloading", True),
        (8, 101.0, "stopping", True),
        (8, 101.0, "starting", False),
        (8, 101.0, "a state of a later version", False),
    ],
)
def test_a_worker_without_a_supervisor_leaves_for_the_next_one_that_serves(
    pid: int, started_at: float, state: str, leaves: bool
) -> None:
    status = SupervisorStatus(
        pid=pid,
        state=state,
        started_at=started_at,
        generation=1,
        config_path="",
        config_error="",
        admin_address="",
        worker_restarts=0,
        registry_restarts=0,
        listeners=(),
        children=(),
    )
    assert has_successor(status, supervisor=7, gone_at=100.0) is leaves


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


async def test_the_next_supervisor_gets_what_workers_listen_on_and_it_has_not(
    tmp_path: Path,
) -> None:
    had, new = listening(tmp_path / "a"), listening(tmp_path / "b")
    many = [(f"kept-{at}", socket.socket(socket.AF_UNIX)) for at in range(250)]
    (tmp_path / "orphan-1.sock").touch()
    killed = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    killed.bind(str(tmp_path / "orphan-2.sock"))
    killed.close()
    with had, new:
        own = [("kept-a", had), ("kept-b", new), ("kept-b", new), *many]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hand_out, str(tmp_path), lambda: own)
            await trio.testing.wait_all_tasks_blocked()
            found = await trio.to_thread.run_sync(ask_orphans, str(tmp_path), [("kept-a", had)])
            nursery.cancel_scope.cancel()
        wanted = [("kept-b", new), *many]
        assert [(name, inode(sock)) for name, sock in found] == [
            (name, inode(sock)) for name, sock in wanted
        ]
    assert not [name for name in os.listdir(tmp_path) if name.startswith("orphan")]
    for _, sock in (*found, *many):
        sock.close()


def test_a_run_directory_that_is_gone_asks_nobody(tmp_path: Path) -> None:
    assert ask_orphans(str(tmp_path / "absent"), []) == []


async def test_a_worker_without_a_place_to_hand_out_serves_on(tmp_path: Path) -> None:
    await hand_out(str(tmp_path / "absent"), list)


def test_a_left_socket_of_a_socket_unit_is_shared_by_all_workers() -> None:
    listener = ListenerConfig(name="egress", address="127.0.0.1", port=15001)
    with socket.socket() as one:  # without SO_REUSEPORT nobody can listen beside it
        pool = _pool(kept_name(("127.0.0.1", 15001)), one)
        shares = pool.shares(Bootstrap(workers=3, listeners=(listener,)))
        assert shares == [(("egress", one),)] * 3


def test_a_worker_that_is_ready_after_its_supervisor_was_killed_serves_on() -> None:
    nobody, ready = os.pipe()
    os.close(nobody)
    line = Lifeline(Inherited((), (), -1, -1, None, {READY_FD: ready}))
    line.ready()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ready)


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def candidate(
    tmp_path: Path, selector: selectors.BaseSelector
) -> Iterator[tuple[Succession, TakeoverLine]]:
    """With the owner's end of its line."""
    run_dir = str(tmp_path / "run")
    admin = AdminConfig(address=f"unix:{tmp_path}/admin")
    bootstrap = Bootstrap(run_dir=run_dir, state_dir=run_dir, admin=admin)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    owner = TakeoverLine(ours)
    with closing(Holdings(bootstrap, {})) as holdings, closing(owner):
        entries = Entries(lambda *_: None, lambda *_: None)
        fleet = Fleet(holdings, entries, selector, lambda: None)
        candidacy = Candidacy(TakeoverLine(theirs), [])
        yield Succession(fleet, holdings, Notifier(), selector, candidacy), owner


def test_a_candidate_s_worker_does_not_hold_the_line(
    candidate: tuple[Succession, TakeoverLine],
) -> None:
    """It outlives its supervisor, whose end the owner must hear."""
    succession, owner = candidate
    succession.leave_behind()
    assert owner.hear() == (Word.GONE, "")


def test_a_candidate_that_is_told_to_stop_says_so(
    candidate: tuple[Succession, TakeoverLine],
) -> None:
    succession, owner = candidate
    succession.cancel()
    assert owner.hear() == (Word.FAILED, "it was told to stop")
    assert owner.hear() == (Word.GONE, "")


def test_an_owner_s_worker_does_not_hold_the_line(selector: selectors.BaseSelector) -> None:
    """A candidate that does not hear of its owner's end waits for ever, with the node's locks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    upgrade = Upgrade(["true"], lambda: Inheritance([], [], {}), selector, now=0.0)
    upgrade._line = TakeoverLine(ours)
    upgrade._check.wait()
    with closing(TakeoverLine(theirs)) as candidate:
        upgrade.leave_behind()
        assert candidate.hear() == (Word.GONE, "")


def test_who_asks_during_an_upgrade_that_fails_has_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no second try follows that nobody waits for."""
    run_dir = str(tmp_path / "run")
    admin = AdminConfig(address=f"unix:{tmp_path}/admin")
    listener = ListenerConfig(name="egress", port=0)
    bootstrap = Bootstrap(
        run_dir=run_dir, state_dir=run_dir, admin=admin, workers=1, listeners=(listener,)
    )
    entries = Entries(lambda *_: None, lambda *_: None)
    supervisor = Supervisor(bootstrap, entries, lambda: bootstrap, environ={})
    try:
        supervisor._upgrade_wanted = True
        monkeypatch.setattr(supervisor._succession, "proceed", lambda *_: Turn.STAYS)
        supervisor._proceed_upgrade(0.0)
        assert not supervisor._upgrade_wanted
    finally:
        supervisor._close()
