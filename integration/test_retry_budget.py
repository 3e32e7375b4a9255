"""A storm of failing GETs that are retried, with and without the node's budget."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from integration.node import Node
from integration.origins import Origin, service_entry

CLIENTS = 40
EACH = 10
RETRIED = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example]
  http: [{retries: {attempts: 2, retryOn: "503"}, route: [{destination: {host: web.example}}]}]
"""


def storm(node: Node) -> None:
    """Clients that ask one after the other, all at a time."""

    def ask() -> None:
        for _ in range(EACH):
            assert node.get("web.example")[0] == 503

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("budget", "least", "most"), [(None, 2.5, 3.0), ({"percent": 20}, 1.0, 1.6)]
)
def test_a_budget_bounds_what_retries_add(
    tmp_path: Path, budget: dict[str, int] | None, least: float, most: float
) -> None:
    with Origin("web") as origin:
        origin.status, origin.delay_s = 503, 0.05
        resources = {"web.yaml": service_entry("web", origin.port), "routes.yaml": RETRIED}
        with Node(tmp_path, resources, retryBudget=budget) as node:
            storm(node)
            factor = len(origin.seen) / (CLIENTS * EACH)
            print(
                f"retry budget {budget}: {factor:.2f} requests at the origin for each of a client"
            )
            assert least <= factor <= most


def test_by_default_an_overloaded_origin_gets_each_request_once(tmp_path: Path) -> None:
    with Origin("web") as origin:
        origin.status = 503
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}) as node:
            assert node.get("web.example")[0] == 503
            assert len(origin.seen) == 1
