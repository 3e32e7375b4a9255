"""A secret in any option, right or wrong, is in nothing that the node says of itself."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import structlog
import yaml
from structlog.testing import capture_logs

from adapters.consul.options import read_options
from adapters.kubernetes.kubeconfig import AccessError, load_access
from egressd.api.message import Message
from egressd.node.bootstrap import BootstrapError, parse_bootstrap
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.log import redact_event
from egressd.node.shown import shown_bootstrap
from egressd.node.sources import find_factory
from egressd.registry.adapter import AdapterConfigError, AdapterContext
from egressd.registry.adapter_options import (
    alternatives,
    declared_options,
    is_declared_secret,
    is_struct,
    option_hints,
)
from egressd.registry.registration_file import RegistrationFileError, parse_registrations

MARK = "S3CR3T"
URL = f"http://user:{MARK}@127.0.0.1:1/p?key={MARK}"
WRONG: tuple[object, ...] = (
    URL,
    [URL],
    {"a": URL},
    {URL: 1},
    [[URL]],
    [{"host": URL}],
    f"user:{MARK}@h",
    f"http://user:{MARK}/x@h",
    f"http://user:a {MARK}@h",
    [f"http://user:a {MARK}@h"],
    {f"http://user:a {MARK}@h": 1},
)
KINDS = sorted(point.name for point in entry_points(group="egressd.adapters"))
GOOD: Mapping[str, Mapping[str, object]] = {
    "dns": {"names": [{"host": "a.example"}]},
    "static": {"paths": ["/nowhere"]},
    "fleet": {"store": "etcd"},
}


@pytest.fixture(autouse=True, scope="module")
def entry_points_are_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        cached = cache(entry_points)
        patch.setattr("egressd.node.sources.entry_points", cached)
        patch.setattr("egressd.fleet.config.entry_points", cached)
        yield


def option_paths(shape: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    """Every option, with those of options that are structs themselves."""
    for field in msgspec.structs.fields(shape):
        yield (field.encode_name,)
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                yield from ((field.encode_name, *rest) for rest in option_paths(inner))


def nested(path: tuple[str, ...], value: object) -> dict[str, object]:
    return {path[0]: nested(path[1:], value) if path[1:] else value}


def cases() -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind in KINDS:
        shape = declared_options(find_factory(kind), GOOD.get(kind, {}))
        assert shape is not None, f"{kind} does not declare its options"
        yield from ((kind, path) for path in option_paths(shape))


def said_of(kind: str, options: Mapping[str, object]) -> str:
    """All that is said of one adapter with these options: the dump, its repr, its refusal."""
    text = yaml.safe_dump({"adapters": [{"type": kind, "options": dict(options)}]})
    said = []
    with capture_logs() as logs:
        try:
            bootstrap = parse_bootstrap(text, "f.yaml")
            said += [repr(bootstrap), json.dumps(shown_bootstrap(bootstrap))]
            config = bootstrap.adapters[0]
            find_factory(kind)(AdapterContext(name="n"), config.options)
        except (AdapterConfigError, BootstrapError) as error:
            chain: BaseException | None = error
            while chain is not None:
                said.append(f"{chain} {chain!r}")
                chain = None if chain.__suppress_context__ else chain.__context__
    return "\n".join([*said, str(logs)])


def hint_at(shape: object, path: tuple[str, ...]) -> object:
    """The declared type of an option by its path, elements of lists included."""
    hint = shape
    for name in path:
        structs = (one for one in alternatives(hint) if is_struct(one))
        hint = next(hints[name] for one in structs if name in (hints := option_hints(one)))
    return hint


@pytest.mark.parametrize(
    ("kind", "path"),
    list(cases()),
    ids=lambda one: ".".join(one) if isinstance(one, tuple) else one,
)
def test_no_option_of_an_adapter_shows_a_secret(kind: str, path: tuple[str, ...]) -> None:
    shape = declared_options(find_factory(kind), GOOD.get(kind, {}))
    assert shape is not None
    values = [*WRONG]
    if is_declared_secret(hint_at(shape, path)):
        values += [MARK, [MARK], {MARK: MARK}, {"a": MARK}]
    for value in values:
        said = said_of(kind, {**GOOD.get(kind, {}), **nested(path, value)})
        assert MARK not in said, value
        assert said


@pytest.mark.parametrize("kind", KINDS)
def test_an_option_that_nobody_knows_is_not_shown(kind: str) -> None:
    for options in ({"pasword": MARK}, {URL: URL}, {"tls": {"pasword": MARK}}):
        assert MARK not in said_of(kind, {**GOOD.get(kind, {}), **options})


@pytest.mark.parametrize("store", ["etcd", "consul", "other", 3, URL, [MARK]])
def test_options_of_a_fleet_store_show_no_secret(store: object) -> None:
    for name in ("token", "password", "endpoints", "address", "user", "x"):
        value = MARK if name in ("token", "password", "x") else URL
        said = said_of("fleet", {"store": store, "options": {name: value}})
        assert MARK not in said, name
    assert MARK not in said_of("fleet", {"store": "etcd", "options": [MARK]})


def test_the_address_of_a_source_stays_readable() -> None:
    said = said_of("consul", {"address": "http://127.0.0.1:8500", "token": MARK})
    assert '"address": "http://127.0.0.1:8500", "token": "[redacted]"' in said
    said = said_of("fleet", {"store": "consul", "options": {"address": "h:1", "token": MARK}})
    assert '"options": {"address": "h:1", "token": "[redacted]"}' in said


def test_options_of_an_adapter_that_declares_no_type_are_not_shown() -> None:
    bootstrap = parse_bootstrap(f"adapters: [{{type: none-such, options: {{a: {MARK}, b: [1]}}}}]")
    shown = shown_bootstrap(bootstrap)
    assert isinstance(shown, dict)
    assert shown["adapters"][0]["options"] == {"a": "[not shown]", "b": "[not shown]"}


def bootstrap_paths(
    shape: type[Message], before: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for field in msgspec.structs.fields(shape):
        path = (*before, field.encode_name)
        yield path
        for inner in (field.type, *get_args(field.type)):
            if isinstance(inner, type) and issubclass(inner, Message):
                yield from bootstrap_paths(inner, path)


@pytest.mark.parametrize("path", list(bootstrap_paths(Bootstrap)), ids=".".join)
def test_no_field_of_the_bootstrap_shows_a_secret(path: tuple[str, ...]) -> None:
    for value in WRONG:
        inner = [nested(path[1:], value)] if path[1:] else value
        for given in (nested(path, value), {path[0]: inner}):
            try:
                said = json.dumps(shown_bootstrap(parse_bootstrap(yaml.safe_dump(given), "f")))
            except BootstrapError as error:
                said = f"{error} {error.problems!r}"
            assert MARK not in said, value


def logged(**event: Any) -> str:
    """A log line as it is written."""
    out = io.StringIO()
    log = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[
            structlog.processors.format_exc_info,
            redact_event,
            structlog.processors.JSONRenderer(),
        ],
    )
    try:
        raise ValueError(f"cannot reach {URL}")
    except ValueError:
        log.error("failed", exc_info=True, **event)
    return out.getvalue()


def test_a_log_line_shows_no_secret_of_a_url() -> None:
    line = logged(reason=URL, many=[URL], error=OSError(URL), path=Path("/x"), count=3)
    assert MARK not in line
    assert json.loads(line)["count"] == 3


def test_every_entry_point_declares_its_options() -> None:
    points: list[EntryPoint] = []
    for group in ("egressd.adapters", "egressd.keyvalue", "egressd.registrars"):
        points += entry_points(group=group)
    own = [point for point in points if point.module.startswith("adapters.")]
    assert own
    for point in own:
        assert declared_options(point.load(), {}) is not None, point.name


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://u:{MARK}@h",
        f"http://u:{MARK}@h:99999/",
        f"u:{MARK}@h",
        f"http://u:{MARK}@[::1/",
        f"http://u:{MARK} x@h/",
        f"http://u@h/?{MARK}",
    ],
)
def test_a_url_of_the_environment_or_a_file_shows_no_secret(url: str, tmp_path: Path) -> None:
    said: list[str] = []
    for make in (
        lambda: parse_registrations(_services({"http": url}), "f"),
        lambda: parse_registrations(_services({"tcp": url}), "f"),
        lambda: read_options("c", {}, {"CONSUL_HTTP_ADDR": url, "CONSUL_HTTP_TOKEN": MARK}),
        lambda: load_access(_kubeconfig(tmp_path, server=url), "", {}),
        lambda: load_access(
            _kubeconfig(tmp_path, **{"server": "http://h", "proxy-url": url}), "", {}
        ),
        lambda: load_access(_kubeconfig(tmp_path, server="http://h"), "", {}),
        lambda: load_access("", "", {"KUBECONFIG": url}),
        lambda: load_access(
            "", "", {"KUBERNETES_SERVICE_HOST": "h", "KUBERNETES_SERVICE_PORT": url}
        ),
    ):
        try:
            said.append(repr(make()))
        except (RegistrationFileError, AdapterConfigError, AccessError) as error:
            said.append(f"{error} {error!r}")
    assert len(said) == 8
    assert not [one for one in said if MARK in one]


def _services(check: Mapping[str, str]) -> str:
    return json.dumps({"services": [{"name": "a", "port": 1, "check": check}]})


def _kubeconfig(directory: Path, **cluster: str) -> str:
    file = directory / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": MARK}}],
            }
        )
    )
    return str(file)
