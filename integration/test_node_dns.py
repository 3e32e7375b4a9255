"""A node that lives on DNS, by its adapter and by `resolution: DNS`, while its name server has bad days.

In each case traffic goes on, a metric and a log line say what happened, and recovery needs no hand.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.dns import Mode, NameServer
from integration.servers.dnsmasq import Dnsmasq
from integration.traffic import Traffic

HERE = ["127.0.0.1"]
HOSTS = {"a.test": HERE, "b.test": HERE, "c.test": HERE, "d.test": HERE}
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
  resolution: {resolution}
"""
ALL = ("a.internal", "s.internal", "c.test", "d.test")
WITHIN_S = 40.0


@dataclass
class Ground:
    """A node, and the name server that it asks."""

    node: Node
    server: Dnsmasq
    logged: int = 0

    def metric(self, name: str) -> float:
        text = self.node.admin("/metrics")[1].decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    @property
    def failing(self) -> tuple[float, float, float]:
        """Names that workers cannot resolve, problems of the adapter, whether it fails as a whole."""
        return (
            self.metric("egressd_dns_names_failing"),
            self.metric('egressd_adapter_problems{source="dns"}'),
            self.metric('egressd_adapter_failing{source="dns"}'),
        )

    def is_well(self) -> bool:
        return self.failing == (0, 0, 0)

    def is_ill(self, is_failing: int) -> bool:
        workers, problems, adapter = self.failing
        return workers >= 1 and problems >= 1 and adapter == is_failing

    def new_log(self) -> str:
        """The log since the last time."""
        text = self.node.log()
        new, self.logged = text[self.logged :], len(text)
        return new


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    directory = tmp_path_factory.mktemp("dns")
    with Origin("there") as origin:
        srv = f"srv-host=_http._tcp.web.test,b.test,{origin.port},10,5"
        names = [
            {"host": "a.internal", "query": "a.test", "targetPort": origin.port},
            {"host": "s.internal", "query": "_http._tcp.web.test", "type": "SRV"},
        ]
        with Dnsmasq(directory / "dnsmasq", HOSTS, config=[srv]) as server:
            options = {"nameservers": [server.address], "names": names}
            resources = {
                f"{host}.yaml": ENTRY.format(host=host, port=origin.port, resolution=resolution)
                for host, resolution in (("c.test", "DNS"), ("d.test", "DNS_ROUND_ROBIN"))
            }
            with Node(
                directory,
                resources,
                workers=1,
                dns={"nameservers": [server.address]},
                adapters=[{"type": "dns", "options": options}],
            ) as node:
                eventually(lambda: all(node.get(host)[0] == 200 for host in ALL))
                yield Ground(node, server)


@contextlib.contextmanager
def stopped(ground: Ground) -> Iterator[None]:
    ground.server.stop()
    yield
    ground.server.start()


@contextlib.contextmanager
def hanging(ground: Ground) -> Iterator[None]:
    ground.server.pause()
    yield
    ground.server.resume()


@contextlib.contextmanager
def without_state(ground: Ground) -> Iterator[None]:
    ground.server.set_hosts({})
    yield
    ground.server.set_hosts(HOSTS)


@contextlib.contextmanager
def half_gone(ground: Ground) -> Iterator[None]:
    ground.server.set_hosts({"b.test": HERE, "c.test": HERE})
    yield
    ground.server.set_hosts(HOSTS)


def replaced(mode: Mode) -> Callable[[Ground], AbstractContextManager[None]]:
    """Another server in its place, which misbehaves."""

    @contextlib.contextmanager
    def disturb(ground: Ground) -> Iterator[None]:
        ground.server.stop()
        with NameServer({}, port=ground.server.port, mode=mode):
            yield
        ground.server.start()

    return disturb


CASES = [
    ("outage", stopped, 1, "name server does not answer"),
    ("silence", hanging, 1, "name server does not answer"),
    ("lost state", without_state, 0, "nxdomain: no records any more"),
    ("half of the names gone", half_gone, 0, "nxdomain: no records any more"),
    ("servfail", replaced("servfail"), 1, "SERVFAIL from 127.0.0.1"),
    ("permission denied", replaced("refused"), 1, "REFUSED from 127.0.0.1"),
    ("garbage", replaced("garbage"), 1, "only malformed or foreign answers"),
]


