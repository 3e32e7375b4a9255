"""The same resources in Envoy and in egressd answer the same requests the same way.

What is compared: status, the origin that answered (the cluster chosen), method, path, Host and headers
as the origin saw them, Location and the response headers that policies touch. Headers that only
Envoy adds are taken away (`_OWN_REQUEST`); every other difference is in `DIFFERENCES`. Resources and
requests are those of `cases`, written to stand at the edges of rules, and those of `generated`, drawn
at random; for the latter the number of attempts is compared, too.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from egressd.api.parse import parse_text
from integration.envoy import generated
from integration.envoy.cases import Case, cases, resources
from integration.envoy.config import configuration
from integration.envoy.echo import EchoOrigin
from integration.envoy.process import Envoy, envoy_binary
from integration.node import Node
from integration.test_node_l4 import free_port

_OWN_REQUEST = frozenset(
    {
        "x-forwarded-proto",  # Envoy adds it to every request; egressd sends what the client sent
        "x-request-id",  # both add one, random
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-internal",
        "x-envoy-original-path",  # egressd logs the original path instead
        "x-envoy-original-host",
        "x-envoy-attempt-count",
        "x-case",
    }
)
_COMPARED_RESPONSE = (
    "location", "x-origin", "x-from-origin", "x-more", "x-gone", "x-set-r", "x-add-r", "x-set-d",
    "x-add-d", "x-one", "x-two", "x-three", "access-control-allow-origin",
    "access-control-allow-credentials", "access-control-allow-methods",
    "access-control-allow-headers", "access-control-expose-headers", "access-control-max-age",
)  # fmt: skip

DIFFERENCES: dict[str, Callable[[Case], bool]] = {
    "names have one form": lambda case: case.host != case.host.lower().rstrip("."),
    "operations are set, add, remove": lambda case: case.target.startswith("/order"),
    "headers set at route and destination": lambda case: case.target.startswith("/two"),
}
"""Each has its justification in docs/differences.md. One that no case shows any more fails the test."""


def ask(port: int, case: Case, tag: str) -> dict[str, Any]:
    """The answer, in what is compared. Origins count attempts by `tag`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.putrequest(case.method, case.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", case.host)
        connection.putheader("x-case", tag)
        for name, value in case.headers:
            connection.putheader(name, value)
        if case.method in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", "0")
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        found: dict[str, Any] = {"status": response.status}
        for name in _COMPARED_RESPONSE:
            if (value := response.getheader(name)) is not None:
                found[name] = value
        try:
            seen = json.loads(body)
        except ValueError:
            return found
        headers = sorted(
            (k, v)
            for k, v in seen["headers"]
            # Envoy says of an OPTIONS without a body that it has none.
            if k not in _OWN_REQUEST and (k, v) != ("content-length", "0")
        )
        return {**found, **seen, "headers": headers}
    finally:
        connection.close()


Both = dict[Case, tuple[dict[str, Any], dict[str, Any]]]


def differing(tmp_path: Path, more: str, asked: list[Case]) -> Both:
    """The cases whose answers differ: ours, Envoy's. `more` resources stand beside those of `cases`."""
    envoy_binary()
    with ExitStack() as stack:
        origins = {
            name: stack.enter_context(EchoOrigin(name)) for name in ("one", "two", "three", "v2")
        }
        ports = {name: origin.port for name, origin in origins.items()}
        text = resources(ports, free_port()) + more
        parsed = parse_text(text, "cases.yaml")
        assert not parsed.errors, parsed.errors
        port = free_port()
        envoy = stack.enter_context(Envoy(tmp_path, configuration(parsed.resources, port), port))
        node = stack.enter_context(Node(tmp_path / "node", {"cases.yaml": text}))
        found: Both = {}
        for number, case in enumerate(asked):
            ours, theirs = ask(node.port, case, f"e{number}"), ask(envoy.port, case, f"v{number}")
            for answer, tag in ((ours, f"e{number}"), (theirs, f"v{number}")):
                answer["attempts"] = sum(origin.attempts[tag] for origin in origins.values())
            if ours != theirs:
                found[case] = (ours, theirs)
        return found


def unexplained(found: Both) -> Both:
    return {
        case: both
        for case, both in found.items()
        if not _only_attempts_of_a_post(case, *both)
        and not any(explains(case) for explains in DIFFERENCES.values())
    }


def _only_attempts_of_a_post(case: Case, ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """docs/differences.md: the default policy retries only idempotent requests on an answer."""
    return (
        case.method in ("POST", "PATCH")
        and ours["attempts"] == 1
        and ours == {**theirs, "attempts": 1}
    )


def test_egressd_answers_as_envoy_does(tmp_path: Path) -> None:
    asked = cases()
    assert len(asked) >= 200
    found = differing(tmp_path, "", asked)
    assert not unexplained(found), _shown(unexplained(found))
    for name, explains in DIFFERENCES.items():
        assert any(explains(case) for case in found), f"differs no more: {name}"


@pytest.mark.parametrize("seed", [1, 6, 8])
def test_egressd_answers_as_envoy_does_to_what_chance_makes(tmp_path: Path, seed: int) -> None:
    found = differing(tmp_path, generated.documents(seed), generated.requests(seed, 400))
    assert not unexplained(found), _shown(unexplained(found))


def _shown(found: Both) -> str:
    lines = [f"{len(found)} differ"]
    for case, (ours, theirs) in found.items():
        lines.append(str(case))
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                lines.append(f"    {key}: egressd {ours.get(key)!r}, Envoy {theirs.get(key)!r}")
    return "\n".join(lines)


def test_each_difference_is_justified_in_the_documents() -> None:
    text = (Path(__file__).parents[1] / "docs" / "differences.md").read_text()
    assert all(f"## {name[0].upper()}{name[1:]}" in text for name in DIFFERENCES)
