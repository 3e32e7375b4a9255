"""Three nodes that share resources in a real store: etcd, and Consul KV."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from egressd.cli.main import main
from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.servers.consul import ConsulAgent
from integration.servers.etcd import EtcdCluster

HOST = "a.example"


def route(name: str, host: str, to: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{host}]
  http: [{{route: [{{destination: {{host: {to}}}}}]}}]
"""


@dataclass
class Fleet:
    """Three nodes, one store, two origins that answer with their names."""

    nodes: list[Node]
    one: Origin
    two: Origin
    stop_store: Callable[[], None]
    start_store: Callable[[], None]
    lose_state: Callable[[], None]  # of the stopped store
    directory: Path

    def cli(self, *arguments: str, text: str = "", node: int = 0) -> tuple[int, str]:
        """A command of one of the nodes, in this process; `text` is its standard input."""
        if text:
            arguments = (*arguments, "-f", "-")
        environment = {"EGRESSD_CONFIG": str(self.nodes[node].config)}
        done = CliRunner().invoke(main, arguments, input=text, env=environment)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.output

    def apply(self, *texts: str, node: int = 0) -> str:
        """An apply that must succeed."""
        code, output = self.cli("apply", text="\n---\n".join(texts), node=node)
        assert code == 0, output
        return output

    def answers(self, host: str = HOST) -> list[str]:
        """Who answers on each node, or the status."""
        got = [node.get(host) for node in self.nodes]
        return [body.decode() if status == 200 else str(status) for status, _, body in got]

    def all_answer(self, who: str, host: str = HOST) -> None:
        """Wait until all nodes do."""
        eventually(lambda: self.answers(host) == [who] * 3, 20)

    def states(self) -> dict[str, tuple[str, int]]:
        """State and version of each node."""
        _, output = self.cli("fleet", "status", "-o", "json")
        return {n["node"]: (n["state"], n["version"]) for n in json.loads(output)["nodes"]}

    def version(self) -> int:
        return int(json.loads(self.cli("fleet", "status", "-o", "json")[1])["version"])

    def all_current(self) -> None:
        """Wait until all nodes say that they run the newest version."""
        expected = {f"node-{n}": ("current", self.version()) for n in range(3)}
        eventually(lambda: self.states() == expected, 30)


@pytest.fixture(scope="module", params=["etcd", "consul"])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        if request.param == "etcd":
            cluster = stack.enter_context(EtcdCluster(directory / "etcd", size=3))
            options: dict[str, object] = {"endpoints": cluster.endpoints}
            stop, start, lose = cluster.stop, cluster.start, cluster.lose_state
        else:
            agent = stack.enter_context(ConsulAgent(directory / "consul", persistent=True))
            options = {"address": agent.address}
            stop, start = agent.stop, agent.start
            lose = partial(shutil.rmtree, directory / "consul" / "data")
        shared = {"store": request.param, "prefix": "test/fleet", "options": options}
        one, two = stack.enter_context(Origin("one")), stack.enter_context(Origin("two"))
        nodes = [
            Node(
                directory / f"node-{number}",
                workers=1,
                node={"id": f"node-{number}"},
                adapters=[
                    {
                        "name": "fleet",
                        "type": "fleet",
                        "options": {**shared, "statusInterval": "2s"},
                    }
                ],
            )
            for number in range(3)
        ]
        for node in nodes:
            stack.enter_context(node)
        made = Fleet(nodes, one, two, stop, start, lose, directory)
        made.apply(service_entry("a", one.port), service_entry("b", two.port))
        made.all_answer("one")
        yield made


@pytest.fixture(autouse=True)
def clean(fleet: Fleet) -> None:
    """Every test begins with two services and no routes."""
    texts = (service_entry("a", fleet.one.port), service_entry("b", fleet.two.port))
    code, output = fleet.cli("apply", "--prune", text="\n---\n".join(texts))
    assert code == 0, output
    fleet.all_answer("one")


def test_apply_on_one_node_changes_routing_on_three(fleet: Fleet) -> None:
    fleet.all_current()
    assert "virtualservice/default/r created" in fleet.apply(route("r", HOST, "b.example"), node=1)
    written = time.monotonic()
    fleet.all_answer("two")
    print(f"all nodes route by it {1000 * (time.monotonic() - written):.0f} ms after apply ended")
    fleet.all_current()
    assert "VirtualService/default/r" in fleet.cli("get", "vs", node=2)[1]
    code, output = fleet.cli("delete", "vs", "r", node=2)
    assert (code, "virtualservice/default/r deleted" in output) == (0, True)
    fleet.all_answer("one")


def test_what_is_not_valid_is_refused_before_it_is_written(fleet: Fleet) -> None:
    fleet.apply(route("r", HOST, "b.example"))
    fleet.all_answer("two")
    version = fleet.version()
    bad = route("s", "c.example", "a.example").replace("http:", "htpp:")
    for text, says in ((bad, "spec.htpp"), (route("again", HOST, "a.example"), "default/r has")):
        code, output = fleet.cli("apply", text=text)
        assert code == 1
        assert says in output
    assert fleet.version() == version
    assert fleet.answers() == ["two"] * 3


