"""However a resource file is saved, no request sees half of it; what is taken out goes in its time."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.traffic import Traffic

NAMES = [f"s{number}" for number in range(6)]
HOSTS = [f"{name}.example" for name in NAMES]


def cut_and_write(pause_s: float) -> Callable[[Path, str], None]:
    """Open with O_TRUNC, pause, write half, pause, write on, close."""

    def save(file: Path, text: str) -> None:
        with file.open("w") as stream:
            time.sleep(pause_s)
            stream.write(text[: len(text) // 2])
            stream.flush()
            time.sleep(pause_s)
            stream.write(text[len(text) // 2 :])

    return save


def cut_then_append(file: Path, text: str) -> None:
    """`: > FILE; sleep; cat >> FILE`: closed while it is empty."""
    file.write_text("")
    time.sleep(2.5)
    with file.open("a") as stream:
        stream.write(text)


def by_piece(file: Path, text: str) -> None:
    """Many short writes to a file that stays open."""
    with file.open("w") as stream:
        for at in range(0, len(text), 200):
            stream.write(text[at : at + 200])
            stream.flush()
            time.sleep(0.02)


def in_place(file: Path, text: str) -> None:
    """rsync --inplace: over the old bytes, then cut to length."""
    with file.open("r+") as stream:
        for at in range(0, len(text), 500):
            stream.write(text[at : at + 500])
            stream.flush()
            time.sleep(0.05)
        stream.truncate()


def renamed(file: Path, text: str) -> None:
    """rsync, sed -i, most programs: beside, then over it."""
    beside = file.with_suffix(".new")
    beside.write_text(text)
    beside.replace(file)


def backed_up(file: Path, text: str) -> None:
    """vim with a backup by renaming: the old one moves away, the new one is written in its place."""
    file.rename(f"{file}~")
    with file.open("w") as stream:
        stream.write(text[:100])
        stream.flush()
        time.sleep(0.3)
        stream.write(text[100:])


def removed(file: Path, text: str) -> None:
    """git checkout: unlinked, made anew."""
    file.unlink()
    file.write_text(text)


def redirected(file: Path, text: str) -> None:
    """`(cat; sleep; cat) > FILE` of a shell."""
    half = len(text) // 2
    script = 'printf %s "$1"; sleep 1; printf %s "$2"'
    with file.open("w") as stream:
        subprocess.run(
            ["sh", "-c", script, "sh", text[:half], text[half:]], stdout=stream, check=True
        )


def by_program(program: str, *arguments: str) -> Callable[[Path, str], None]:
    """An editor without a screen that takes the text from a file beside."""

    def save(file: Path, text: str) -> None:
        if shutil.which(program) is None:
            pytest.skip(f"no {program}")
        beside = file.parent.parent / "text"
        beside.write_text(text)
        given = [each.format(file=file, text=beside) for each in arguments]
        script = f"%d\nr {beside}\nw\nq\n" if program == "ed" else ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [program, *given], input=script.encode(), stdout=subprocess.DEVNULL, timeout=20,
                stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip

    return save


SAVES: dict[str, Callable[[Path, str], None]] = {
    "cut 0.1 s": cut_and_write(0.1),
    "cut 2 s": cut_and_write(2.0),
    "cut 6 s": cut_and_write(6.0),
    "cut, closed, appended": cut_then_append,
    "by piece": by_piece,
    "in place": in_place,
    "renamed": renamed,
    "backed up": backed_up,
    "removed": removed,
    "redirected": redirected,
    "vim": by_program(
        *("vim", "-Nu", "NONE", "-es", "{file}", "-c", "%d", "-c", "0r {text}"),
        *("-c", "wq!"),
    ),
    "vim, with a backup": by_program(
        *("vim", "-Nu", "NONE", "-es", "{file}", "-c", "set backup bkc=no bdir=."),
        *("-c", "%d", "-c", "0r {text}", "-c", "wq!"),
    ),
    "ed": by_program("ed", "-s", "{file}"),
    "sed": by_program("sed", "-i", "-e", "$r {text}", "-e", "d", "{file}"),
    "dd": by_program("dd", "if={text}", "of={file}", "bs=100"),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Origin]]:
    with Origin("a") as origin:
        node = Node(tmp_path_factory.mktemp("saves"), {"a.yaml": texts(origin, "v0")})
        with node:
            eventually(lambda: all(node.get(host)[0] == 200 for host in HOSTS))
            yield node, origin


def texts(origin: Origin, version: str) -> str:
    """What is saved: all services, and one named for the version, in the middle."""
    entries = [service_entry(name, origin.port) for name in NAMES]
    entries.insert(3, service_entry(version, origin.port))
    return "---\n".join(entries)


def serves(node: Node, host: str) -> bool:
    return node.get(host)[0] == 200


@pytest.mark.parametrize("how", SAVES)
def test_a_save_costs_no_request(running: tuple[Node, Origin], how: str) -> None:
    node, origin = running
    file = node.resources / "a.yaml"
    node.write("a.yaml", texts(origin, "v0"))
    eventually(lambda: serves(node, "v0.example"))
    with Traffic(node, *HOSTS, pause_s=0.002) as traffic:
        SAVES[how](file, texts(origin, "v1"))
        eventually(lambda: serves(node, "v1.example"), 20)
        assert not serves(node, "v0.example")
        assert traffic.goes_on(60)


def test_the_tree_of_a_config_map_is_swapped(tmp_path: Path) -> None:
    with Origin("a") as origin:
        for version in ("v0", "v1"):
            folder = tmp_path / "map" / f"..{version}"
            folder.mkdir(parents=True)
            (folder / "a.yaml").write_text(texts(origin, version))
        os.symlink("..v0", tmp_path / "map" / "..data")
        os.symlink("..data/a.yaml", tmp_path / "map" / "a.yaml")
        with Node(tmp_path / "node", resources={}, **_paths(tmp_path / "map")) as node:
            eventually(lambda: serves(node, "v0.example"))
            with Traffic(node, *HOSTS) as traffic:
                os.symlink("..v1", tmp_path / "map" / "..data_tmp")
                (tmp_path / "map" / "..data_tmp").replace(tmp_path / "map" / "..data")
                eventually(lambda: serves(node, "v1.example"), 1.5)
                assert traffic.goes_on()


def _paths(path: Path) -> dict[str, object]:
    return {"adapters": [{"type": "static", "name": "map", "options": {"paths": str(path)}}]}


def test_an_emptied_file_stands_until_it_is_confirmed_and_a_deleted_one_goes(
    running: tuple[Node, Origin],
) -> None:
    node, origin = running
    node.write("a.yaml", texts(origin, "v0"))
    node.write("b.yaml", service_entry("other", origin.port))
    eventually(lambda: serves(node, "v0.example") and serves(node, "other.example"))
    (node.resources / "a.yaml").write_text("")
    eventually(lambda: "it is empty" in node.cli("status").stdout)
    (node.resources / "b.yaml").unlink()
    eventually(lambda: not serves(node, "other.example"), 2)
    assert serves(node, "s0.example")
    pid = node.pids("registry")[0]
    os.kill(pid, 9)  # what stands outlives the process
    eventually(lambda: node.pids("registry").get(0, pid) != pid)
    eventually(lambda: "it is empty" in node.cli("status").stdout)
    assert serves(node, "s0.example")
    node.cli("registry", "confirm", "files")
    eventually(lambda: not serves(node, "s0.example"))


def test_a_file_that_lost_most_is_believed_when_it_stays_so(running: tuple[Node, Origin]) -> None:
    node, origin = running
    node.write("a.yaml", texts(origin, "v0"))
    eventually(lambda: serves(node, "v0.example"))
    begun = time.monotonic()
    (node.resources / "a.yaml").write_text(service_entry("s0", origin.port))
    eventually(lambda: "1 of 7 resources left" in node.cli("status").stdout)
    assert serves(node, "v0.example") or time.monotonic() - begun > 4
    eventually(lambda: not serves(node, "v0.example"), 20)
    assert serves(node, "s0.example")
    eventually(lambda: "resources left" not in node.cli("status").stdout)
