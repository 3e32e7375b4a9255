"""A client's addresses in the forms that others ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from egressd.upstream.preface import proxy_header

if TYPE_CHECKING:
    from egressd.proxy.context import Session
    from egressd.proxy.directory import ClusterRuntime


def address_of(endpoint: str) -> str:
    """The IP of "10.0.0.1:80" or "[::1]:80"."""
    return endpoint.rpartition(":")[0].strip("[]")


def preface_of(session: Session, runtime: ClusterRuntime) -> bytes:
    """The PROXY header of a client's connection, b"" where the cluster wants none."""
    version = runtime.cluster.spec.proxy_protocol
    if not version:
        return b""
    downstream = session.downstream
    return proxy_header(version, _place(downstream.remote), _place(downstream.local))


def _place(endpoint: str) -> tuple[str, int]:
    port = endpoint.rpartition(":")[2]
    return address_of(endpoint), int(port) if port.isdigit() else 0
