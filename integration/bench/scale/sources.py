"""Registries that hold many services for the benchmark, and can move an endpoint of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

from integration.servers.consul_double import ConsulDouble
from integration.servers.etcd import EtcdCluster

PROBES = 20
"""The first services have one healthy endpoint each: an answer tells at once which one was called."""
ENDPOINTS = 10
"""Of every other service: endpoint n is 127.0.n.1."""


@dataclass(frozen=True)
class Registry:
    """`move` makes endpoint 0 or 1 the only one of a probe service, and returns the moment at which the
    registry had it (monotonic seconds): what follows is egressd's time. `move_unseen` does the same work
    where the node does not look: what that costs the machine is not egressd's."""

    adapter: Mapping[str, object]
    host: Callable[[int], str]
    move: Callable[[int, int], float]
    move_unseen: Callable[[int, int], float]


@contextmanager
def etcd(directory: Path, services: int, port: int) -> Iterator[Registry]:
    """One real etcd member with a ServiceEntry a key."""
    with EtcdCluster(directory) as cluster:
        every = range(ENDPOINTS)
        cluster.put_all(
            {_key(n): _entry(n, port, [0] if n < PROBES else every) for n in range(services)}
        )

        def move_at(prefix: str, number: int, endpoint: int) -> float:
            cluster.put(prefix + _key(number), _entry(number, port, [endpoint]))
            return monotonic()

        options = {"endpoints": cluster.endpoints, "prefix": "/bench/"}
        adapter = {"type": "etcd", "options": options}
        yield Registry(adapter, _etcd_host, partial(move_at, ""), partial(move_at, "/elsewhere"))


@contextmanager
def consul(directory: Path, services: int, port: int) -> Iterator[Registry]:
    """A double that answers as a Consul agent: a real one takes minutes to be filled."""
    with (
        ConsulDouble(services, ENDPOINTS, port) as double,
        ConsulDouble(PROBES, ENDPOINTS, port) as elsewhere,
    ):
        for number in range(PROBES):
            for endpoint in range(1, ENDPOINTS):
                double.set_health(f"svc-{number}", endpoint, "critical")

        def move_at(where: ConsulDouble, number: int, endpoint: int) -> float:
            where.set_health(f"svc-{number}", endpoint, "passing")
            where.set_health(f"svc-{number}", 1 - endpoint, "critical")
            return monotonic()

        adapter = {"type": "consul", "options": {"address": double.address}}
        yield Registry(adapter, _consul_host, partial(move_at, double), partial(move_at, elsewhere))


SOURCES: Mapping[str, Callable[[Path, int, int], AbstractContextManager[Registry]]] = {
    "consul": consul,
    "etcd": etcd,
}


def _key(number: int) -> str:
    return f"/bench/svc-{number}"


def _etcd_host(number: int) -> str:
    return f"svc-{number}.bench.example"


def _consul_host(number: int) -> str:
    return f"svc-{number}.service.consul"


def _entry(number: int, port: int, endpoints: Iterable[int]) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": f"svc-{number}"},
            "spec": {
                "hosts": [_etcd_host(number)],
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": port}],
                "resolution": "STATIC",
                "endpoints": [{"address": f"127.0.{n}.1"} for n in endpoints],
            },
        }
    )
