"""Registries that hold many services for the benchmark, and can move an endpoint of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
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
    registry had it (monotonic seconds): what follows is egressd's time."""

    adapter: Mapping[str, object]
    host: Callable[[int], str]
    move: Callable[[int, int], float]


@contextmanager
def etcd(directory: Path, services: int, port: int) -> Iterator[Registry]:
    """One real etcd member with a ServiceEntry a key."""
    with EtcdCluster(directory) as cluster:
        every = range(ENDPOINTS)
        cluster.put_all(
            {_key(n): _entry(n, port, [0] if n < PROBES else every) for n in range(services)}
        )

        def move(number: int, endpoint: int) -> float:
            cluster.put(_key(number), _entry(number, port, [endpoint]))
            return monotonic()

        options = {"endpoints": cluster.endpoints, "prefix": "/bench/"}
        yield Registry({"type": "etcd", "options": options}, _etcd_host, move)


@contextmanager
def consul(directory: Path, services: int, port: int) -> Iterator[Registry]:
    """A double that answers as a Consul agent: a real one takes minutes to be filled."""
    with ConsulDouble(services, ENDPOINTS, port) as double:
        for number in range(PROBES):
            for endpoint in range(1, ENDPOINTS):
                double.set_health(f"svc-{number}", endpoint, "critical")

        def move(number: int, endpoint: int) -> float:
            double.set_health(f"svc-{number}", endpoint, "passing")
            double.set_health(f"svc-{number}", 1 - endpoint, "critical")
            return monotonic()

        options = {"address": double.address}
        yield Registry({"type": "consul", "options": options}, _consul_host, move)


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
