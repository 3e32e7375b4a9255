"""A registry lost its state, and the instances come back one by one: what is held stays where it was."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.consul import ConsulAgent
from integration.servers.etcd import EtcdCluster
from integration.servers.eureka import Eureka


class Registry(Protocol):
    """A registry with a service `web`."""

    host: str

    def adapter(self) -> dict[str, object]: ...

    def register(self, origin: Origin, protocol: str = "") -> None: ...

    def lose_state(self) -> None: ...


@dataclass
class OfConsul:
    agent: ConsulAgent
    host = "web.service.consul"

    def adapter(self) -> dict[str, object]:
        return {"type": "consul", "options": {"address": self.agent.address, "maxBackoff": "300ms"}}

    def register(self, origin: Origin, protocol: str = "") -> None:
        meta = {"protocol": protocol} if protocol else {}
        self.agent.register(
            "web", origin.port, address=origin.address, service_id=origin.name, meta=meta
        )

    def lose_state(self) -> None:
        self.agent.kill()
        self.agent.start()


@dataclass
class OfEtcd:
    etcd: EtcdCluster
    host = "web.example.com"

    def adapter(self) -> dict[str, object]:
        options = {"endpoints": self.etcd.endpoints, "prefix": "/skydns/", "layout": "skydns"}
        return {"type": "etcd", "options": options}

    def register(self, origin: Origin, protocol: str = "") -> None:
        value = {"host": origin.address, "port": origin.port, "weight": 50}
        self.etcd.put(f"/skydns/com/example/web/{origin.name}", json.dumps(value))

    def lose_state(self) -> None:
        self.etcd.kill()
        self.etcd.lose_state()
        self.etcd.start()


@dataclass
class OfEureka:
    eureka: Eureka
    host = "web.eureka"

    def adapter(self) -> dict[str, object]:
        self.eureka.age(3600)  # it has run for long
        return {"type": "eureka", "options": {"servers": [self.eureka.url], "interval": "100ms"}}

    def register(self, origin: Origin, protocol: str = "") -> None:
        self.eureka.register(
            "web",
            origin.port,
            instance_id=origin.name,
            ipAddr=origin.address,
            metadata={"protocol": protocol} if protocol else {},
        )

    def lose_state(self) -> None:
        self.eureka.restart()


@pytest.fixture(params=["consul", "etcd", "eureka"])
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "consul":
        with ConsulAgent(tmp_path / "consul") as agent:
            yield OfConsul(agent)
    elif request.param == "etcd":
        with EtcdCluster(tmp_path / "etcd") as etcd:
            yield OfEtcd(etcd)
    else:
        with Eureka() as eureka:
            yield OfEureka(eureka)


@pytest.mark.parametrize("protocol", ["", "grpc"])
def test_held_instances_stay_where_they_were(
    registry: Registry, protocol: str, tmp_path: Path
) -> None:
    """w1 and w2 listen at another port than w0, which alone is back; a trap is where they would be
    called at its port."""
    with contextlib.ExitStack() as stack:
        w0 = stack.enter_context(Origin("w0"))
        w1 = stack.enter_context(Origin("w1", address="127.0.0.2"))
        w2 = stack.enter_context(Origin("w2", address="127.0.0.3", port=w1.port))
        traps = [
            stack.enter_context(Origin("trap", address=each.address, port=w0.port))
            for each in (w1, w2)
        ]
        for each in (w0, w1, w2):
            registry.register(each)
        adapters = [{"name": "registry", **registry.adapter()}]
        node = stack.enter_context(Node(tmp_path / "node", adapters=adapters, resources=[]))

        def reached() -> set[bytes]:
            return {node.get(registry.host)[2] for _ in range(40)}

        eventually(lambda: reached() == {b"w0", b"w1", b"w2"})
        registry.lose_state()
        registry.register(w0, protocol)
        eventually(lambda: "ALARM" in node.cli("status").stdout, 30)
        for _ in range(5):
            assert reached() == {b"w0", b"w1", b"w2"}
        node.stop()
        node.start()  # what is held outlives the node
        assert reached() == {b"w0", b"w1", b"w2"}
        assert not any(trap.seen for trap in traps)
        if not protocol:
            node.cli("registry", "confirm", "registry")
            eventually(lambda: reached() == {b"w0"})
