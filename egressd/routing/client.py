"""Conditions that are decided when routes are built for a client, not by what it sends. Pure.

Source: Istio `translateRoute`, `sourceMatchHTTP`, `matchTLS`, `matchTCP`, `l4SingleMatch`. The port
addressed, the gateway, the client's labels and namespace are known beforehand: a match block that does
not hold for them is taken out, and with its last block the route. A VirtualService of which nothing is
left for a protocol leaves the service alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from egressd.api.virtual_service import HTTPMatchRequest, L4MatchAttributes, TLSMatchAttributes
from egressd.registry.claims import MESH, qualified_gateways

Block = TypeVar("Block", bound=HTTPMatchRequest | TLSMatchAttributes | L4MatchAttributes)


class Client(NamedTuple):
    """Who the routes are built for. `gateway` is the one that they were found through."""

    port: int  # the service port addressed; on a Gateway the server's
    gateway: str
    labels: Mapping[str, str]
    namespace: str


class LeftOut(NamedTuple):
    """A route that is not for this client. `before` is how many routes of its table stand before it."""

    place: str
    why: tuple[str, ...]
    before: int = 0


def kept_blocks(
    blocks: Sequence[Block], client: Client, namespace: str
) -> tuple[list[tuple[int, Block]], tuple[str, ...]]:
    """The blocks that may hold for a client, with their places, and why the others cannot. `namespace`
    is that of the resource: gateways are named relative to it."""
    kept: list[tuple[int, Block]] = []
    why: list[str] = []
    for at, block in enumerate(blocks):
        failure = next(_failures(block, client, namespace), "")
        if failure:
            why.append(f"match[{at}].{failure}")
        else:
            kept.append((at, block))
    return kept, tuple(why)


def _failures(block: Block, client: Client, namespace: str) -> Iterator[str]:
    if block.port and block.port != client.port:
        yield f"port: wants {block.port}, found {client.port}"
    gateways = qualified_gateways(block.gateways, namespace)
    if gateways and client.gateway not in gateways:
        yield f"gateways: wants one of {','.join(gateways)}, found {client.gateway}"
    # Istio: the gateways of an HTTP match replace its conditions on the source; connections on a
    # Gateway have none.
    is_http = isinstance(block, HTTPMatchRequest)
    if gateways if is_http else client.gateway != MESH:
        return
    if not block.source_labels.items() <= client.labels.items():
        yield f"sourceLabels: wants {_labels(block.source_labels)}, found {_labels(client.labels)}"
    if block.source_namespace and block.source_namespace != client.namespace:
        yield f"sourceNamespace: wants {block.source_namespace}, found {client.namespace}"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items()) or "none"