def test_what_one_node_rejects_shows_and_runs_elsewhere(fleet: Fleet) -> None:
    stubborn = fleet.nodes[2]
    stubborn.write("own.yaml", route("own", HOST, "a.example"))
    eventually(lambda: b'"own"' in stubborn.admin("/registry")[1])
    fleet.apply(route("r", HOST, "b.example"))
    eventually(lambda: fleet.answers() == ["two", "two", "one"], 20)
    eventually(lambda: fleet.states()["node-2"][0] == "rejects", 20)
    shown = stubborn.cli("fleet", "status")
    assert shown.returncode == 1
    output = shown.stdout
    assert "node-2: VirtualService/default/r, revision" in output
    assert "VirtualService/default/own has it and keeps it" in output
    assert {fleet.states()[f"node-{n}"][0] for n in (0, 1)} == {"current"}
    (stubborn.resources / "own.yaml").unlink()
    fleet.all_answer("two")
    fleet.all_current()
    assert fleet.cli("fleet", "status")[0] == 0


def test_rollback_restores_what_was(fleet: Fleet) -> None:
    before = fleet.version()
    fleet.apply(route("r", HOST, "b.example"))
    fleet.all_answer("two")
    fleet.apply(route("r", HOST, "a.example"), service_entry("c", fleet.two.port))
    fleet.all_answer("one")
    code, output = fleet.cli("rollback")
    assert code == 0, output
    fleet.all_answer("two")
    fleet.all_answer("502", "c.example")
    code, output = fleet.cli("rollback", str(before))
    assert code == 0, output
    fleet.all_answer("one")
    assert "rollback to version" in fleet.cli("rollback", "--list")[1]


def test_two_appliers_at_once_lose_nothing(fleet: Fleet) -> None:
    done: list[subprocess.CompletedProcess[str]] = []

    def apply(number: int) -> None:
        file = fleet.directory / f"s{number}.yaml"
        file.write_text(service_entry(f"s{number}", fleet.one.port))
        done.append(fleet.nodes[number].cli("apply", "-f", str(file)))

    threads = [Thread(target=apply, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.returncode for one in done] == [0, 0], done
    for number in range(2):
        fleet.all_answer("one", f"s{number}.example")


def test_who_writes_back_what_somebody_changed_is_refused(fleet: Fleet) -> None:
    fleet.apply(route("r", HOST, "b.example"))
    _, read = fleet.cli("get", "vs", "r", "-o", "yaml")
    fleet.apply(route("r", HOST, "a.example"), node=1)
    code, output = fleet.cli("apply", text=read.replace("host: b.example", "host: c.example"))
    assert code == 1
    assert "somebody changed VirtualService/default/r since you read it" in output
    assert "host: a.example" in fleet.cli("get", "vs", "r", "-o", "yaml")[1]


def test_an_outage_of_the_store_changes_nothing_and_heals(fleet: Fleet) -> None:
    fleet.apply(route("r", HOST, "b.example"))
    fleet.all_answer("two")
    fleet.stop_store()
    restarted = fleet.nodes[0]
    restarted.stop()
    restarted.start()  # with what it knew
    for _ in range(20):
        assert fleet.answers() == ["two"] * 3
    code, output = fleet.cli("apply", text=route("r", HOST, "a.example"))
    assert code == 1
    assert "127.0.0.1" in output
    assert fleet.answers() == ["two"] * 3
    fleet.start_store()
    eventually(lambda: fleet.cli("apply", text=route("r", HOST, "a.example"))[0] == 0, 30)
    fleet.all_answer("one")
    fleet.all_current()


@pytest.mark.parametrize("fleet", ["consul"], indirect=True)
def test_a_dead_node_is_stale(fleet: Fleet) -> None:
    fleet.all_current()
    node = fleet.nodes[1]
    node.stop()
    try:
        eventually(lambda: fleet.states()["node-1"][0] == "stale", 30)
        assert fleet.states()["node-0"][0] == "current"
    finally:
        node.start()
    fleet.all_current()


def test_a_store_that_lost_its_state_takes_nothing_away(fleet: Fleet) -> None:
    fleet.apply(route("r", HOST, "b.example"))
    fleet.all_answer("two")
    fleet.stop_store()
    fleet.lose_state()
    fleet.start_store()
    told = b"found no version and no resources"
    for node in fleet.nodes:
        eventually(lambda node=node: told in node.admin("/status")[1], 30)
    assert fleet.answers() == ["two"] * 3
    texts = (service_entry("a", fleet.one.port), service_entry("b", fleet.two.port))
    fleet.apply(*texts, route("r", HOST, "b.example"))  # the operator has files
    fleet.all_current()
    assert fleet.answers() == ["two"] * 3
    fleet.apply(route("r", HOST, "a.example"))
    fleet.all_answer("one")
