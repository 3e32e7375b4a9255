"""A storm of failing GETs under the default retry policy, with and without the node's budget."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from integration.node import Node
from integration.origins import Origin, service_entry

CLIENTS = 40
EACH = 10


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
        resources = {"web.yaml": service_entry("web", origin.port)}
        with Node(tmp_path, resources, retryBudget=budget) as node:
            storm(node)
            factor = len(origin.seen) / (CLIENTS * EACH)
            print(
                f"retry budget {budget}: {factor:.2f} requests at the origin for each of a client"
            )
            assert least <= factor <= most
