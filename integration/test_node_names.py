"""Names that one worker of a node knows, all know, also while the name server is silent."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.dns import NameServer
from integration.traffic import Traffic

HOSTS = [f"n{number}.test" for number in range(12)]
ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: names}}
spec:
  hosts: [{hosts}]
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]
  resolution: DNS
"""


@dataclass
class Ground:
    node: Node
    server: NameServer


@pytest.fixture(params=[1, 60], ids=["stale", "fresh"])
def ground(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Ground]:
    """Two workers, and names none of which was asked for yet."""
    table = {host: ["127.0.0.1"] for host in HOSTS}
    with Origin("there") as origin, NameServer(table, ttl_s=request.param) as server:
        entries = [
            ENTRY.replace("names}", f"n{number}}}").format(hosts=host, port=origin.port)
            for number, host in enumerate(HOSTS)
        ]
        node = Node(
            tmp_path / "node",
            {"names.yaml": "---\n".join(entries)},
            workers=2,
            dns={"nameservers": [server.address]},
        )
        with node:
            eventually(lambda: node.get(HOSTS[0])[0] == 200)
            yield Ground(node, server)


def test_what_one_worker_knows_both_know(ground: Ground) -> None:
    node, server = ground.node, ground.server
    assert [node.get(host)[0] for host in HOSTS] == [200] * len(HOSTS)  # some worker asked once
    server.mode = "silent"
    with Traffic(node, *HOSTS, pause_s=0) as traffic:  # each request on a connection of its own
        assert traffic.goes_on(len(HOSTS) * 20)
        eventually(lambda: server.asked > 0)


def test_a_killed_worker_forgets_no_name(ground: Ground) -> None:
    node, server = ground.node, ground.server
    assert [node.get(host)[0] for host in HOSTS] == [200] * len(HOSTS)
    server.mode = "silent"
    for index in (0, 1, 0, 1):
        before = node.pids("worker")
        os.kill(before[index], signal.SIGKILL)
        eventually(lambda i=index, b=before: node.pids("worker").get(i, b[i]) != b[i])
        for _ in range(10):
            assert [node.get(host)[0] for host in HOSTS] == [200] * len(HOSTS)


def test_names_are_asked_for_once_a_node_and_change_everywhere(ground: Ground) -> None:
    node, server = ground.node, ground.server
    with Traffic(node, *HOSTS) as traffic:
        assert traffic.goes_on(len(HOSTS) * 10)
        if server.ttl_s > 1:  # every worker has used every name: who asked, asked for A and AAAA
            assert server.asked <= 2 * len(HOSTS) * 1.5
        server.mode = "silent"
        assert traffic.goes_on(len(HOSTS) * 10)
        server.mode = "well"
        assert traffic.goes_on(len(HOSTS) * 10)
