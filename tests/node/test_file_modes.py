"""Whose files others may write, or read the secrets of."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from egressd.api.parse import parse_text
from egressd.api.resource import Severity
from egressd.node.bootstrap import parse_bootstrap
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.file_modes import (
    Reader,
    check_bootstrap_file,
    check_files,
    check_keys,
    others_who_read,
    others_who_write,
)

NODE = Reader(1000, frozenset({1000, 50}))


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "who"),
    [
        (0o644, 0, 0, ""),
        (0o644, 1000, 1000, ""),
        (0o664, 0, 0, ""),
        (0o664, 0, 1000, "group 1000"),
        (0o660, 1000, 50, "group 50"),
        (0o646, 0, 0, "everybody"),
        (0o666, 0, 7, "everybody"),
        (0o1777, 0, 0, "everybody"),
        (0o600, 7, 0, "user 7, its owner"),
        (0o400, 7, 0, "user 7, its owner"),
    ],
)
def test_who_may_write(mode: int, uid: int, gid: int, who: str) -> None:
    assert others_who_write(mode, uid, gid, NODE) == who


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "who"),
    [
        (0o600, 0, 0, ""),
        (0o640, 0, 0, ""),
        (0o640, 0, 1000, ""),
        (0o640, 0, 50, ""),
        (0o640, 0, 7, "group 7"),
        (0o644, 0, 0, "everybody"),
        (0o604, 1000, 0, "everybody"),
        (0o400, 7, 50, "user 7, its owner"),
        (0o040, 7, 50, ""),
    ],
)
def test_who_may_read(mode: int, uid: int, gid: int, who: str) -> None:
    assert others_who_read(mode, uid, gid, NODE) == who


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory in which nothing is wrong, whatever the umask."""
    tmp_path.chmod(0o700)
    for name in ("run", "state", "resources"):
        (tmp_path / name).mkdir(mode=0o755)
    resource = tmp_path / "resources" / "a.yaml"
    resource.write_text("")
    resource.chmod(0o644)
    return tmp_path


def bootstrap(place: Path, **more: object) -> Bootstrap:
    given = {
        "runDir": str(place / "run"),
        "stateDir": str(place / "state"),
        "resources": [str(place / "resources")],
        **more,
    }
    return parse_bootstrap(json.dumps(given))


def found(config: Bootstrap) -> list[tuple[str, str]]:
    problems = list(check_files(config, Reader.current()))
    assert all(problem.severity is Severity.WARNING for problem in problems)
    return [(problem.field, problem.place.file) for problem in problems]


def test_a_sound_machine_has_no_findings(place: Path) -> None:
    assert found(bootstrap(place)) == []


@pytest.mark.parametrize("mode", [0o777, 0o757, 0o1777, 0o2772])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("run", "runDir"),
        ("state", "stateDir"),
        ("resources", "resources"),
        ("resources/a.yaml", "resources"),
    ],
)
def test_a_file_that_everybody_may_write_is_one_finding(
    place: Path, name: str, field: str, mode: int
) -> None:
    (place / name).chmod(mode)
    assert found(bootstrap(place)) == [(field, str(place / name))]


def test_whoever_may_write_above_may_put_another_in_its_place(place: Path) -> None:
    inner = place / "open" / "run"
    inner.mkdir(parents=True, mode=0o755)
    (place / "open").chmod(0o777)
    config = bootstrap(place, runDir=str(inner))
    assert found(config) == [("runDir", str(place / "open"))]
    (place / "open").chmod(0o1777)  # as /tmp
    assert found(config) == []


