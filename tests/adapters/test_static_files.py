"""Files of the static source: which there are, when they count as changed, what is refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from adapters.static import content, files
from adapters.static.files import Look, Tree
from adapters.static.listing import list_files
from egressd.api.other_kinds import MARKER, kinds_named
from egressd.api.service_entry import ServiceEntry
from egressd.registry.records import Snapshot


def entry(name: str, address: str = "10.0.0.1") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\n"
        f"spec:\n  hosts: [{name}.test]\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n"
        f"  resolution: STATIC\n  endpoints: [{{address: {address}}}]\n"
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def said(look: Look) -> Snapshot:
    assert look.snapshot is not None
    return look.snapshot


def names(look: Look) -> list[str]:
    return sorted(record.resource.metadata.name for record in said(look).records)


def addresses(look: Look) -> set[str]:
    specs = [record.resource.spec for record in said(look).records]
    return {
        one.address for spec in specs if isinstance(spec, ServiceEntry) for one in spec.endpoints
    }


def listed(*paths: object) -> list[str]:
    return [os.path.basename(file) for file in list_files(map(str, paths)).files]


# -- which files ---------------------------------------------------------------------------------


def test_a_directory_is_read_with_those_below_and_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.json", "sub/c.yml", "README.md", ".x.yaml", "#y.yaml", ".git/z.yaml"):
        write(tmp_path / name, "")
    assert listed(tmp_path) == ["a.json", "b.yaml", "c.yml"]


def test_a_pattern_takes_files_and_directories_that_match(tmp_path: Path) -> None:
    for name in ("prod-a.yaml", "prod-b.yaml", "prod.txt", "test-a.yaml", "prod/deep/c.yaml"):
        write(tmp_path / name, "")
    assert listed(tmp_path / "prod*") == ["c.yaml", "prod-a.yaml", "prod-b.yaml"]
    assert listed(tmp_path / "**" / "*.yaml") == [
        "prod-a.yaml",
        "prod-b.yaml",
        "c.yaml",
        "test-a.yaml",
    ]
    assert listed(tmp_path / "none*.yaml") == []


def test_an_include_names_files_from_where_it_stands(tmp_path: Path) -> None:
    write(
        tmp_path / "conf/site.include",
        "# ours\n../shared/*.yaml  # theirs\nextra\n\nsite.include\n",
    )
    for name in ("shared/a.yaml", "conf/extra/b.yaml", "conf/not-named.yaml"):
        write(tmp_path / name, "")
    assert listed(tmp_path / "conf/site.include") == ["a.yaml", "b.yaml"]


def test_an_include_that_names_nothing_is_a_problem_with_its_line(tmp_path: Path) -> None:
    include = write(tmp_path / "site.include", "\nnone.yaml\n")
    listing = list_files([str(include)])
    (problem,) = listing.problems
    assert (problem.place.file, problem.place.line) == (str(include), 2)
    assert "none.yaml: no such file or directory" in problem.found


def test_a_link_that_leads_back_up_ends(tmp_path: Path) -> None:
    write(tmp_path / "sub/a.yaml", "")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert listed(tmp_path) == ["a.yaml"]


def test_what_is_watched_is_where_a_change_would_show(tmp_path: Path) -> None:
    write(tmp_path / "releases/1/a.yaml", "")
    (tmp_path / "current").symlink_to("releases/1")
    watch = list_files([str(tmp_path / "current"), str(tmp_path / "not/yet/there")]).watch
    assert watch[str(tmp_path / "current")]  # files in it
    assert str(tmp_path) in watch  # the link
    assert str(tmp_path / "releases") in watch  # what it leads to
    assert not watch[str(tmp_path)]  # a log file beside the link is nothing to us


def test_a_name_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    """Neither the store nor JSON takes it: the registry process ended over one such file."""
    write(tmp_path / "a.yaml", entry("a"))
    for name in (b"\xff.yaml", b"\xfe/b.yaml"):
        write(tmp_path / os.fsdecode(name), entry("b"))
    look = Tree("files", [str(tmp_path)]).look()
    assert names(look) == ["a"]
    assert [str(problem).removeprefix(f"error: {tmp_path}/") for problem in look.problems] == [
        r"\xfe/b.yaml: found a name that is not UTF-8, expected one that is",
        r"\xff.yaml: found a name that is not UTF-8, expected one that is",
    ]


def test_a_pipe_is_a_problem_and_waits_for_nobody(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", entry("a"))
    os.mkfifo(tmp_path / "b.yaml")
    look = Tree("files", [str(tmp_path)]).look()
    assert names(look) == ["a"]
    assert "b.yaml: found a pipe, socket or device" in str(look.problems[0])


# -- when a file has changed ---------------------------------------------------------------------


def test_a_touch_without_change_says_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", entry("a"))
    tree = Tree("files", [str(tmp_path)])
    first = said(tree.look())
    os.utime(file, ns=(1, 1))
    assert tree.look().snapshot is None
    beside = write(tmp_path / ".new", file.read_text())
    beside.replace(file)
    assert tree.look().snapshot is None
    assert first.source_version


def test_a_change_that_keeps_time_and_size_is_seen(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", entry("a", "10.0.0.1"))
    os.utime(file, ns=(10**18, 10**18))
    tree = Tree("files", [str(tmp_path)])
    first = said(tree.look())
    file.write_text(entry("a", "10.0.0.2"))
    os.utime(file, ns=(10**18, 10**18))
    second = said(tree.look())
    assert first.source_version != second.source_version


def test_a_change_within_the_same_tick_of_the_clock_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.yaml", entry("a", "10.0.0.1"))
    frozen = content.stamp_of(str(file))
    assert frozen is not None
    monkeypatch.setattr(files, "stamp_of", lambda path: frozen)
    monkeypatch.setattr(content, "_stamp", lambda found: frozen)
    monkeypatch.setattr(content, "_checksum_stamp", lambda path: ())
    tree = Tree("files", [str(tmp_path)])
    assert names(tree.look()) == ["a"]
    file.write_text(entry("a", "10.0.0.2"))
    assert tree.look().snapshot is not None


def test_records_carry_the_checksum_of_their_file_and_stay_the_same_objects(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", entry("a"))
    write(tmp_path / "b.yaml", entry("b"))
    tree = Tree("files", [str(tmp_path)])
    before = {record.resource.metadata.name: record for record in said(tree.look()).records}
    assert before["a"].source_version == hashlib.sha256(a.read_bytes()).hexdigest()[:12]
    a.write_text(entry("a", "10.0.0.2"))
    after = {record.resource.metadata.name: record for record in said(tree.look()).records}
    assert after["b"] is before["b"]
    assert after["a"].source_version != before["a"].source_version


def test_a_tree_that_is_swapped_while_it_is_read_is_never_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ConfigMap style: a.yaml and b.yaml lead through ..data, which is swapped between the two."""
    for version in ("1", "2"):
        for name in ("a", "b"):
            write(tmp_path / f"..{version}" / f"{name}.yaml", entry(name, f"10.0.0.{version}"))
    data = tmp_path / "..data"
    data.symlink_to("..1")
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    read_file = files.read_file

    def swapping(file: str, *arguments: object, **options: object) -> content.Read:
        read = read_file(file, *arguments, **options)  # type: ignore[arg-type]
        if file.endswith("a.yaml") and os.readlink(data) == "..1":
            (tmp_path / "..tmp").symlink_to("..2")
            (tmp_path / "..tmp").replace(data)
        return read

    monkeypatch.setattr(files, "read_file", swapping)
    assert addresses(Tree("files", [str(tmp_path)]).look()) == {"10.0.0.2"}


