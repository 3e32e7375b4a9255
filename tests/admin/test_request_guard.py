"""Which requests the admin server answers: Host, Origin and target, as tables and as a property."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.admin.request_guard import Access, Refusal, Target, access_of, check_request

PORT = 15000
TCP = Access(PORT, ipaddress.ip_address("127.0.0.1"))
UNIX = Access()


def status(
    target: bytes = b"/status",
    *,
    host: str | None = f"localhost:{PORT}",
    origin: str | None = None,
    version: bytes = b"1.1",
    access: Access = TCP,
) -> int:
    """200, or the status of the refusal."""
    headers = [(b"host", host.encode("latin-1"))] if host is not None else []
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    try:
        check_request(target, version, headers, access)
    except Refusal as refusal:
        return refusal.status
    return 200


OWN = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.1.2.3", "[::1]", "[0:0::1]"]
FOREIGN = [
    "evil.test",
    "localhost.evil.test",
    "127.0.0.1.evil.test",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "127.0.0.01",
    "0177.0.0.1",
    "0.0.0.0",
    "[::]",
    "[::ffff:127.0.0.1]",
    "10.0.0.1",
    "128.0.0.1",
    "[fe80::1]",
    "localhosts",
    "xlocalhost",
    "admin",
]
MALFORMED_HOST = ["", "a b", "::1", "user@localhost", "localhost:1:2", "[::1", "local/host", "é"]


@pytest.mark.parametrize("name", OWN)
def test_loopback_names_with_the_port_are_answered(name: str) -> None:
    assert status(host=f"{name}:{PORT}") == 200
    assert status(host=f"{name}:{PORT}", origin=f"http://{name}:{PORT}") == 200
    assert status(host=name, access=Access(80, TCP.address)) == 200


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("port", ["", ":", ":80", ":15001", f":0{PORT}", f":{PORT}0", ":99999999"])
def test_a_loopback_name_with_another_port_is_refused(name: str, port: str) -> None:
    assert status(host=name + port) == 403


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("port", ["", f":{PORT}"])
def test_foreign_hosts_are_refused_in_every_place(name: str, port: str) -> None:
    assert status(host=name + port) == 403
    assert status(b"http://" + (name + port).encode() + b"/status") == 403
    assert status(origin=f"http://{name}{port}") == 403
    assert status(host=name + port, access=UNIX) == 200


@pytest.mark.parametrize("host", MALFORMED_HOST)
def test_a_malformed_host_is_a_bad_request(host: str) -> None:
    assert status(host=host) == 400


def test_a_host_is_required_on_tcp_and_one_at_most_everywhere() -> None:
    assert status(host=None) == 400
    assert status(host=None, version=b"1.0") == 400
    assert status(host=None, version=b"1.0", access=UNIX) == 200
    both = [(b"host", f"localhost:{PORT}".encode()), (b"host", b"evil.test")]
    for access in (TCP, UNIX):
        with pytest.raises(Refusal) as refusal:
            check_request(b"/", b"1.1", both, access)
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.test",
        "http://localhost",
        "http://localhost:3000",
        f"https://localhost:{PORT}",
        f"localhost:{PORT}",
        f"http://localhost:{PORT}/",
        f"http://localhost:{PORT}@evil.test",
        f"http://evil.test#localhost:{PORT}",
        "file://",
        f"http://localhost:{PORT}, http://evil.test",
        f"http://localhost:{PORT} http://evil.test",
    ],
)
def test_foreign_origins_are_refused(origin: str) -> None:
    assert status(origin=origin) == 403


def test_one_foreign_origin_of_two_is_enough_to_refuse() -> None:
    headers = [(b"host", f"localhost:{PORT}".encode())]
    headers += [(b"origin", f"http://localhost:{PORT}".encode()), (b"origin", b"null")]
    with pytest.raises(Refusal):
        check_request(b"/", b"1.1", headers, TCP)


def test_the_configured_address_is_a_name_of_its_own() -> None:
    configured = access_of(("10.1.2.3", PORT))
    assert status(host=f"10.1.2.3:{PORT}", access=configured) == 200
    assert status(host=f"10.1.2.4:{PORT}", access=configured) == 403
    assert access_of(("::ffff:10.1.2.3", PORT, 0, 0)) == configured
    assert access_of("/run/egressd/admin.sock") == access_of("") == UNIX


def test_who_may_reach_the_socket_may_look_and_root_and_the_node_may_act() -> None:
    may_act = [access_of("/run/egressd/admin.sock", uid, 990).may_act for uid in (0, 990, 1000)]
    assert may_act == [True, True, False]


MALFORMED_TARGETS = [
    b"//[",
    b"/[",
    b"//]",
    b"status",
    b"*",
    b"",
    b"?host=a",
    b"#",
    b"/status#x",
    b"/a b",
    b"/%",
    b"/%zz",
    b"/%4",
    b"/\\",
    b"/\xff",
    b"/<script>",
    b'/"',
    b"/{}",
    b"/|",
    b"/^",
    b"/`",
    b"/?q=[",
    b"/?q=%zz",
    b"/?q=\xe9",
    b"/?a#b",
    b"/\x00",
    b"/\t",
    b"http:",
    b"http:/",
    b"http:///status",
    b"http://",
    b"http://[",
    b"http://[::1",
    b"http://[::1]x/",
    b"http://[v1.x]/",
    b"http://user@localhost:15000/",
    b"http://user:secret@localhost:15000/",
    b"http://localhost:port/",
    b"http://localhost:15000\\@evil.test/",
    b"http://localhost:15000#/",
    b"https://localhost:15000/status",
    b"ftp://localhost:15000/",
    b"localhost:15000",
    b"javascript:alert(1)",
    b"data:,x",
    b"//user@[::1]:x/",
    b"/[::1]:80",
]


@pytest.mark.parametrize("access", [TCP, UNIX], ids=["tcp", "unix"])
@pytest.mark.parametrize("target", MALFORMED_TARGETS)
def test_a_malformed_target_is_a_bad_request(target: bytes, access: Access) -> None:
    assert status(target, access=access) == 400


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", Target("/")),
        (b"//status", Target("//status")),
        (b"//a:b@c/d", Target("//a:b@c/d")),
        (b"/registry?host=a.example", Target("/registry", "host=a.example")),
        (b"/a?b?c/d", Target("/a", "b?c/d")),
        (b"/%41", Target("/%41")),
        (b"http://localhost:15000/status", Target("/status")),
        (b"HTTP://127.0.0.1:15000/a?b", Target("/a", "b")),
        (b"http://localhost:15000", Target("/")),
        (b"http://localhost:15000?a=b", Target("/", "a=b")),
        (b"http://localhost:15000?a=/b", Target("/", "a=/b")),
    ],
)
def test_a_target_is_split_once(target: bytes, expected: Target) -> None:
    headers = [(b"host", f"localhost:{PORT}".encode())]
    assert check_request(target, b"1.1", headers, TCP) == expected


@given(st.binary(max_size=40), st.text(max_size=20), st.sampled_from([TCP, UNIX]))
def test_whatever_is_asked_is_answered_or_refused(target: bytes, host: str, access: Access) -> None:
    headers = [(b"host", host.encode("utf-8"))]
    try:
        found = check_request(target, b"1.1", headers, access)
    except Refusal as refusal:
        assert refusal.status in (400, 403)
    else:
        assert found.path.startswith("/")


@pytest.mark.parametrize("version", [b"0.9", b"2.0", b"1.2", b"3.0"])
def test_other_versions_are_refused(version: bytes) -> None:
    assert status(version=version) == 505