def test_a_link_is_as_safe_as_both_its_ends(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open" / "b.yaml").write_text("")
    (place / "open").chmod(0o777)
    (place / "link.yaml").symlink_to(place / "open" / "b.yaml")
    config = bootstrap(place, resources=[str(place / "link.yaml")])
    assert found(config) == [("resources", str(place / "open"))]


def test_patterns_and_static_adapters_are_looked_at(place: Path) -> None:
    (place / "resources" / "a.yaml").chmod(0o666)
    static = {"type": "static", "options": {"paths": str(place / "resources" / "*.yaml")}}
    config = bootstrap(place, resources=[], adapters=[static])
    file = str(place / "resources" / "a.yaml")
    assert found(config) == [("adapters[0].options.paths", file)]


def secret_file(place: Path, name: str, mode: int) -> str:
    file = place / name
    file.parent.mkdir(exist_ok=True, parents=True)
    file.parent.chmod(0o755)
    file.write_text("secret")
    file.chmod(mode)
    return str(file)


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o666, 2)])
def test_secrets_that_others_may_read_are_findings(place: Path, mode: int, count: int) -> None:
    names = ("token", "password", "k.pem", "kube", "credentials/shop/tls.key", "id/key.pem")
    token, password, key, kube, shop, own = (secret_file(place, name, mode) for name in names)
    (place / "credentials").chmod(0o755)
    fleet = {"store": "consul", "options": {"tokenFile": token, "tls": {"keyFile": key}}}
    config = bootstrap(
        place,
        adapters=[
            {"type": "consul", "options": {"tokenFile": token}},
            {"type": "eureka", "options": {"passwordFile": password}},
            {"type": "kubernetes", "options": {"kubeconfig": kube}},
            {"type": "fleet", "options": fleet},
        ],
        tls={"credentialsDir": str(place / "credentials"), "identityDir": str(place / "id")},
    )
    expected = [
        ("tls.credentialsDir", shop),
        ("tls.identityDir", own),
        ("adapters[0].options.tokenFile", token),
        ("adapters[1].options.passwordFile", password),
        ("adapters[2].options.kubeconfig", kube),
        ("adapters[3].options.options.tokenFile", token),
        ("adapters[3].options.options.tls.keyFile", key),
    ]
    assert sorted(found(config)) == sorted(expected * count)


def test_keys_that_resources_name_are_looked_at(place: Path) -> None:
    key = secret_file(place, "k.pem", 0o644)
    text = f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a}}
spec:
  host: a.example
  subsets:
    - name: s
      labels: {{a: b}}
      trafficPolicy: {{tls: {{mode: MUTUAL, clientCertificate: /c.pem, privateKey: {key}}}}}
"""
    (problem,) = check_keys(parse_text(text, "").resources, Reader.current())
    assert problem.resource == "DestinationRule/default/a"
    assert problem.field == "spec.subsets[0].trafficPolicy.tls.privateKey"
    os.chmod(key, 0o600)
    assert not list(check_keys(parse_text(text, "").resources, Reader.current()))


@pytest.mark.parametrize(
    ("options", "mode", "count"),
    [
        ({"address": "127.0.0.1:1"}, 0o644, 0),
        ({"address": "127.0.0.1:1"}, 0o646, 1),
        ({"token": "secret"}, 0o640, 0),
        ({"token": "secret"}, 0o644, 1),
        ({"address": "http://u:p@h"}, 0o644, 1),
        ({"tokenFile": "/t"}, 0o644, 0),
    ],
)
def test_a_bootstrap_file_with_secrets_is_one(
    place: Path, options: dict[str, str], mode: int, count: int
) -> None:
    config = bootstrap(place, adapters=[{"type": "consul", "options": options}])
    file = place / "egressd.yaml"
    file.write_text("")
    file.chmod(mode)
    problems = list(check_bootstrap_file(str(file), config, Reader.current()))
    assert len(problems) == count
    assert all(f"mode {stat.S_IMODE(mode):04o}" in problem.found for problem in problems)


def test_a_relative_path_is_the_file_itself(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (place / "b.yaml").write_text("")
    (place / "b.yaml").chmod(0o666)
    (problem,) = check_bootstrap_file("b.yaml", bootstrap(place), Reader.current())
    assert problem.expected == "the bootstrap file for root and the node's user only"


def test_what_is_not_there_is_no_finding(place: Path) -> None:
    config = bootstrap(
        place,
        runDir=str(place / "none" / "run"),
        resources=[str(place / "none")],
        tls={"credentialsDir": str(place / "none")},
    )
    assert found(config) == []
