"""`egressd registry` on a store without a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from egressd.cli.main import main
from egressd.cli.registry import newer
from egressd.registry.merge import Merger, SourceRule
from egressd.registry.store import StoreWriter
from tests.registry.test_merge import service, snapshot


class Registry:
    """A store that sources fill, and the command line."""

    def __init__(self, directory: Path, rules: Mapping[str, SourceRule]) -> None:
        self.config = directory / "egressd.yaml"
        self.config.write_text(f"stateDir: {directory}\nrunDir: {directory}\n")
        self.ranks = {source: rank for rank, source in enumerate(rules)}
        self.merger = Merger(list(rules), rules=rules)
        self.writer = StoreWriter.open(directory / "registry")

    def say(self, **documents: tuple[str, ...]) -> None:
        """One publication of what sources say."""
        for source, texts in documents.items():
            self.merger.apply(source, snapshot(source, *texts))
        self.writer.publish(self.merger.changes(1.0), self.ranks, 1.0)

    def run(self, *arguments: str) -> str:
        self.writer.close()  # LMDB: once a process
        result = CliRunner().invoke(main, ["registry", *arguments, "--bootstrap", str(self.config)])
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    merged = SourceRule(is_merged=True)
    return Registry(tmp_path, {"one": SourceRule(), "two": merged, "three": SourceRule()})


def test_the_history_of_a_host_shows_what_concerns_it(registry: Registry) -> None:
    registry.say(one=tuple(service(name) for name in "abc"))
    registry.say(one=(service("a", "10.0.0.9"), service("b", "10.0.0.9")))
    lines = registry.run("history", "a.example").splitlines()
    assert [line.split("one  ")[1] for line in lines] == [
        "~ServiceEntry/default/a (+10.0.0.9 -10.0.0.1)",
        "+ServiceEntry/default/a",
    ]


def test_the_history_of_a_host_shows_when_it_went(registry: Registry) -> None:
    registry.say(one=(service("a"), service("b")))
    registry.say(one=())
    assert "  -ServiceEntry/default/b\n" in registry.run("history", "b.example")


def test_watch_shows_what_is_published_while_it_looks(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in range(1, 5):
        registry.say(one=(service("a", f"10.0.0.{address}"),))

    monkeypatch.setattr(StoreWriter, "version", lambda store: 2)
    assert [change.version for change in newer(registry.writer, 1)] == [2, 3, 4]
    assert [change.version for change in newer(registry.writer, 9)] == [4]  # begun anew
    assert newer(registry.writer, 2) == []
    registry.writer.close()


def test_get_says_what_becomes_of_each_source(registry: Registry) -> None:
    """The name is not added to a service of addresses."""
    named = service("a").replace("STATIC", "DNS").replace("10.0.0.1", "a.internal")
    more = named.replace("address: a.internal", "address: a.internal}, {address: 10.0.0.5")
    registry.say(one=(service("a"),), two=(more,), three=(service("a", "10.0.0.3"),))
    said = [line for line in registry.run("get", "a.example").splitlines() if line[0] == "#"]
    assert [line for line in said if "seen" not in line and "origin" not in line] == [
        "# its endpoints are merged into those of source one, but for 1 that resolution STATIC does "
        "not take",
        "# conflict: source one has a.example, too, and precedence: these endpoints are not used",
    ]


def test_get_says_that_a_service_of_another_namespace_is_not_used(registry: Registry) -> None:
    other = (
        service("z").replace("z.example", "a.example").replace("name: z", "name: z, namespace: s")
    )
    registry.say(one=(service("a"), other))
    assert "# not used: namespace default has a.example" in registry.run("get", "a.example")
