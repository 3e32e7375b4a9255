"""Registries that hold many services for the benchmark, and can move an endpoint of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from integration.servers.consul_double import ConsulDouble
from integration.servers.etcd import EtcdCluster

PROBES = 20
"""The first services have one endpoint each: an answer tells at once which one was called."""
ENDPOINTS = 10
"""Of every other service: endpoint n is 127.0.n.1."""


@dataclass(frozen=True)
class Registry:
    """`move` puts the one endpoint of a probe service to another port, and returns the moment at which
    the registry had it (monotonic seconds): what follows is egressd's time."""

    adapter: Mapping[str, object]
    host: Callable[[int], str]
    move: Callable[[int, int], float]


@contextmanager
def etcd(directory: Path, services: int, port: int) -> Iterator[Registry]:
    """One real etcd member with a ServiceEntry a key."""
    with EtcdCluster(directory) as cluster:
        counts = {n: 1 if n < PROBES else ENDPOINTS for n in range(services)}
        cluster.put_all({_key(n): _entry(n, port, count) for n, count in counts.items()})

        def move(number: int, port: int) -> float:
            cluster.put(_key(number), _entry(number, port, 1))
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

        def move(number: int, port: int) -> float:
            double.move(f"svc-{number}", 0, port=port)
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


def _entry(number: int, port: int, count: int) -> str:
    return json.dumps(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": f"svc-{number}"},
            "spec": {
                "hosts": [_etcd_host(number)],
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": port}],
                "resolution": "STATIC",
                "endpoints": [{"address": f"127.0.{n}.1"} for n in range(count)],
            },
        }
    )
