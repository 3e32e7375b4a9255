"""The static adapter with real inotify: every way to change files is heard of at once.

Nothing here waits for the adapter's own polling, which is made too rare to help.
"""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from adapters.static import adapter, make_adapter
from egressd.api.service_entry import ServiceEntry
from egressd.registry.adapter import AdapterContext
from integration.node import Node, eventually
from integration.origins import Origin
from integration.recorder import Recorder, recorded
from integration.traffic import Traffic

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {address}, ports: {{http: {port}}}}}]
"""


def write(path: Path, name: str, address: str = "127.0.0.1", port: int = 80) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(ENTRY.format(name=name, address=address, port=port))


def link(path: Path, target: str) -> None:
    """A link swapped into place as kubelet does."""
    beside = path.with_name(f"{path.name}_tmp")
    beside.symlink_to(target)
    beside.replace(path)


def said(recorder: Recorder) -> dict[str, str]:
    """Name to address, as last published."""
    found = {}
    for record in recorder.snapshots[-1].records if recorder.snapshots else ():
        spec = record.resource.spec
        assert isinstance(spec, ServiceEntry)
        found[record.resource.metadata.name] = spec.endpoints[0].address
    return found


def following(*paths: Path) -> AbstractAsyncContextManager[Recorder]:
    context = AdapterContext(name="files")
    return recorded(make_adapter(context, {"paths": [str(path) for path in paths]}))


@pytest.fixture(autouse=True)
def _without_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_POLL_S", 3600.0)


async def test_files_are_changed_added_renamed_and_removed(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    async with following(tmp_path) as heard:
        await heard.until(lambda: said(heard) == {"a": "127.0.0.1"})
        write(tmp_path / "a.yaml", "a", "127.0.0.2")  # in place, as many bytes as before
        await heard.until(lambda: said(heard) == {"a": "127.0.0.2"})
        write(tmp_path / "deep" / "er" / "b.yaml", "b")
        await heard.until(lambda: said(heard) == {"a": "127.0.0.2", "b": "127.0.0.1"})
        write(tmp_path / ".a.yaml", "a", "127.0.0.3")
        (tmp_path / ".a.yaml").replace(tmp_path / "a.yaml")
        await heard.until(lambda: said(heard)["a"] == "127.0.0.3")
        (tmp_path / "deep" / "er" / "b.yaml").unlink()
        await heard.until(lambda: said(heard) == {"a": "127.0.0.3"})


async def test_many_writes_without_a_change_publish_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "a")
    async with following(tmp_path) as heard:
        await heard.until(lambda: bool(heard.snapshots))
        for _ in range(5):
            os.utime(tmp_path / "a.yaml")
            await trio.sleep(0.03)
        write(tmp_path / "b.yaml", "b")
        await heard.until(lambda: len(said(heard)) == 2)
    assert len(heard.snapshots) == 2


async def test_a_config_map_is_swapped_as_a_whole(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        for name in ("a", "b"):
            write(tmp_path / f"..{version}" / f"{name}.yaml", name, f"127.0.0.{version}")
    link(tmp_path / "..data", "..1")
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    async with following(tmp_path) as heard:
        for version in ("1", "2", "3", "1", "3", "2"):
            link(tmp_path / "..data", f"..{version}")
            address = f"127.0.0.{version}"
            await heard.until(lambda a=address: said(heard) == {"a": a, "b": a})
    addresses = [
        {one.resource.spec.endpoints[0].address for one in snapshot.records}
        for snapshot in heard.snapshots
    ]
    assert all(len(one) == 1 for one in addresses), "old and new were published together"


async def test_the_link_to_a_release_is_swapped(tmp_path: Path) -> None:
    write(tmp_path / "releases/1/a.yaml", "a", "127.0.0.1")
    write(tmp_path / "releases/2/a.yaml", "a", "127.0.0.2")
    link(tmp_path / "current", "releases/1")
    async with following(tmp_path / "current") as heard:
        await heard.until(lambda: said(heard) == {"a": "127.0.0.1"})
        link(tmp_path / "current", "releases/2")
        await heard.until(lambda: said(heard) == {"a": "127.0.0.2"})
        write(tmp_path / "releases/2/a.yaml", "a", "127.0.0.3")
        await heard.until(lambda: said(heard) == {"a": "127.0.0.3"})
        await trio.sleep(0.2)  # nothing of the swap is left to be told of
        write(tmp_path / "releases/2/a.yaml", "a", "127.0.0.4")
        await heard.until(lambda: said(heard) == {"a": "127.0.0.4"})
        (tmp_path / "current").unlink()
        await heard.until(lambda: bool(heard.failures))
        assert heard.failures[-1].endswith("current: no such file or directory")
        assert said(heard) == {"a": "127.0.0.4"}
        link(tmp_path / "current", "releases/1")
        await heard.until(lambda: said(heard) == {"a": "127.0.0.1"})


async def test_patterns_and_includes_are_followed(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    include = tmp_path / "site.include"
    include.write_text("lib/x-*.yaml\n")
    async with following(include, tmp_path / "own*.yaml", tmp_path / "later" / "z.yaml") as heard:
        await heard.until(lambda: bool(heard.snapshots))
        write(tmp_path / "lib" / "x-1.yaml", "x")
        await heard.until(lambda: "x" in said(heard))
        write(tmp_path / "own-1.yaml", "own")
        await heard.until(lambda: "own" in said(heard))
        include.write_text("lib/y-*.yaml\n")
        await heard.until(lambda: "x" not in said(heard))
        write(tmp_path / "later" / "z.yaml", "z")
        await heard.until(lambda: set(said(heard)) == {"own", "z"})


async def test_a_held_loss_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "CONFIRM_S", 0.0)
    write(tmp_path / "a.yaml", "a")
    async with following(tmp_path) as heard:
        await heard.until(lambda: bool(heard.snapshots))
        heard.verdict = lambda snapshot: snapshot.is_reread
        (tmp_path / "a.yaml").unlink()
        await heard.until(lambda: len(heard.snapshots) == 3)
    assert [snapshot.is_reread for snapshot in heard.snapshots] == [False, False, True]


def test_traffic_goes_on_while_trees_are_swapped(tmp_path: Path) -> None:
    """With the node's own adapter: by a link that is replaced, and by one that is gone in between."""
    with Origin("a") as origin:
        for version in ("1", "2"):
            write(tmp_path / "releases" / version / "a.yaml", "a", "127.0.0.1", origin.port)
            write(tmp_path / "releases" / version / f"only{version}.yaml", f"v{version}")
        link(tmp_path / "current", "releases/1")
        options = {"paths": str(tmp_path / "current")}
        adapters = [{"type": "static", "name": "releases", "options": options}]
        with Node(tmp_path / "node", workers=1, adapters=adapters) as node:
            eventually(lambda: node.get("a.test")[0] == 200)
            with Traffic(node, "a.test") as traffic:
                for version in ("2", "1", "2", "1"):
                    link(tmp_path / "current", f"releases/{version}")
                    eventually(lambda v=version: node.get(f"v{v}.test")[0] == 503)
                (tmp_path / "current").unlink()
                assert traffic.goes_on()
                eventually(lambda: 'egressd_adapter_failing{source="releases"} 1' in _metrics(node))
                assert "no such file or directory" in node.log()
                link(tmp_path / "current", "releases/2")
                eventually(lambda: 'egressd_adapter_failing{source="releases"} 0' in _metrics(node))
                eventually(lambda: node.get("v2.test")[0] == 503)
                assert traffic.goes_on()


def _metrics(node: Node) -> str:
    return node.admin("/metrics")[1].decode()
