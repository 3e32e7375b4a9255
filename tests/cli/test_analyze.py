"""`egressd analyze`: files that cannot be read, files together with a registry, exit status, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from egressd.api.parse import parse_text
from egressd.cli.main import main
from egressd.fleet.config import FleetConfig
from egressd.registry.merge import ChangeSet
from egressd.registry.records import Record
from egressd.registry.store import StoreWriter
from tests.fleet.memory_store import MemoryStore

SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews}
spec:
  hosts: [reviews.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}}
  - {address: 10.0.0.2, labels: {version: v2}}
"""
CANARY = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews.example]
  http:
  - route:
    - destination: {host: reviews.example, subset: v1}
      weight: 90
    - destination: {host: reviews.example, subset: v2}
      weight: 10
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews.example
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""


class Node:
    """A bootstrap file and, once `publish` was called, a registry on disk."""

    def __init__(self, place: Path) -> None:
        self.state = place / "state"
        self.bootstrap = place / "egressd.yaml"
        self.bootstrap.write_text(
            f"stateDir: {self.state}\nadapters: [{{type: consul, name: consul}}]\n"
        )

    def publish(self, text: str, source: str = "consul", file: str = "") -> None:
        writer = StoreWriter.open(self.state / "registry")
        found = parse_text(text, file or f"{source}:")
        assert not found.errors
        puts = tuple(Record(resource=r, source=source) for r in found.resources)
        writer.publish(ChangeSet(puts=puts), {source: 0}, 0.0)
        writer.close()

    def run(self, command: str, *arguments: object) -> tuple[int, str]:
        given = [command, "--bootstrap", str(self.bootstrap), *map(str, arguments)]
        result = CliRunner().invoke(main, given)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.output


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def found(output: str) -> list[tuple[str, str, int]]:
    return [(f["code"], Path(f["file"]).name, f["line"]) for f in json.loads(output)]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (b"a: [", "EG0001", 1),
        (b"\tkind: x", "EG0001", 1),
        (b"\xff\xfe", "EG0001", 0),
        (SERVICE.replace("STATIC", "STATIK").encode(), "EG0002", 7),
        (SERVICE.replace("ServiceEntry", "ServiceEntree").encode(), "EG0002", 2),
        (SERVICE.replace("metadata: {name: reviews}", "").encode(), "EG0002", 1),
        (f"{SERVICE}---\n{SERVICE}".encode(), "EG0002", 12),
    ],
)
def test_what_cannot_be_read_or_is_refused_is_a_finding(
    node: Node, tmp_path: Path, text: bytes, code: str, line: int
) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(text)
    status, output = node.run("analyze", "-o", "json", file)
    assert status == 1
    assert (code, "a.yaml", line) in found(output), output
    assert node.run("analyze", file)[0] == 1
    assert node.run("validate", file)[0] == 1


def test_files_that_may_not_be_read_are_findings_beside_those_of_others(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "locked.yaml").write_text(SERVICE)
    (tmp_path / "d" / "b.yaml").write_text(CANARY)
    really = Path.read_text

    def read(path: Path, *arguments: str, **options: str) -> str:
        if path.name == "locked.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return really(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read)
    status, output = node.run("analyze", "-o", "json", tmp_path / "d")
    assert status == 1
    codes = [(code, file) for code, file, _ in found(output)]
    assert ("EG0001", "locked.yaml") in codes
    assert ("EG0101", "b.yaml") in codes


def test_a_canary_of_a_service_of_the_registry_is_no_finding(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "canary.yaml"
    file.write_text(CANARY)
    assert found(node.run("analyze", "-o", "json", file)[1])[0][0] == "EG0101"
    assert "answer 503" in node.run("validate", file)[1]
    node.publish(SERVICE)
    assert node.run("analyze", "-o", "json", file) == (0, "[]\n")
    assert "0 errors, 0 warnings" in node.run("validate", file)[1]
    assert node.run("analyze", "--offline", file)[0] == 1
    assert "answer 503" in node.run("validate", "--offline", file)[1]


def test_another_registry_may_be_named(node: Node, tmp_path: Path) -> None:
    file = tmp_path / "canary.yaml"
    file.write_text(CANARY)
    other = Node(tmp_path / "..")
    other.state = tmp_path / "copy"
    other.publish(SERVICE)
    services = tmp_path / "services"
    services.mkdir()
    (services / "a.yaml").write_text(SERVICE)
    for place in (other.state, other.state / "registry", services):
        assert node.run("analyze", "-o", "json", "--registry", place, file) == (0, "[]\n")
    (services / "a.yaml").write_text("a: [")
    assert node.run("analyze", "--registry", services, file)[0] == 1
    assert node.run("analyze", "--offline", "--registry", services, file)[0] == 2


def test_what_a_file_states_takes_the_place_of_what_the_registry_has_of_it(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "res"
    place.mkdir()
    file = place / "canary.yaml"
    file.write_text(CANARY.replace("name: reviews}", "name: renamed}"))
    node.publish(SERVICE)
    node.publish(CANARY, "files", str(file))
    # The old name is not a second claim of the host.
    assert node.run("analyze", "-o", "json", file) == (0, "[]\n")
    link = tmp_path / "link"
    link.symlink_to(place)
    monkeypatch.chdir(place)
    for path in ("canary.yaml", ".", link):  # however it is written
        assert node.run("analyze", "-o", "json", path) == (0, "[]\n")
    file.write_text(CANARY.replace("version: v2", "version: v3"))
    assert {code for code, _, _ in found(node.run("analyze", "-o", "json", file)[1])} == {"EG0103"}


def test_without_paths_the_registry_is_analyzed(node: Node) -> None:
    assert node.run("analyze")[0] == 2
    node.publish(CANARY)
    status, output = node.run("analyze")
    assert status == 1
    assert "EG0101" in output


@pytest.mark.parametrize("command", ["apply", "rollback"])
def test_no_destination_of_the_registry_is_said_to_be_missing(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    store = MemoryStore()
    monkeypatch.setattr(FleetConfig, "open", lambda config: store)
    node.bootstrap.write_text(
        f"stateDir: {node.state}\nadapters: [{{type: consul}}, {{type: fleet, options: "
        "{store: memory, prefix: fleet}}]\n"
    )
    node.publish(SERVICE.replace("reviews.example", "other.example"))
    file = tmp_path / "canary.yaml"
    file.write_text(CANARY)

    def warnings() -> str:
        if command == "apply":
            return node.run("apply", "-f", file)[1]
        node.run("apply", "-f", file)
        node.run("delete", "-f", file)
        return node.run("rollback")[1]

    assert "answer 503" in warnings()
    node.run("delete", "-f", file)
    node.publish(SERVICE, "fleet")  # the fleet's own are asked of its store
    assert "answer 503" in warnings()
    node.run("delete", "-f", file)
    node.publish(SERVICE)
    assert "answer 503" not in warnings()
