"""A node on a three-member etcd that has every kind of bad day. Each time: traffic that worked goes
on, recovery needs no hand, a metric and the log say what happened."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.etcd import EtcdCluster
from integration.servers.interposer import Interposer, garbage

PREFIX = "/egressd/resources/"
USER = {"user": "node", "password": "secret"}
MANY = 40
DEADLINE_S = 40.0


class Stage:
    """The node, the cluster with a port in front of each member, and traffic to host `web.corp`."""

    def __init__(
        self, etcd: EtcdCluster, fronts: list[Interposer], node: Node, origin: Origin
    ) -> None:
        self.etcd = etcd
        self.fronts = fronts
        self.node = node
        self.origin = origin
        self.failed: list[object] = []
        self._log_seen = 0

    def entry(self, name: str) -> str:
        """A service whose only endpoint is the origin."""
        port = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": self.origin.port}
        spec = {
            "hosts": [f"{name}.corp"],
            "ports": [port],
            "resolution": "STATIC",
            "endpoints": [{"address": "127.0.0.1"}],
        }
        head = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
        return json.dumps({**head, "metadata": {"name": name}, "spec": spec})

    def put(self, *names: str) -> None:
        self.etcd.put_all({PREFIX + name: self.entry(name) for name in names})

    def disturb(self, **how: object) -> None:
        for front in self.fronts:
            front.disturb(**how)  # type: ignore[arg-type]

    def answers(self, name: str) -> int:
        return self.node.get(f"{name}.corp")[0]

    def hears(self, name: str) -> None:
        """What changes in etcd now comes to the node."""
        self.put(name)
        eventually(lambda: self.answers(name) == 200, DEADLINE_S)

    def metric(self, name: str) -> float:
        text = self.node.admin("/metrics")[1].decode()
        found = re.search(rf'^egressd_adapter_{name}{{source="etcd"}} (\S+)$', text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def until_metric(self, name: str, holds: Callable[[float], bool]) -> None:
        eventually(lambda: holds(self.metric(name)), DEADLINE_S)

    def until_log(self, words: str) -> None:
        """In the node's log since the test began."""
        eventually(lambda: words in self.node.log()[self._log_seen :], DEADLINE_S)

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """Requests without a pause; not one of them fails."""
        self._log_seen = len(self.node.log())
        ended = threading.Event()

        def send() -> None:
            while not ended.wait(0.01):
                try:
                    status: object = self.answers("web")
                except (OSError, http.client.HTTPException) as error:
                    status = error
                if status != 200:
                    self.failed.append(status)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
            time.sleep(0.2)
        finally:
            ended.set()
            sender.join()
        assert self.failed == []


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("etcd")
    with contextlib.ExitStack() as stack:
        etcd = stack.enter_context(EtcdCluster(directory, size=3))
        fronts = [stack.enter_context(Interposer(port)) for port in etcd.ports]
        origin = stack.enter_context(Origin("web"))
        options = {
            "endpoints": [front.address for front in fronts],
            "requestTimeout": "1s",
            "probeInterval": "500ms",
            "maxBackoff": "500ms",
            **USER,
        }
        adapters = [{"name": "etcd", "type": "etcd", "options": options}]
        node = Node(directory / "node", workers=1, adapters=adapters, resources=[])
        made = Stage(etcd, fronts, node, origin)
        made.put("web", *(f"s{number}" for number in range(MANY)))
        stack.enter_context(node)
        yield made


@pytest.fixture
def well(stage: Stage) -> Iterator[Stage]:
    """All is well again, all keys are there, and traffic flows."""
    stage.disturb()
    stage.etcd.start()
    stage.put("web", *(f"s{number}" for number in range(MANY)))
    stage.until_metric("failing", lambda failing: failing == 0)
    stage.until_metric("held", lambda held: held == 0)
    stage.until_metric("records", lambda records: records >= MANY + 1)
    eventually(lambda: stage.answers("web") == 200, DEADLINE_S)
    stage.failed.clear()
    with stage.traffic():
        yield stage


def test_only_the_registry_process_loads_grpc(well: Stage) -> None:
    assert well.node.process is not None
    forks, loads = well.node.process.pid, well.node.pids("registry")[0]
    assert ["cygrpc" in Path(f"/proc/{pid}/maps").read_text() for pid in (forks, loads)] == [
        False,
        True,
    ]


def test_outage_of_all(well: Stage) -> None:
    errors = well.metric("errors_total")
    well.etcd.kill()
    well.until_metric("failing", lambda failing: failing == 1)
    well.until_log("source failed, its last answer stands")
    assert well.metric("errors_total") > errors
    well.etcd.start()
    well.hears("after-outage")
    well.until_log("source recovered")
    assert well.metric("failing") == 0


