"""A running node whose Consul has bad days: traffic that worked goes on working, recovery needs no
hand, log and metrics say what happened."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.consul import ConsulAgent
from integration.servers.interposer import Interposer, garbage
from integration.traffic import Traffic

TOKEN = "8b1247ab-9f6b-4a9c-8a5e-5f7a3c2d1e0f"
NAMES = [f"web-{number}" for number in range(24)]
HOSTS = [f"{name}.service.consul" for name in NAMES]
PATIENCE_S = 40.0


@dataclass
class Fleet:
    """A node, its services, and Consul, behind a port that can be disturbed."""

    directory: Path
    consul: ConsulAgent
    between: Interposer
    node: Node
    origin: Origin
    token: Path

    def fill(self) -> None:
        """Consul as it should be."""
        for name in NAMES:
            self.consul.register(name, self.origin.port)

    def say_token(self, token: str) -> None:
        """Replace the token's file as operators do: never empty."""
        beside = self.token.with_suffix(".new")
        beside.write_text(token)
        beside.replace(self.token)

    def metric(self, name: str) -> float:
        prefix = f'egressd_adapter_{name}{{source="consul"}} '.encode()
        lines = self.node.admin("/metrics")[1].splitlines()
        return float(next(line for line in lines if line.startswith(prefix)).split()[-1])

    def serves(self, host: str) -> bool:
        return self.node.get(host)[0] == 200


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("consul")
    token = directory / "token"
    token.write_text(TOKEN)
    with contextlib.ExitStack() as stack:
        consul = ConsulAgent(directory / "agent", persistent=True, token=TOKEN)
        stack.enter_context(consul)
        between = stack.enter_context(Interposer(consul.port))
        origin = stack.enter_context(Origin("origin"))
        options = {
            "address": between.address,
            "tokenFile": str(token),
            "requestTimeout": "1s",
            "wait": "2s",
            "maxBackoff": "300ms",
        }
        adapter = {"type": "consul", "options": options}
        node = Node(directory / "node", adapters=[adapter], resources=[], log={"format": "json"})
        fleet = Fleet(directory, consul, between, node, origin, token)
        fleet.fill()
        stack.enter_context(node)
        yield fleet


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """Everything is well at the start of each test."""
    running.fill()
    eventually(lambda: all(map(running.serves, HOSTS)), PATIENCE_S)
    eventually(lambda: running.metric("failing") == running.metric("held") == 0, PATIENCE_S)
    return running


def _down(fleet: Fleet) -> None:
    fleet.between.disturb(down=True)


def _restart(fleet: Fleet) -> None:
    fleet.consul.kill()


def _slow(fleet: Fleet) -> None:
    fleet.between.disturb(delay_s=2, cut=True)


def _silent(fleet: Fleet) -> None:
    fleet.between.disturb(silent=True)


def _garbage(fleet: Fleet) -> None:
    fleet.between.disturb(rewrite=garbage, cut=True)


def _no_json(fleet: Fleet) -> None:
    fleet.between.disturb(rewrite=lambda data: data.replace(b'"', b"?"), cut=True)


def _unknown_token(fleet: Fleet) -> None:
    fleet.say_token("11111111-2222-3333-4444-555555555555")


def _well(fleet: Fleet) -> None:
    fleet.say_token(TOKEN)
    fleet.between.disturb(cut=True)
    with contextlib.suppress(Exception):
        fleet.consul.request("GET", "/v1/status/leader")
        return
    fleet.consul.start()


@pytest.mark.parametrize(
    ("disturb", "says"),
    [
        (_down, "closed without an answer"),
        (_restart, "closed without an answer|Connection re"),
        (_slow, "silent for 1 s"),
        (_silent, "silent for"),
        (_garbage, "illegal|silent for|malformed"),
        (_no_json, "JSON is malformed|invalid"),
        (_unknown_token, "ACLPermissionDenied: ACL not found"),
    ],
)
def test_an_outage_of_any_kind_changes_nothing(
    fleet: Fleet, disturb: Callable[[Fleet], None], says: str
) -> None:
    mark, errors = len(fleet.node.log()), fleet.metric("errors_total")
    with Traffic(fleet.node, *HOSTS[1:]) as traffic:
        disturb(fleet)
        eventually(lambda: fleet.metric("failing") == 1, PATIENCE_S)
        eventually(lambda: re.search(says, fleet.node.log()[mark:]), PATIENCE_S)
        assert fleet.metric("errors_total") > errors
        assert traffic.goes_on(2 * len(HOSTS))
        _well(fleet)
        eventually(lambda: fleet.metric("failing") == 0, PATIENCE_S)
        fleet.consul.deregister(NAMES[0])
        eventually(lambda: fleet.node.get(HOSTS[0])[0] == 502, PATIENCE_S)
        assert traffic.goes_on(2 * len(HOSTS))
    assert "source recovered" in fleet.node.log()[mark:]


