"""The commands that work on the fleet's resources, against a store in memory."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from egressd.api.resource import Kind
from egressd.cli.fleet_access import read_kind
from egressd.cli.main import main
from egressd.fleet.change import plan_delete
from egressd.fleet.client import FleetClient
from egressd.fleet.commit import Note
from egressd.fleet.config import FleetConfig
from egressd.fleet.history import HistoryEntry
from egressd.fleet.node_status import NodeStatus, Rejection
from tests.fleet.memory_store import MemoryStore
from tests.fleet.texts import entry, route, rule


class Fleet:
    """A store, and the command line."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = MemoryStore()
        self.directory = directory
        monkeypatch.setattr(FleetConfig, "open", lambda config: self.store)
        bootstrap = directory / "egressd.yaml"
        bootstrap.write_text("adapters: [{type: fleet, options: {store: memory, prefix: fleet}}]\n")
        monkeypatch.setenv("EGRESSD_CONFIG", str(bootstrap))

    def file(self, *texts: str, name: str = "r.yaml") -> str:
        path = self.directory / name
        path.write_text("\n---\n".join(texts))
        return str(path)

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        result = CliRunner().invoke(main, arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            result.exception
        )
        return result.exit_code, result.output

    def say(self, *statuses: NodeStatus) -> None:
        for status in statuses:
            self.store.put(f"fleet/status/{status.node}", msgspec.json.encode(status).decode())


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(tmp_path, monkeypatch)


def test_apply_says_what_becomes_of_each_resource(fleet: Fleet) -> None:
    file = fleet.file(entry("a"), route("r"))
    created = "serviceentry/shop/a created\nvirtualservice/shop/r created\nfleet version 1\n"
    assert fleet.run("apply", "-f", file) == (0, created)
    fleet.file(entry("a", port=81), route("r"))
    mixed = "serviceentry/shop/a configured\nvirtualservice/shop/r unchanged\nfleet version 2\n"
    assert fleet.run("apply", "-f", file) == (0, mixed)
    code, output = fleet.run("apply", "-f", "-", "-o", "json", stdin=entry("b"))
    assert (code, json.loads(output)["changes"]) == (
        0,
        [{"resource": "ServiceEntry/shop/b", "action": "created"}],
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (entry("a").replace("80", "0"), "spec.ports[0].number"),
        (route("second"), "VirtualService/shop/r has"),
        ("kind: nonsense", "kind"),
        ("# nothing", "no resources in what was given"),
        ("", "r.yaml: found an empty file"),
    ],
)
def test_what_is_not_valid_is_not_written(fleet: Fleet, text: str, says: str) -> None:
    fleet.run("apply", "-f", fleet.file(entry("a"), route("r")))
    before = dict(fleet.store.entries)
    code, output = fleet.run("apply", "-f", fleet.file(text))
    assert code == 1
    assert says in output
    assert fleet.store.entries == before


def test_warnings_do_not_refuse(fleet: Fleet) -> None:
    code, output = fleet.run("apply", "-f", fleet.file(route("r")))
    assert code == 0
    assert "warning" in output


def test_get_shows_and_its_yaml_can_be_applied_again_once(fleet: Fleet) -> None:
    fleet.run("apply", "-f", fleet.file(entry("a"), entry("b"), route("r")))
    code, table = fleet.run("get", "se")
    assert code == 0
    assert "ServiceEntry/shop/a  a.example  1" in table
    assert "VirtualService" not in table
    code, text = fleet.run("get", "ServiceEntry", "a", "-n", "shop", "-o", "yaml")
    assert 'resourceVersion: "1"' in text
    changed = text.replace("number: 80", "number: 81")
    assert fleet.run("apply", "-f", "-", stdin=changed)[0] == 0
    again = text.replace("number: 80", "number: 82")
    code, output = fleet.run("apply", "-f", "-", stdin=again)
    assert code == 1
    assert (
        "somebody changed ServiceEntry/shop/a since you read it (revision 2, you had 1)" in output
    )
    code, output = fleet.run("get", "vs", "nobody", "-n", "shop")
    assert (code, output) == (
        1,
        "Error: VirtualService/shop/nobody: not in the fleet's resources\n",
    )
    code, output = fleet.run("get", "-o", "json")
    assert len(json.loads(output)["items"]) == 3
    code, text = fleet.run("get", "-o", "yaml")
    assert fleet.run("apply", "-f", "-", stdin=text)[1].count("unchanged") == 3


def test_a_key_that_cannot_be_read_shows(fleet: Fleet) -> None:
    fleet.store.put("fleet/resources/ServiceEntry/shop/a", "kind: nonsense")
    assert "(cannot be read)" in fleet.run("get")[1]
    assert "nonsense" in fleet.run("get", "-o", "yaml")[1]


