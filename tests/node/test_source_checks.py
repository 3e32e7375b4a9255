"""Adapters that the bootstrap names wrongly are errors of it, whoever wrote the adapter."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest

from egressd.api.secret import Secret
from egressd.node import source_checks, sources
from egressd.node.bootstrap import BootstrapError, parse_bootstrap
from egressd.node.source_checks import check_sources, check_sources_apart
from egressd.node.sources import find_factory
from egressd.registry.adapter import AdapterConfigError, AdapterContext
from egressd.registry.adapter_options import (
    alternatives,
    declared_options,
    declares_options,
    is_struct,
    option_hints,
)

GOOD: Mapping[str, Mapping[str, object]] = {
    "static": {"paths": ["/x"]},
    "dns": {"names": [{"host": "a.example"}]},
    "fleet": {"store": "consul", "options": {"address": "127.0.0.1:8500"}},
    "consul": {},
    "etcd": {},
    "eureka": {},
    "kubernetes": {},
}


def said(text: str, check: Callable[..., None] = check_sources) -> list[str]:
    try:
        parse_bootstrap(text, "e.yaml", check)
    except BootstrapError as error:
        return [str(problem) for problem in error.problems]
    return []


def of(kind: str, options: Mapping[str, object]) -> list[str]:
    adapter = {"type": kind, "options": options}
    return said(msgspec.json.encode({"adapters": [adapter]}).decode())


def places(shape: type[msgspec.Struct], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all options, nested ones too."""
    for name, hint in option_hints(shape).items():
        yield (*path, name)
        for one in alternatives(hint):
            if is_struct(one):
                yield from places(one, (*path, name))


def with_option(options: Mapping[str, object], path: tuple[str, ...], value: object) -> object:
    name, *rest = path
    inner = options.get(name)
    nested = inner if isinstance(inner, Mapping) else {}
    return {**options, name: with_option(nested, tuple(rest), value) if rest else value}


def cases() -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind, good in GOOD.items():
        shape = declared_options(find_factory(kind), good)
        assert shape is not None
        for path in places(shape):
            yield kind, path


@pytest.mark.parametrize("kind", GOOD)
def test_good_options_are_good(kind: str) -> None:
    assert not of(kind, GOOD[kind])


@pytest.mark.parametrize(("kind", "path"), list(cases()))
def test_every_option_that_is_misspelt_is_told_with_its_right_name(
    kind: str, path: tuple[str, ...]
) -> None:
    *above, name = path
    wrong = name[:1] + name[2:] if len(name) > 4 else name + name[-1]
    options = with_option(GOOD[kind], (*above, wrong), "x")
    assert isinstance(options, Mapping)
    field = ".".join(("adapters[0].options", *above, wrong))
    found = [line for line in of(kind, options) if f": {field}: found an unknown option" in line]
    (line,) = found
    assert "(did you mean that?)" in line
    assert line.startswith("error: e.yaml:1: ")


@pytest.mark.parametrize(("kind", "path"), list(cases()))
def test_every_option_of_a_wrong_type_is_told(kind: str, path: tuple[str, ...]) -> None:
    options = with_option(GOOD[kind], path, [[3.5]])
    assert isinstance(options, Mapping)
    field = ".".join(("adapters[0].options", *path))
    assert [line for line in of(kind, options) if f": {field}" in line]


def test_all_that_is_wrong_is_told_at_once_with_its_line() -> None:
    text = """
adapters:
  - type: consull
  - type: consul
    options:
      adress: x
      tls:
        caFlie: y
"""
    first, second, third = said(text)
    assert first.startswith('error: e.yaml:3: adapters[0].type: found "consull"')
    assert '"consul" (did you mean that?)' in first
    assert second.startswith("error: e.yaml:6: adapters[1].options.adress: found an unknown option")
    assert third.startswith("error: e.yaml:8: adapters[1].options.tls.caFlie: found an unknown opt")


class Settings(msgspec.Struct):
    """As the package of somebody else has it: it does not forbid what it does not know."""

    path: str
    every: int = 1
    token: Secret = Secret()


@declares_options(Settings)
def declared(context: AdapterContext, options: Mapping[str, object]) -> object:
    return object()


def in_own_words(context: AdapterContext, options: Mapping[str, object]) -> object:
    raise AdapterConfigError(f"adapter {context.name}: options.path: found 3, expected a file")


def in_free_words(context: AdapterContext, options: Mapping[str, object]) -> object:
    raise AdapterConfigError("the path is not for us")


def unchecked(context: AdapterContext, options: Mapping[str, object]) -> object:
    return options["path"]


def away(context: AdapterContext, options: Mapping[str, object]) -> object:
    raise FileNotFoundError("/srv/roster.json")


class Point:
    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.load = name, load


def broken() -> object:
    raise ImportError("no module named roster_lib")


def hanging() -> object:
    time.sleep(600)
    return declared


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    def install(factory: object, load: Callable[[], object] | None = None) -> None:
        points = [Point("roster", load or (lambda: factory))]
        for module in (source_checks, sources):
            monkeypatch.setattr(module, "entry_points", lambda group: points)

    return install


@pytest.mark.parametrize(
    ("factory", "options", "expected"),
    [
        (declared, {"path": "/x"}, []),
        (declared, {"path": "/x", "every": "3"}, []),
        (declared, {"path": "/x", "evry": 3}, ['.evry: found an unknown option, expected "every"']),
        (declared, {"path": 3}, [".path: found 3, expected `str`"]),
        (declared, {"path": "/x", "every": "often"}, [".every: found 'often', expected `int`"]),
        (declared, {}, [".path: found nothing"]),
        (declared, {"path": "/x", "token": 77}, [".token: found int, not shown"]),
        (in_own_words, {"path": 3}, [".path: found 3, expected a file"]),
        (in_free_words, {"path": 3}, [": found the path is not for us"]),
        (unchecked, {"path": 3}, []),
        (unchecked, {}, [": found values that the adapter does not take: KeyError: 'path'"]),
        (away, {"path": "/srv/roster.json"}, []),
    ],
)
def test_an_adapter_of_somebody_else_is_held_to_what_it_says(
    third_party: Callable[[object], None],
    factory: object,
    options: Mapping[str, object],
    expected: list[str],
) -> None:
    third_party(factory)
    found = of("roster", options)
    assert len(found) == len(expected), found
    for line, part in zip(found, expected, strict=True):
        assert f"adapters[0].options{part}" in line


def test_an_adapter_whose_code_does_not_load_is_an_error(
    third_party: Callable[..., None],
) -> None:
    third_party(None, broken)
    (line,) = of("roster", {})
    assert 'adapters[0].type: found "roster", whose code cannot be loaded: ImportError' in line


@pytest.mark.parametrize("load", [hanging, lambda: os._exit(3)])
def test_code_that_ends_or_stops_the_process_that_looks_harms_nobody(
    third_party: Callable[..., None], monkeypatch: pytest.MonkeyPatch, load: Callable[[], object]
) -> None:
    monkeypatch.setattr(source_checks, "_PATIENCE_S", 0.05)
    third_party(None, load)
    assert said("adapters: [{type: roster}]", check_sources_apart) == []


def test_a_process_apart_says_the_same() -> None:
    text = "adapters: [{type: consul, options: {adress: x}}, {type: fleet, options: {store: etdc}}]"
    assert said(text, check_sources_apart) == said(text) != []