def _lost_state(fleet: Fleet) -> str:
    fleet.consul.stop()
    shutil.rmtree(fleet.directory / "agent" / "data")
    fleet.consul.start()
    return "went backwards"


def _lost_rights(fleet: Fleet) -> str:
    policy = {"Name": "none", "Rules": ""}
    fleet.consul.request("PUT", "/v1/acl/policy", policy)
    made = fleet.consul.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "none"}]})
    assert isinstance(made, dict)
    fleet.say_token(str(made["SecretID"]))
    return "may have lost its rights"


@pytest.mark.parametrize("lose", [_lost_state, _lost_rights])
def test_what_a_consul_does_not_show_any_more_is_kept(
    fleet: Fleet, lose: Callable[[Fleet], str]
) -> None:
    mark = len(fleet.node.log())
    with Traffic(fleet.node, *HOSTS) as traffic:
        says = lose(fleet)
        eventually(lambda: fleet.metric("held") >= len(HOSTS), PATIENCE_S)
        assert "mass loss held" in fleet.node.log()[mark:]
        assert says in fleet.node.log()[mark:]
        assert traffic.goes_on(2 * len(HOSTS))
        fleet.say_token(TOKEN)
        fleet.fill()
        eventually(lambda: fleet.metric("held") == 0, PATIENCE_S)
        assert "all is back" in fleet.node.log()[mark:]
        assert traffic.goes_on(2 * len(HOSTS))


def test_an_index_that_counts_backwards_loses_nothing(fleet: Fleet) -> None:
    mark = len(fleet.node.log())

    def backwards(data: bytes) -> bytes:
        return re.sub(rb"X-Consul-Index: \d+", b"X-Consul-Index: 3", data)

    with Traffic(fleet.node, *HOSTS) as traffic:
        fleet.between.disturb(rewrite=backwards)
        eventually(lambda: "went backwards" in fleet.node.log()[mark:], PATIENCE_S)
        fleet.consul.register("late", fleet.origin.port)
        eventually(lambda: fleet.serves("late.service.consul"), PATIENCE_S)
        fleet.between.disturb()
        fleet.consul.deregister("late")
        eventually(lambda: not fleet.serves("late.service.consul"), PATIENCE_S)
        assert traffic.goes_on(2 * len(HOSTS))
    assert fleet.metric("held") == 0


def test_a_service_that_is_deleted_and_made_again_is_back(fleet: Fleet) -> None:
    with Traffic(fleet.node, *HOSTS[1:]) as traffic:
        for _ in range(2):
            fleet.consul.deregister(NAMES[0])
            eventually(lambda: fleet.node.get(HOSTS[0])[0] == 502, PATIENCE_S)
            fleet.consul.register(NAMES[0], fleet.origin.port)
            eventually(lambda: fleet.serves(HOSTS[0]), PATIENCE_S)
        assert traffic.goes_on()


def test_half_of_all_services_are_believed_to_be_gone_at_the_second_look(fleet: Fleet) -> None:
    mark, holds = len(fleet.node.log()), fleet.metric("holds_total")
    with Traffic(fleet.node, *HOSTS[:8]) as traffic:
        fleet.between.disturb(silent=True)  # so that all are gone in one answer
        for name in NAMES[8:]:
            fleet.consul.deregister(name)
        fleet.between.disturb()
        eventually(lambda: fleet.metric("holds_total") == holds + 1, PATIENCE_S)
        eventually(lambda: fleet.node.get(HOSTS[9])[0] == 502, PATIENCE_S)
        assert "confirmed by another read" in fleet.node.log()[mark:]
        assert fleet.metric("held") == 0
        assert traffic.goes_on()
