"""A running node whose services come from Eureka: traffic on its bad days."""

from __future__ import annotations

from pathlib import Path

from integration.node import Node, eventually
from integration.origins import Origin
from integration.servers.eureka import Eureka
from integration.servers.interposer import Interposer, garbage

SERVICES = [f"svc-{number}" for number in range(12)]


def adapters(server: str) -> list[object]:
    """By application; and by virtual address, with hosts as Spring clients write them."""
    options = {"servers": [server], "interval": "100ms", "requestTimeout": "1s"}
    short = {"groupBy": "vip", "hosts": ["{name}"], "include": ["short-*"]}
    return [
        {"name": "eureka", "type": "eureka", "options": options},
        {"name": "short", "type": "eureka", "options": {**options, **short}},
    ]


def test_traffic_follows_eureka_and_survives_its_bad_days(tmp_path: Path) -> None:
    with Origin("a") as a, Origin("b") as b, Eureka() as eureka, Interposer(eureka.port) as between:
        owners = {
            name: eureka.register(name, a.port, vipAddress=f"{name},short-{name}")
            for name in SERVICES
        }
        eureka.age(3600)
        host = "svc-3.eureka"
        with Node(tmp_path, adapters=adapters(f"{between.address}/eureka"), resources=[]) as node:
            eventually(lambda: node.get(host)[2] == b"a")
            eventually(lambda: node.get("short-svc-3")[2] == b"a")
            other = eureka.register("svc-3", b.port)
            eventually(lambda: node.get(host)[2] == b"b")
            eureka.set_status("svc-3", owners["svc-3"], "OUT_OF_SERVICE")
            eventually(lambda: {node.get(host)[2] for _ in range(8)} == {b"b"})
            eureka.set_status("svc-3", owners["svc-3"], "")
            eureka.cancel("svc-3", other)
            eventually(lambda: {node.get(host)[2] for _ in range(8)} == {b"a"})

            def serves() -> None:
                assert {node.get(f"{name}.eureka")[0] for name in SERVICES} == {200}

            for trouble, reason in (
                ({"down": True}, "closed"),
                ({"silent": True}, "silent for 1 s"),
                ({"rewrite": garbage}, "eureka/apps"),
            ):
                seen = len(node.log())
                between.disturb(**trouble)  # type: ignore[arg-type]
                eventually(lambda s=seen, r=reason: r in node.log()[s:])  # type: ignore[misc]
                serves()
                between.disturb()
                eventually(lambda s=seen: "source recovered" in node.log()[s:])  # type: ignore[misc]
            eureka.is_ready = False
            eventually(lambda: "/apps: 403" in node.log())
            serves()
            eureka.is_ready = True
            eureka.restart()  # all that it knew is lost
            eventually(
                lambda: b'egressd_adapter_held{source="eureka"} 12.0' in node.admin("/metrics")[1]
            )
            assert "ALARM source eureka" in node.cli("status").stdout
            serves()
            for name in SERVICES:
                eureka.register(name, a.port)
            eventually(
                lambda: b'egressd_adapter_held{source="eureka"} 0.0' in node.admin("/metrics")[1]
            )
            serves()
            eureka.age(3600)
            for name in SERVICES[:11]:
                eureka.cancel(name, f"127.0.0.1:{name}:{a.port}")
            eventually(lambda: node.get("svc-0.eureka")[0] == 502, 30)  # a second read confirms
            assert node.get("svc-11.eureka")[0] == 200
            assert b'egressd_adapter_holds_total{source="eureka"}' in node.admin("/metrics")[1]