def test_diff_is_unified_and_tells_by_its_status(fleet: Fleet) -> None:
    file = fleet.file(entry("a"))
    code, output = fleet.run("diff", "-f", file)
    assert code == 1
    assert output.startswith("--- /dev/null\n")
    fleet.run("apply", "-f", file)
    assert fleet.run("diff", "-f", file) == (0, "")
    fleet.file(entry("a", port=81))
    code, output = fleet.run("diff", "-f", file)
    assert code == 1
    assert "--- fleet/ServiceEntry/shop/a" in output
    assert "-    - number: 80" in output
    assert "+    - number: 81" in output


def test_delete_by_name_and_by_file(fleet: Fleet) -> None:
    file = fleet.file(entry("a"), entry("b"), entry("c"))
    fleet.run("apply", "-f", file)
    deleted = "serviceentry/shop/a deleted\nfleet version 2\n"
    assert fleet.run("delete", "se", "a", "-n", "shop") == (0, deleted)
    code, output = fleet.run("delete", "se", "a", "-n", "shop")
    assert (code, output) == (1, "Error: not there: ServiceEntry/shop/a\n")
    code, output = fleet.run("delete", "-f", file, "--ignore-not-found")
    assert (code, output.count("deleted")) == (0, 2)
    assert fleet.run("delete", "se")[0] == 2


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("se a", "destination without a service"),
        ("dr a", "destination without a subset"),
        ("vs d", "delegate that is not there"),
    ],
)
def test_delete_refuses_what_a_resource_in_force_needs(fleet: Fleet, words: str, lost: str) -> None:
    delegating = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: top, namespace: shop}
spec:
  hosts: [top.example]
  http: [{delegate: {name: d, namespace: shop}}]
"""
    delegate = route("d").replace("  hosts: [a.example]\n", "")
    file = fleet.file(entry("a"), rule("a", "v1"), route("r", subset="v1"), delegating, delegate)
    assert fleet.run("apply", "-f", file)[0] == 0
    code, output = fleet.run("delete", *words.split(), "-n", "shop")
    assert (code, lost in output, "nothing was deleted; --force" in output) == (1, True, True)
    assert "5 resources" in fleet.run("get")[1]
    assert fleet.run("delete", *words.split(), "-n", "shop", "--dry-run")[0] == 1
    assert fleet.run("delete", *words.split(), "-n", "shop", "--force")[0] == 0


def test_delete_takes_what_is_needed_with_those_that_need_it(fleet: Fleet) -> None:
    file = fleet.file(entry("a"), rule("a", "v1"), route("r", subset="v1"))
    fleet.run("apply", "-f", file)
    assert fleet.run("delete", "-f", file)[0] == 0


def test_delete_refuses_nothing_for_what_was_broken_before(fleet: Fleet) -> None:
    fleet.run("apply", "-f", fleet.file(entry("a"), route("r", to="nobody.example")))
    assert fleet.run("delete", "se", "a", "-n", "shop")[0] == 0


def test_rollback_undoes_restores_and_lists(fleet: Fleet) -> None:
    file = fleet.file(entry("a"))
    fleet.run("apply", "-f", file, "-m", "the first")
    fleet.file(entry("a", port=81), entry("b"))
    fleet.run("apply", "-f", file)
    code, output = fleet.run("rollback", "--dry-run")
    assert (code, output.count("(dry run)")) == (0, 2)
    code, output = fleet.run("rollback")
    assert output == (
        "serviceentry/shop/a configured\nserviceentry/shop/b deleted\nfleet version 3\n"
    )
    code, output = fleet.run("rollback", "2", "--resource", "ServiceEntry/shop/b")
    assert output == "serviceentry/shop/b created\nfleet version 4\n"
    code, output = fleet.run("rollback", "--list")
    assert "the first" in output
    assert "rollback to version 1" in output
    code, output = fleet.run("rollback", "9")
    assert (code, output) == (1, "Error: version 9: found none such, the newest is 4\n")


def test_status_shows_who_runs_what_and_fails_for_a_rejection(fleet: Fleet) -> None:
    fleet.run("apply", "-f", fleet.file(entry("a")))
    fleet.run("apply", "-f", fleet.file(entry("b")))
    now = time.time()
    fleet.say(
        NodeStatus("vm-1", now, 15, 2),
        NodeStatus("vm-2", now - 1, 15, 1),
        NodeStatus("vm-3", now - 100, 15, 2),
        NodeStatus("vm-5", now, 15, 2, held=True),
    )
    code, output = fleet.run("fleet", "status")
    states = {line.split()[0]: line.split()[2] for line in output.splitlines() if "vm-" in line[:3]}
    assert (code, states) == (
        0,
        {"vm-1": "current", "vm-2": "behind", "vm-3": "stale", "vm-5": "holds"},
    )
    rejection = Rejection("ServiceEntry/shop/b", 2, 1, "no good")
    fleet.say(NodeStatus("vm-4", now, 15, 2, (rejection,), 1))
    fleet.store.put("fleet/status/junk", "{")
    code, output = fleet.run("fleet", "status")
    assert code == 1
    assert "vm-4: ServiceEntry/shop/b, revision 2, runs revision 1: no good" in output
    assert "fleet/status/junk: not a status" in output
    code, output = fleet.run("fleet", "status", "-o", "json")
    assert code == 1
    assert '"reason": "no good"' in output


def test_without_a_fleet_adapter_the_store_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap = tmp_path / "egressd.yaml"
    bootstrap.write_text("workers: 1\n")
    monkeypatch.setenv("EGRESSD_CONFIG", str(bootstrap))
    result = CliRunner().invoke(main, ["get"])
    assert result.exit_code == 2
    assert "--store" in result.output
    asked = ["get", "--store", "consul", "--store-option", "address=http://127.0.0.1:1"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.output


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("vs", Kind.VIRTUAL_SERVICE),
        ("ServiceEntries", Kind.SERVICE_ENTRY),
        ("gateways", Kind.GATEWAY),
        ("authorizationpolicies", Kind.AUTHORIZATION_POLICY),
        ("DestinationRule", Kind.DESTINATION_RULE),
    ],
)
def test_kinds_are_read_as_kubectl_reads_them(text: str, kind: Kind) -> None:
    assert read_kind(text) is kind
    with pytest.raises(click.UsageError):
        read_kind(f"{text}x")


def test_options_that_are_no_yaml_are_refused(fleet: Fleet) -> None:
    code, output = fleet.run("get", "--store-option", "wait=[")
    assert code == 2
    assert "--store-option wait: expected NAME=VALUE, VALUE as YAML" in output


def test_before_anything_was_applied_there_is_nothing_to_roll_back(fleet: Fleet) -> None:
    code, output = fleet.run("rollback")
    assert code == 1
    assert "nothing was applied yet" in output


def test_of_several_fleets_one_is_named(fleet: Fleet) -> None:
    """By the name of its adapter; the store's options come from there."""
    (fleet.directory / "egressd.yaml").write_text(
        "adapters:\n"
        "- {type: fleet, name: shop, options: {store: memory, prefix: fleet}}\n"
        "- {type: fleet, name: bank, options: {store: memory, prefix: other}}\n"
    )
    file = fleet.file(entry("a"))
    code, output = fleet.run("apply", "-f", file)
    assert (code, "found the fleet adapters shop, bank" in output) == (2, True)
    assert fleet.run("apply", "-f", file, "--store", "shop")[0] == 0
    assert "1 resource" in fleet.run("get", "--store", "shop")[1]
    assert "0 resources" in fleet.run("get", "--store", "bank")[1]
    code, output = fleet.run("get", "--store", "zoo")
    assert (code, "expected one named zoo" in output) == (2, True)