# -- what is refused and what is kept ------------------------------------------------------------


def test_a_file_with_an_error_keeps_what_it_said(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", entry("a"))
    tree = Tree("files", [str(tmp_path)])
    tree.look()
    file.write_text(entry("a") + "  nonsense: 1\n")
    look = tree.look()
    assert said(look).failed_origins == {str(file)}
    assert "nonsense" in str(look.problems[0])


def test_a_path_that_is_missing_keeps_what_was_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    write(folder / "a.yaml", entry("a"))
    write(tmp_path / "own.yaml", entry("b"))
    tree = Tree("files", [str(folder), str(tmp_path / "own.yaml")])
    assert names(tree.look()) == ["a", "b"]
    folder.rename(tmp_path / "elsewhere")
    look = tree.look()
    assert (names(look), look.missing) == (["a", "b"], f"{folder}: no such file or directory")
    assert not said(look).doubt  # it would hold every other loss
    assert names(tree.look(is_reread=True)) == ["a", "b"]
    (tmp_path / "elsewhere").rename(folder)
    (folder / "a.yaml").unlink()
    look = tree.look()
    assert (names(look), look.missing, said(look).doubt) == (["b"], "", "")
    assert not said(look).is_failing


def test_a_path_that_is_missing_from_the_start_has_not_answered(tmp_path: Path) -> None:
    snapshot = said(Tree("files", (str(tmp_path / "none"),)).look())
    assert (snapshot.records, snapshot.is_failing) == ((), True)


def test_a_missing_include_keeps_what_it_named(tmp_path: Path) -> None:
    include = write(tmp_path / "site.include", "lib/*.yaml\n")
    write(tmp_path / "lib/a.yaml", entry("a"))
    tree = Tree("files", [str(include)])
    assert names(tree.look()) == ["a"]
    include.rename(tmp_path / "x")
    assert names(tree.look()) == ["a"]


def test_a_path_that_was_never_there_is_told_and_keeps_what_the_registry_has(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "none.yaml")
    tree = Tree("files", [path])
    look = tree.look()
    assert (said(look).doubt, said(tree.look()).doubt) == (f"{path} was not there at the start", "")
    assert (look.missing, said(look).failed_origins) == (
        f"{path}: no such file or directory",
        {path},
    )


def test_a_half_copied_file_is_refused_by_the_checksum_beside_it(tmp_path: Path) -> None:
    text = entry("a", "10.0.0.1")
    file = write(tmp_path / "a.yaml", text)
    check = write(tmp_path / "a.yaml.sha256", _sum(text))
    tree = Tree("files", [str(tmp_path)])
    assert names(tree.look()) == ["a"]
    file.write_text(text[:60])
    look = tree.look()
    assert said(look).failed_origins == {str(file)}
    assert f"by {check}" in str(look.problems[0])
    whole = entry("a", "10.0.0.2")
    file.write_text(whole)
    assert said(tree.look()).failed_origins == {str(file)}
    check.write_text(_sum(whole))
    look = tree.look()
    assert (names(look), look.problems) == (["a"], ())


def test_checksums_may_be_asked_for(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", entry("a"))
    tree = Tree("files", [str(tmp_path)], needs_checksum=True)
    look = tree.look()
    assert said(look).failed_origins == {str(file)}
    assert "expected a checksum by" in str(look.problems[0])


def test_the_earlier_file_keeps_a_resource_that_two_define(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", entry("a", "10.0.0.1"))
    tree = Tree("files", [str(tmp_path)])
    tree.look()
    write(tmp_path / "a.yaml", entry("a", "10.0.0.2"))
    look = tree.look()
    assert [record.origin for record in said(look).records] == [str(tmp_path / "b.yaml")]
    assert "one definition" in str(look.problems[0])


def _sum(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()}  a.yaml\n"


# -- directories shared with Kubernetes ------------------------------------------------------------


def test_a_marker_in_the_directory_skips_other_kinds_as_it_comes_and_goes(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"apiVersion: v1\nkind: Service\n---\n{entry('a')}")
    tree = Tree("files", [str(tmp_path)])
    assert tree.look().problems
    marker = write(tmp_path / MARKER, "Service\n")
    assert names(tree.look()) == ["a"]
    assert tree.skipped() == "Service (1)"
    marker.unlink()
    assert tree.look().problems
    assert tree.skipped() == ""


def test_kinds_of_the_options_are_skipped_everywhere(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", f"apiVersion: v1\nkind: Service\n---\n{entry('a')}")
    look = Tree("files", [str(tmp_path)], others=kinds_named(["*"])).look()
    assert (names(look), look.problems) == (["a"], ())
