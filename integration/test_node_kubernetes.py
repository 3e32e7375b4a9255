"""A running node behind an API server that has bad days: traffic that worked goes on working, recovery
needs no hand, log and metrics say what happened."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.interposer import Interposer, garbage
from integration.servers.kubernetes import KubernetesDouble

COUNT = 12
MOVED = 5  # less than half: more at once would be a mass loss
HOSTS = [f"web-{number}.default.svc.cluster.local" for number in range(COUNT)]


@dataclass
class Cluster:
    """A node, its services, and the API server, behind a port that can be disturbed."""

    api: KubernetesDouble
    between: Interposer
    node: Node
    old: Origin
    new: Origin

    def fill(self, count: int = COUNT) -> None:
        """The first services as they should be."""
        for number in range(count):
            self.api.put_service(f"web-{number}")
            self.api.put_slice(f"web-{number}", self.old.port, name=f"web-{number}")

    def move(self) -> None:
        """Some services go to the new origin."""
        for number in range(MOVED):
            self.api.put_slice(f"web-{number}", self.new.port, name=f"web-{number}")

    def metric(self, name: str) -> float:
        prefix = f'egressd_adapter_{name}{{source="k8s"}} '.encode()
        lines = self.node.admin("/metrics")[1].splitlines()
        return float(next(line for line in lines if line.startswith(prefix)).split()[-1])

    def answers(self, moved: bytes) -> bool:
        """Every service answers, those that move with this."""
        wanted = [moved] * MOVED + [b"old"] * (COUNT - MOVED)
        return [self.node.get(host)[::2] for host in HOSTS] == [(200, each) for each in wanted]

    def events(self, mark: int) -> list[dict[str, str]]:
        """The log's whole lines behind a mark."""
        whole = self.node.log()[mark:].rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line[:1] == "{"]

    def reasons(self, mark: int) -> list[str]:
        """Why the source failed, since the mark."""
        found = self.events(mark)
        return [e["reason"] for e in found if e.get("event", "").startswith("source failed")]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("kube")
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(KubernetesDouble(directory))
        between = stack.enter_context(Interposer(api.port))
        old, new = (stack.enter_context(Origin(name)) for name in ("old", "new"))
        options = {
            "kubeconfig": api.kubeconfig(directory / "kubeconfig", "node", url=between.address),
            "watchTimeout": "1s",
            "requestTimeout": "1s",
            "maxBackoff": "300ms",
        }
        adapter = {"type": "kubernetes", "name": "k8s", "options": options}
        node = Node(directory / "node", adapters=[adapter], resources=[], log={"format": "json"})
        cluster = Cluster(api, between, node, old, new)
        cluster.fill()
        stack.enter_context(node)
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Iterator[Cluster]:
    """Everything is well at the start of each test."""
    running.between.disturb()
    running.api.forbidden.clear()
    running.fill()
    eventually(lambda: running.answers(b"old"), 30)
    eventually(lambda: running.metric("failing") == 0 and running.metric("held") == 0, 30)
    yield running


