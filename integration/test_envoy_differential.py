"""The same resources in Envoy and in egressd answer the same requests the same way.

What is compared: status, the origin that answered (the cluster chosen), method, path, Host and headers
as the origin saw them, Location and the response headers that policies touch. Headers that only
Envoy adds are taken away (`_OWN_REQUEST`); every other difference is in `DIFFERENCES`.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from egressd.api.parse import parse_text
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
    }
)
_COMPARED_RESPONSE = (
    "location", "x-origin", "x-from-origin", "x-more", "access-control-allow-origin",
    "access-control-allow-credentials", "access-control-allow-methods",
    "access-control-allow-headers", "access-control-expose-headers", "access-control-max-age",
)  # fmt: skip

DIFFERENCES: dict[str, Callable[[Case], bool]] = {
    "a trailing dot of the host is ignored": lambda case: case.host == "two.test.",
    "headers set at route and destination": lambda case: case.target.startswith("/two"),
}
"""Each has its justification in docs/differences.md. One that no case shows any more fails the test."""


def ask(port: int, case: Case) -> dict[str, Any]:
    """The answer, in what is compared."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    try:
        connection.putrequest(case.method, case.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", case.host)
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


def test_egressd_answers_as_envoy_does(tmp_path: Path) -> None:
    envoy_binary()
    with ExitStack() as stack:
        origins = {
            name: stack.enter_context(EchoOrigin(name)) for name in ("one", "two", "three", "v2")
        }
        ports = {name: origin.port for name, origin in origins.items()}
        text = resources(ports, free_port())
        parsed = parse_text(text, "cases.yaml")
        assert not parsed.errors, parsed.errors
        port = free_port()
        envoy = stack.enter_context(Envoy(tmp_path, configuration(parsed.resources, port), port))
        node = stack.enter_context(Node(tmp_path / "node", {"cases.yaml": text}))
        found: dict[Case, tuple[Any, Any]] = {}
        asked = cases()
        assert len(asked) >= 200
        for case in asked:
            ours, theirs = ask(node.port, case), ask(envoy.port, case)
            if ours != theirs:
                found[case] = (ours, theirs)
        unexpected = {
            str(case): both
            for case, both in found.items()
            if not any(explains(case) for explains in DIFFERENCES.values())
        }
        assert not unexpected, _shown(unexpected)
        for name, explains in DIFFERENCES.items():
            assert any(explains(case) for case in found), f"differs no more: {name}"


def _shown(found: dict[str, tuple[Any, Any]]) -> str:
    lines = [f"{len(found)} differ"]
    for case, (ours, theirs) in found.items():
        lines.append(case)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                lines.append(f"    {key}: egressd {ours.get(key)!r}, Envoy {theirs.get(key)!r}")
    return "\n".join(lines)


def test_each_difference_is_justified_in_the_documents() -> None:
    text = (Path(__file__).parents[1] / "docs" / "differences.md").read_text()
    assert all(f"## {name[0].upper()}{name[1:]}" in text for name in DIFFERENCES)