def test_a_bootstrap_that_is_not_valid_is_told_line_by_line(fleet: Fleet) -> None:
    (fleet.directory / "egressd.yaml").write_text("workers: 0\nadapter: []\n")
    code, output = fleet.run("get")
    assert code == 1
    lines = [line.removeprefix(f"error: {fleet.directory}/") for line in output.splitlines()]
    assert [line[:22] for line in lines] == ["egressd.yaml:1: worker", "egressd.yaml:2: adapte"]


def test_a_rollback_does_not_undo_what_it_has_not_seen(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for port in (80, 81):
        fleet.run("apply", "-f", fleet.file(entry("a", port=port)))
    history = FleetClient.history

    async def overtaken(client: FleetClient) -> tuple[HistoryEntry, ...]:
        found = await history(client)
        monkeypatch.setattr(FleetClient, "history", history)
        await client.change(lambda base: plan_delete(base, ["ServiceEntry/shop/a"]), Note("x", 1.0))
        return found

    monkeypatch.setattr(FleetClient, "history", overtaken)
    code, output = fleet.run("rollback")
    assert (code, "somebody made version 3 meanwhile" in output) == (1, True)
    assert "0 resources" in fleet.run("get")[1]


def test_a_file_that_is_empty_prunes_nothing(fleet: Fleet) -> None:
    fleet.run("apply", "-f", fleet.file(entry("a"), route("r")))
    before = dict(fleet.store.entries)
    whole, half = fleet.file(entry("a"), name="a.yaml"), fleet.file("", name="r.yaml")
    code, output = fleet.run("apply", "--prune", "-f", whole, "-f", half)
    assert (code, fleet.store.entries) == (1, before)
    assert "r.yaml: found an empty file, expected resources; nothing was written" in output