@contextlib.contextmanager
def traffic(cluster: Cluster) -> Iterator[list[str]]:
    """Requests all the while; what went wrong."""
    wrong: list[str] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            for host in HOSTS:
                status = cluster.node.get(host)[0]
                if status != 200:
                    wrong.append(f"{host}: {status}")
            time.sleep(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield wrong
    finally:
        ended.set()
        thread.join()


def _down(cluster: Cluster) -> None:
    cluster.between.disturb(down=True)


def _slow(cluster: Cluster) -> None:
    cluster.between.disturb(delay_s=3)


def _silent(cluster: Cluster) -> None:
    cluster.between.disturb(silent=True)


def _garbage(cluster: Cluster) -> None:
    cluster.between.disturb(rewrite=garbage)


def _denied(cluster: Cluster) -> None:
    cluster.api.forbidden |= {"services", "endpointslices"}


def _unauthorized(cluster: Cluster) -> None:
    cluster.api.node_token = "another"
    cluster.between.disturb(cut=True)


def _restored(cluster: Cluster) -> None:
    cluster.api.node_token = "node"
    cluster.between.disturb(cut=True)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (_down, "127.0.0.1"),
        (_slow, "silent for"),
        (_silent, "silent for"),
        (_garbage, "127.0.0.1"),
        (_denied, "forbidden"),
        (_unauthorized, "401 Unauthorized"),
    ],
)
def test_a_source_in_trouble_costs_no_request(
    cluster: Cluster, trouble: Callable[[Cluster], None], says: str
) -> None:
    mark = len(cluster.node.log())
    with traffic(cluster) as wrong:
        trouble(cluster)
        # The trouble itself, not what came just before it: a connection that was cut fails, too.
        eventually(lambda: any(says in one for one in cluster.reasons(mark)), 30)
        cluster.move()  # unseen: the node goes on with what it knows
        _restored(cluster)
        cluster.api.forbidden.clear()
        eventually(lambda: cluster.answers(b"new"), 30)
        eventually(lambda: cluster.metric("failing") == 0, 30)
    assert wrong == []
    eventually(lambda: any(e.get("event") == "source recovered" for e in cluster.events(mark)))


def test_an_api_server_restarts_with_an_expired_watch(cluster: Cluster) -> None:
    with traffic(cluster) as wrong:
        cluster.api.stop()
        eventually(lambda: cluster.metric("failing") == 1, 30)
        cluster.api.store.compact()
        cluster.api.start()
        cluster.move()
        eventually(lambda: cluster.answers(b"new"), 30)
    assert wrong == []


def test_an_api_server_that_lost_its_state_is_not_believed(cluster: Cluster) -> None:
    holds = cluster.metric("holds_total")
    with traffic(cluster) as wrong:
        cluster.api.lose_state()
        eventually(lambda: cluster.metric("held") == COUNT, 30)
        assert "lost state" in cluster.node.cli("status").stdout
        cluster.fill(COUNT // 2)
        eventually(lambda: cluster.metric("held") < COUNT, 30)
        assert cluster.answers(b"old")
        cluster.fill()
        eventually(lambda: cluster.metric("held") == 0, 30)
    assert wrong == []
    assert cluster.metric("holds_total") == holds + 1
    assert "mass loss held" in cluster.node.log()


def test_most_services_gone_at_once_are_looked_for_a_second_time(cluster: Cluster) -> None:
    holds = cluster.metric("holds_total")
    cluster.between.disturb(silent=True)
    for number in range(1, COUNT):
        cluster.api.delete_slice(f"web-{number}")
    cluster.between.disturb()
    eventually(lambda: cluster.metric("holds_total") == holds + 1, 30)
    eventually(lambda: cluster.node.get(HOSTS[1])[0] == 503, 30)
    assert "confirmed by another read" in cluster.node.log()
    assert cluster.node.get(HOSTS[0])[0] == 200
    assert cluster.metric("held") == 0


def test_a_service_is_deleted_and_created_again(cluster: Cluster) -> None:
    cluster.api.delete_slice("web-0")
    eventually(lambda: cluster.node.get(HOSTS[0])[0] == 503)
    cluster.api.delete_service("web-0")
    eventually(lambda: cluster.node.get(HOSTS[0])[0] == 502)
    cluster.api.put_service("web-0")
    cluster.api.put_slice("web-0", cluster.new.port, name="web-0")
    eventually(lambda: cluster.node.get(HOSTS[0])[::2] == (200, b"new"))


def test_a_node_that_starts_without_the_api_server_serves_what_it_knew(cluster: Cluster) -> None:
    cluster.between.disturb(down=True)
    cluster.node.stop()
    cluster.node.start()
    eventually(lambda: cluster.answers(b"old"))
    cluster.move()
    cluster.between.disturb()
    eventually(lambda: cluster.answers(b"new"), 30)
