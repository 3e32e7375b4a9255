"""Whatever a client writes: one spelling of a name and path decides, and all others decide as it does.

Explain asks the functions that the workers ask, from the head to the endpoint.
"""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.explain.model import Explanation
from egressd.explain.question import Node, Question
from egressd.explain.text import render_text
from egressd.explain.walk import explain
from egressd.registry.profile import NodeProfile
from egressd.routing.path import EscapedSlashes, PathNormalization, PathNormalizer
from tests.explain.questions import step
from tests.routing.test_decisions import entry, view_of, virtual

DENY = (
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\n"
    "spec: {action: DENY, rules: [{to: [{operation: {hosts: [d.example]}}, "
    "{operation: {paths: ['/secret*', '/a%2fb']}}, {operation: {methods: [POST]}}]}]}\n"
)
ROUTES = (
    "[{match: [{uri: {prefix: /admin}}], directResponse: {status: 418}}, "
    "{match: [{uri: {prefix: /api}}], rewrite: {uri: /v1/}, route: [{destination: {host: a.example}}]}, "
    "{match: [{uri: {exact: /caf\xe9}}], directResponse: {status: 419}}, "
    "{match: [{authority: {exact: 'b.example'}}], directResponse: {status: 420}}, "
    "{route: [{destination: {host: a.example}}]}]"
)
VIEW = view_of(
    entry("a.example", "80 8080"), entry("b.example"), entry("d.example"), DENY,
    virtual("v", ["a.example", "b.example"], ROUTES),
)  # fmt: skip


def ask(
    host: bytes, target: bytes, method: bytes = b"GET", lines: bytes = b"", **how: object
) -> Explanation:
    head = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, lines)
    return explain(Node(VIEW, NodeProfile(), **how), Question("q", head=head))  # type: ignore[arg-type]


def decision(found: Explanation) -> tuple[object, ...]:
    sent = found.destinations[0].sent if found.destinations else None
    return (
        found.outcome.kind, found.outcome.status, found.outcome.flag, found.outcome.details,
        (sent.target, sent.authority, sent.headers) if sent else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        b"/./admin", b"/x/../admin", b"/%61dmin", b"/x/..\\admin", b"/x\\../admin", b"/..//../admin",
        b"/%2e/admin", b"/x/%2e%2e/admin", b"/x/.%2E/%61%64%6D%69n", b"/../admin", b"/a/b/../../admin",
    ],
)  # fmt: skip
def test_every_spelling_of_a_path_takes_its_route(path: bytes) -> None:
    assert ask(b"a.example", path).outcome.status == 418
    assert ask(b"a.example", b"http://a.example" + path).outcome.status == 418
    assert ask(b"d.example", b"http://a.example" + path + b"?/../x").outcome.status == 418


@pytest.mark.parametrize(
    "path",
    [
        b"/secret",
        b"/./secret/x",
        b"/%73ecret",
        b"/x/..\\secret",
        b"/a%2fb",
        b"/a%2Fb",
        b"/./%61%2fb",
    ],
)
def test_every_spelling_of_a_path_is_authorized_as_one(path: bytes) -> None:
    found = ask(b"a.example", path)
    assert (found.outcome.status, found.outcome.flag) == (403, "UAEX")


def test_paths_in_resources_have_the_same_form() -> None:
    for path in (b"/caf\xc3\xa9", b"/caf%c3%a9", b"/x/../caf%C3%A9"):
        assert ask(b"a.example", path).outcome.status == 419


@pytest.mark.parametrize(
    "path", [b"/api../x", b"/api./x", b"/api..", b"/api%2e%2e/x", b"/api..\\x", b"/api/../api../x"]
)
def test_a_rewrite_is_not_led_out_of_its_prefix(path: bytes) -> None:
    found = ask(b"a.example", path)
    assert found.outcome.status == 400
    assert "dot segments" in found.outcome.says


def test_a_rewrite_works_on_the_normal_path() -> None:
    sent = ask(b"a.example", b"/api/../api/%61?b=/../c").destinations[0].sent
    assert sent is not None
    assert sent.target == "/v1//a?b=/../c"
    sent = ask(b"a.example", b"/x/../y").destinations[0].sent
    assert sent is not None
    assert sent.target == "/y"


@pytest.mark.parametrize("path", [b"/%00", b"/a%00/../admin", b"/%%32e%%32e/admin"])
def test_a_path_that_cannot_be_read_is_refused(path: bytes) -> None:
    assert ask(b"a.example", path).outcome.status == 400


def test_escaped_slashes_are_kept_refused_or_decoded() -> None:
    path = b"/x%2f..%2fadmin"
    kept = ask(b"a.example", path).destinations[0].sent
    assert kept is not None
    assert kept.target == path.decode()
    reject = PathNormalizer(escaped_slashes=EscapedSlashes.REJECT)
    assert ask(b"a.example", path, paths=reject).outcome.status == 400
    decode = PathNormalizer(escaped_slashes=EscapedSlashes.DECODE)
    assert ask(b"a.example", path, paths=decode).outcome.status == 418
    merging = PathNormalizer(PathNormalization.DECODE_AND_MERGE_SLASHES)
    assert ask(b"a.example", b"/%2F%2fadmin", paths=merging).outcome.status == 418
    none = PathNormalizer(PathNormalization.NONE)
    raw = ask(b"a.example", b"/x/../admin", paths=none).destinations[0].sent
    assert raw is not None
    assert raw.target == "/x/../admin"


HOSTS = [
    "d.example",
    "D.Example",
    "d.example.",
    "d.example:80",
    "D.EXAMPLE.:80",
    "d.example:",
    "d.example:9",
]


