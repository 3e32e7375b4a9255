"""An egressd adapter: {"web.example": {"port": 8080, "addresses": ["10.0.0.1"]}, ...} in a JSON file."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec
import trio

from egressd.api.parse import parse_text
from egressd.api.resource import Problem
from egressd.registry.adapter import CONFIRM_S, AdapterConfigError, AdapterContext, Sink
from egressd.registry.records import Record, Snapshot


class Service(msgspec.Struct, frozen=True):
    port: int
    addresses: tuple[str, ...]


@lru_cache(maxsize=20_000)  # the very same record for as long as nothing changes
def read(name: str, host: str, service: Service) -> tuple[Record | None, tuple[Problem, ...]]:
    port = {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": service.port}
    ends = [{"address": address} for address in service.addresses]
    spec = {"hosts": [host], "ports": [port], "resolution": "STATIC", "endpoints": ends}
    head = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
    text = msgspec.json.encode({**head, "metadata": {"name": host}, "spec": spec}).decode()
    parsed = parse_text(text, f"{name}: {host}")
    records = [Record(resource=r, source=name, origin=host) for r in parsed.resources]
    return records[0] if records else None, parsed.problems


class Roster:
    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path

    async def run(self, sink: Sink) -> None:
        is_reread = False
        while True:
            try:
                listed = msgspec.json.decode(self.path.read_bytes(), type=dict[str, Service])
            except (OSError, msgspec.DecodeError) as error:
                sink.failed(f"{self.path}: {error}")  # what was said before stands
                is_reread = False
            else:
                found = {host: read(self.name, host, s) for host, s in listed.items()}
                sink.problems(tuple(p for _, problems in found.values() for p in problems))
                records = tuple(record for record, _ in found.values() if record)
                failed = frozenset(host for host, (record, _) in found.items() if not record)
                snapshot = Snapshot(records=records, failed_origins=failed, is_reread=is_reread)
                is_reread = not sink.publish(snapshot) and not is_reread  # confirm a great loss
            await trio.sleep(CONFIRM_S if is_reread else 1)


def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Roster:
    if not isinstance(options.get("path"), str) or len(options) != 1:
        raise AdapterConfigError(f"adapter {context.name}: options: expected only path, a file")
    return Roster(context.name, Path(str(options["path"])))
