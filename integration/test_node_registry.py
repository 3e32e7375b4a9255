"""A running node whose sources disagree, or lose most of what they said."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from integration.node import Node, eventually
from integration.origins import Origin

API = "networking.istio.io/v1"


def services(names: list[str], port: int, address: str = "127.0.0.1") -> str:
    return "---\n".join(
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n"
        f"spec: {{hosts: [{name}.example], ports: [{{number: 80, name: http, protocol: HTTP, "
        f"targetPort: {port}}}], resolution: STATIC, endpoints: [{{address: {address}}}]}}\n"
        for name in names
    )


def test_a_mass_loss_is_held_until_an_operator_confirms_it(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(12)]
    with Origin("a") as origin:
        with Node(tmp_path, {"all.yaml": services(names, origin.port)}) as node:
            assert node.get("s3.example")[0] == 200
            (node.resources / "all.yaml").unlink()
            eventually(lambda: "ALARM source files" in node.cli("status").stdout)
            assert node.get("s3.example")[0] == 200
            assert "12 of 12 endpoints are gone" in node.cli("status").stdout
            assert b'egressd_adapter_held{source="files"} 12.0' in node.admin("/metrics")[1]
            assert "mass loss held" in node.log()
            node.stop()
            node.write("some.yaml", services(names[4:], origin.port))
            node.start()  # four are no mass loss, but the hold goes on
            eventually(lambda: "4 of 12 endpoints are gone" in node.cli("status").stdout)
            assert "ALARM source files" in node.cli("status").stdout
            assert node.get("s3.example")[0] == 200
            os.kill(node.pids("registry")[0], signal.SIGKILL)
            eventually(lambda: "signal SIGKILL" in node.cli("status").stdout)
            eventually(lambda: "4 of 12 endpoints are gone" in node.cli("status").stdout)
            assert "no longer in the answer" in node.cli("registry", "get", "s3.example").stdout
            eventually(
                lambda: "no longer" not in node.cli("registry", "get", "s9.example").stdout
            )  # nor while nobody had asked the source
            done = node.cli("registry", "confirm", "files")
            assert done.returncode == 0, done.stderr
            eventually(lambda: node.get("s3.example")[0] == 502)
            assert b'egressd_adapter_held{source="files"} 0.0' in node.admin("/metrics")[1]
            again = node.cli("registry", "confirm", "files")
            assert again.returncode == 1
            assert "no loss of it is held" in again.stderr
            assert "expected one of the bootstrap" in node.cli("registry", "confirm", "x").stderr


def test_the_grace_period_of_a_source_ends_on_time(tmp_path: Path) -> None:
    adapter = {
        "type": "static",
        "name": "few",
        "options": {"paths": [str(tmp_path / "resources")]},
        "massLoss": {"minEndpoints": 2, "grace": "1s"},
    }
    resources = {"all.yaml": services(["a", "b"], 1)}
    node = Node(tmp_path, resources, adapters=[adapter])
    node.settings["resources"] = []
    node.save()
    with node:
        eventually(lambda: node.cli("registry", "get", "a.example").returncode == 0)
        (node.resources / "all.yaml").unlink()
        eventually(lambda: node.cli("registry", "get", "a.example").returncode == 1)
        assert "the grace period is over" in node.log()


def test_a_source_under_a_new_name_leaves_no_gap(tmp_path: Path) -> None:
    """What the old name had goes with the version in which the new one has it."""
    options = {"paths": [str(tmp_path / "resources")]}
    node = Node(tmp_path, {"web.yaml": services(["web"], 1)})
    node.settings.update(resources=[], adapters=[{"type": "static", "options": options}])
    node.save()
    with node:
        node.settings["adapters"] = [{"type": "static", "name": "renamed", "options": options}]
        node.save()
        assert node.process is not None
        node.process.send_signal(signal.SIGHUP)
        eventually(lambda: "source renamed" in node.cli("registry", "get", "web.example").stdout)
        eventually(lambda: "-Service" in node.cli("registry", "history", "web.example").stdout)
        newest = node.cli("registry", "history", "web.example").stdout.splitlines()[0]
        assert newest.endswith("+ServiceEntry/default/web -ServiceEntry/default/web")


def test_a_host_of_two_sources(tmp_path: Path) -> None:
    """The first one's endpoints are used, the other one's are added once that is configured."""
    with Origin("a") as a, Origin("b") as b:
        other = tmp_path / "other"
        other.mkdir()
        (other / "web.yaml").write_text(services(["web"], b.port))
        adapter = {"type": "static", "name": "other", "options": {"paths": [str(other)]}}
        resources = {"web.yaml": services(["web"], a.port)}
        with Node(tmp_path / "node", resources, adapters=[adapter]) as node:
            assert {node.get("web.example")[2] for _ in range(10)} == {b"a"}
            got = node.cli("registry", "get", "web.example")
            assert "conflict: source files has web.example, too" in got.stdout
            assert b"egressd_registry_conflicts 1.0" in node.admin("/metrics")[1]
            node.stop()
            node.settings["adapters"] = [{**adapter, "endpoints": "merge"}]
            node.save()
            node.start()
            eventually(lambda: {node.get("web.example")[2] for _ in range(10)} == {b"a", b"b"})
            assert "are merged into those of source files" in (
                node.cli("registry", "get", "web.example").stdout
            )
            assert b"egressd_registry_conflicts 0.0" in node.admin("/metrics")[1]
            views = json.loads(node.cli("registry", "get", "web.example", "-o", "json").stdout)
            assert all(view["firstSeen"] and view["lastSeen"] for view in views)
            (other / "web.yaml").unlink()
            eventually(lambda: {node.get("web.example")[2] for _ in range(10)} == {b"a"})
            history = node.cli("registry", "history", "web.example").stdout
            assert "-ServiceEntry/default/web" in history