@pytest.mark.parametrize("host", [host.encode() for host in HOSTS])
def test_every_spelling_of_a_host_is_denied(host: bytes) -> None:
    for found in (
        ask(host, b"/"),
        ask(b"a.example", b"http://" + host + b"/"),
        ask(b"a.example", b"HTTP://" + host),
        ask(
            b"a.example", (host if host[-1:].isdigit() else host.rstrip(b":") + b":443"), b"CONNECT"
        ),
    ):
        assert (found.outcome.status, found.outcome.flag) == (403, "UAEX")


@pytest.mark.parametrize(
    "host",
    [
        b"d.example..", b"d.example..:80", b".d.example", b"d..example", b"d.example:080",
        b"d.example:0", b"d.example:65536", b"d.example:+80", b"d.example:80:80", b"x@d.example",
        b"d.example\\", b"d%2eexample", b"d.example,a.example", b"d.example a.example", b"d.example/",
        b"127.1", b"0x7f.1", b"2130706433",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused_everywhere(host: bytes) -> None:
    assert ask(host, b"/").outcome.status == 400
    assert ask(b"a.example", host, b"CONNECT").outcome.status == 400
    if b"/" not in host and b"\\" not in host and b" " not in host:
        assert ask(b"a.example", b"http://" + host + b"/").outcome.status == 400
    if b" " not in host:
        assert ask(host, b"http://a.example/").outcome.status == 400


def test_authority_conditions_see_the_one_form() -> None:
    for host in (b"b.example", b"B.Example", b"b.example."):
        assert ask(host, b"/").outcome.status == 420


@pytest.mark.parametrize("method", [b"post", b"Post", b"POST ", b"PUTT", b"get"])
def test_a_method_is_what_it_is_or_refused(method: bytes) -> None:
    assert ask(b"a.example", b"/", method).outcome.status == 400
    assert ask(b"a.example", b"/", b"POST").outcome.status == 403


def test_explain_shows_both_spellings() -> None:
    found = ask(b"A.Example.:80", b"/x/../y%2f?q")
    notes = "\n".join(step(found, "listener").notes)
    assert "host A.Example.:80 is read as a.example:80" in notes
    assert "path /x/../y%2f is read, and goes on, as /y%2f (pathNormalization BASE)" in notes
    assert "is read as a.example:80" in render_text(found)
    absolute = step(ask(b"x", b"http://A.example"), "listener").notes
    assert not any(note.startswith("path") for note in absolute)
    assert not any("is read" in note for note in step(ask(b"a.example", b"/y"), "listener").notes)


def test_explain_shows_both_spellings_of_a_server_name() -> None:
    node = Node(VIEW, NodeProfile())
    found = explain(node, Question("q", sni="A.Example.", address="10.1.1.1", port=80))
    assert "server name A.Example. is read as a.example" in step(found, "listener").notes
    for name in ("a..example", "a.example:443", "127.1"):
        found = explain(node, Question("q", sni=name, address="10.1.1.1", port=80))
        assert (found.outcome.kind, found.outcome.flag) == ("closed", "DPE")


@pytest.mark.parametrize(
    ("upgrade", "status"),
    [("websocket", 0), ("h2c", 0), ("TLS/1.2", 0), ("foo", 403), ("websocket, foo", 403)],
)
def test_only_websocket_may_become_a_tunnel(upgrade: str, status: int) -> None:
    lines = f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n".encode()
    found = ask(b"a.example", b"/", lines=lines)
    assert found.outcome.status == status
    if not status:
        sent = found.destinations[0].sent
        assert sent is not None
        kept = [value for name, value in sent.headers if name.lower() == "upgrade"]
        assert kept == (["websocket"] if upgrade == "websocket" else [])


SEPARATORS = ["/", "\\", "/./", "/y/../", "/%2e/", "/y\\%2E%2e/", "/y/z/../.%2e\\"]
PARTS = st.lists(st.sampled_from(["x", "admin", "api", "secret", "a%2Fb"]), min_size=1, max_size=3)


@st.composite
def spelled(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A path, and another spelling of it."""
    parts = draw(PARTS)
    path = "/" + "/".join(parts)
    made = ""
    for part in parts:
        made += draw(
            st.sampled_from(["/", "\\", "/./", "/y/../", "/%2e/", "/y\\%2E%2e/", "/y/z/../.%2e\\"])
        )
        for at, char in enumerate(part):
            escapes = part[max(0, at - 2) : at + 1]
            free = char.isalnum() and "%" not in escapes
            made += draw(st.sampled_from([char, f"%{ord(char):02x}"])) if free else char
    if draw(st.booleans()):
        made = "/.." + made.replace("\\", "/", 1) if made[0] == "\\" else "/.." + made
    elif made[0] == "\\":
        made = "/" + made[1:]
    return path.encode(), made.encode()


@given(spelled(), st.sampled_from(["a.example", "b.example", "d.example"]), st.data())
@settings(max_examples=200, deadline=None)
def test_every_spelling_decides_as_the_normal_one(
    paths: tuple[bytes, bytes], host: str, data: st.DataObject
) -> None:
    path, spelling = paths
    name = "".join(data.draw(st.sampled_from([char, char.upper()])) for char in host)
    name += data.draw(st.sampled_from(["", ".", ":", ".:"]))
    wanted = decision(ask(host.encode(), path))
    target = data.draw(st.sampled_from([spelling, f"http://{name}".encode() + spelling]))
    assert decision(ask(name.encode(), target)) == wanted


def test_a_node_has_the_defaults_of_a_worker() -> None:
    fields = {field.name for field in dataclasses.fields(Node)}
    assert {"paths", "methods", "upgrades"} <= fields