@pytest.mark.parametrize("who", ["leader", "another"])
def test_one_member_dies(well: Stage, who: str) -> None:
    leader = well.etcd.leader()
    for member in [leader] if who == "leader" else set(well.etcd.members) - {leader}:
        well.etcd.kill(member)  # whichever the node talks to
        well.hears(f"without-{who}-{member}")
        well.etcd.start(member)
    assert well.metric("failing") == 0


def test_a_member_that_the_node_talks_to_is_named(well: Stage) -> None:
    for member in well.etcd.members:
        well.fronts[member].disturb(down=True)
        well.hears(f"past-{member}")
        if well.metric("problems"):
            break
        well.fronts[member].disturb()
    well.until_log("an answer; other members are asked meanwhile")
    assert well.metric("failing") == 0
    well.disturb()
    well.until_metric("problems", lambda problems: problems == 0)


def test_leader_moves(well: Stage) -> None:
    well.etcd.move_leader()
    well.hears("after-move")


def test_restart(well: Stage) -> None:
    well.etcd.kill()
    well.etcd.start()
    well.until_log("UNAVAILABLE")
    well.hears("after-restart")
    assert well.answers("s1") == 200


def test_restart_with_lost_state_and_a_revision_that_goes_backwards(well: Stage) -> None:
    well.etcd.kill()
    well.etcd.lose_state()
    well.etcd.start()
    well.until_log("lost its state")
    well.until_metric("held", lambda held: held >= MANY)
    well.hears("after-loss")
    assert well.answers("s1") == 200  # kept, though etcd no longer has it
    assert well.metric("holds_total") >= 1
    well.put("web", *(f"s{number}" for number in range(MANY)))  # registered again
    assert well.node.cli("registry", "confirm", "etcd").returncode == 0  # keys of other tests


def test_slow_answers(well: Stage) -> None:
    well.disturb(delay_s=0.15)
    well.hears("slowly")
    assert well.metric("failing") == 0


def test_silent_members(well: Stage) -> None:
    well.disturb(silent=True)
    well.until_metric("failing", lambda failing: failing == 1)
    well.until_log("DEADLINE_EXCEEDED")
    well.disturb()
    well.hears("after-silence")


def test_garbage_answers(well: Stage) -> None:
    well.disturb(rewrite=garbage)
    well.until_metric("failing", lambda failing: failing == 1)
    well.disturb()
    well.hears("after-garbage")


def test_compaction(well: Stage) -> None:
    well.disturb(down=True)
    well.until_metric("failing", lambda failing: failing == 1)
    well.etcd.delete(PREFIX + "s0")
    well.etcd.compact(well.etcd.put("/elsewhere", "x"))
    well.disturb()
    well.until_log("what changed is forgotten, listing again")
    eventually(lambda: well.answers("s0") == 502, DEADLINE_S)
    well.hears("after-compaction")


def test_deletion_and_creation_anew(well: Stage) -> None:
    well.etcd.delete(PREFIX + "s1")
    eventually(lambda: well.answers("s1") == 502, DEADLINE_S)
    well.hears("s1")


def test_half_of_all_keys_gone_at_once(well: Stage) -> None:
    holds = well.metric("holds_total")
    well.etcd.delete_prefix(PREFIX + "s")
    well.until_metric("holds_total", lambda count: count == holds + 1)
    well.until_log("kept")
    eventually(lambda: well.answers("s1") == 502, DEADLINE_S)  # a second read confirmed it
    well.until_metric("held", lambda held: held == 0)


def test_a_broken_value(well: Stage) -> None:
    well.etcd.put(PREFIX + "s2", "kind: ServiceEntry\nspec: {hosts: [s2.corp]")
    well.until_metric("problems", lambda problems: problems == 1)
    well.until_log(PREFIX + "s2")
    assert well.answers("s2") == 200


def test_passwords_come_and_permission_goes(well: Stage) -> None:
    etcd = well.etcd
    etcd.add_user("node", "secret", [PREFIX])
    etcd.enable_auth("rooted")
    well.hears("with-password")
    etcd.forbid("node", PREFIX)
    well.until_metric("failing", lambda failing: failing == 1)
    well.until_log("PERMISSION_DENIED")
    etcd.permit("node", PREFIX)
    well.hears("permitted")
    well.until_metric("failing", lambda failing: failing == 0)


def test_a_node_that_starts_without_etcd_serves_what_it_knew(well: Stage) -> None:
    well.etcd.kill()
    well.until_metric("failing", lambda failing: failing == 1)
    registry = well.node.pids("registry")[0]
    os.kill(registry, signal.SIGKILL)
    eventually(lambda: well.node.pids("registry").get(0, registry) != registry, DEADLINE_S)
    assert well.answers("s3") == 200
    well.etcd.start()
    well.hears("after-all")