@pytest.mark.parametrize(
    ("disturb", "is_failing", "line"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_traffic_goes_on_while_names_cannot_be_resolved(
    ground: Ground,
    disturb: Callable[[Ground], AbstractContextManager[None]],
    is_failing: int,
    line: str,
) -> None:
    eventually(ground.is_well, WITHIN_S)
    ground.new_log()
    with Traffic(ground.node, *ALL) as traffic:
        with disturb(ground):
            eventually(lambda: ground.is_ill(is_failing), WITHIN_S)
            assert traffic.goes_on()
        eventually(ground.is_well, WITHIN_S)
        assert traffic.goes_on()
    log = ground.new_log()
    assert line in log
    assert "name resolved again" in log


def test_a_restart_is_not_noticed(ground: Ground) -> None:
    eventually(ground.is_well, WITHIN_S)
    with Traffic(ground.node, *ALL) as traffic:
        ground.server.restart()
        assert traffic.goes_on()
        eventually(ground.is_well, WITHIN_S)


def test_slow_answers_are_waited_for(ground: Ground) -> None:
    eventually(ground.is_well, WITHIN_S)
    ground.server.stop()
    table = {name: list(addresses) for name, addresses in HOSTS.items()}
    with Traffic(ground.node, *ALL) as traffic:
        with NameServer(table, port=ground.server.port, mode="slow") as slow:
            eventually(lambda: slow.asked > 8, WITHIN_S)
            assert ground.is_well()
            assert traffic.goes_on()
        ground.server.start()


def test_a_node_starts_while_its_name_server_is_away(ground: Ground) -> None:
    """The store, and for workers a file, have what servers said before: nothing is forgotten."""
    eventually(ground.is_well, WITHIN_S)
    ground.server.stop()
    ground.node.stop()
    ground.node.start()
    with Traffic(ground.node, *ALL) as traffic:
        assert traffic.goes_on()
        eventually(lambda: ground.failing[2] == 1, WITHIN_S)
        ground.server.start()
        eventually(ground.is_well, WITHIN_S)
        assert traffic.goes_on()


def test_a_second_server_takes_over_and_changes_go_on(tmp_path: Path) -> None:
    with (
        Origin("there") as origin,
        Dnsmasq(tmp_path / "one", HOSTS) as one,
        Dnsmasq(tmp_path / "two", HOSTS) as two,
    ):
        servers = [one.address, two.address]
        name = {"host": "a.internal", "query": "a.test", "targetPort": origin.port}
        node = Node(
            tmp_path / "node",
            {"c.yaml": ENTRY.format(host="c.test", port=origin.port, resolution="DNS")},
            workers=1,
            dns={"nameservers": servers},
            adapters=[{"type": "dns", "options": {"nameservers": servers, "names": [name]}}],
        )
        with node, Traffic(node, "a.internal", "c.test") as traffic:
            one.pause()
            assert traffic.goes_on()
            two.set_hosts({"a.test": ["127.0.0.1", "127.0.0.99"], "c.test": HERE})
            eventually(lambda: b"127.0.0.99" in node.admin("/clusters")[1], WITHIN_S)
            one.resume()


def test_a_name_of_both_families_is_reached_by_the_one_that_answers(tmp_path: Path) -> None:
    """The origin listens on IPv4 only; no attempt may be counted as failed for that."""
    with Origin("there") as origin, NameServer({"x.test": ["::1", "127.0.0.1"]}) as server:
        resources = {
            "x.yaml": ENTRY.format(host="x.test", port=origin.port, resolution="DNS")
            + "---\n"
            + ENTRY.format(host="y.test", port=origin.port, resolution="DNS_ROUND_ROBIN").replace(
                "  resolution", "  endpoints: [{address: x.test}]\n  resolution"
            )
        }
        dns = {"nameservers": [server.address]}
        with Node(tmp_path, resources, workers=1, dns=dns) as node:
            assert [node.get(host)[0] for host in ("x.test", "y.test") * 10] == [200] * 20
            metrics = node.admin("/metrics")[1].decode()
            failures = re.findall(
                r"egressd_upstream_connect_failures_total\{[^}]*\} (\S+)", metrics
            )
            assert [float(one) for one in failures] == [0.0, 0.0]
