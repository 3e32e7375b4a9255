"""What is wrong with the files of TLS settings, as soon as a rule is there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trustme

from egressd.api.parse import parse_text
from egressd.api.resource import Resource
from egressd.node.tls_files_watch import Seen, look_again
from egressd.registry.profile import NodeProfile
from egressd.upstream.tls_files import look_at_tls_files

NOBODY = NodeProfile()
NOW = datetime(2026, 8, 1, tzinfo=UTC)
API = "apiVersion: networking.istio.io/v1\nmetadata: {name: r}\n"
CLIENT = "kind: DestinationRule\nspec: {host: a.example, trafficPolicy: {tls: %s}}\n"
NESTED = (
    "kind: DestinationRule\nspec: {host: a.example, subsets: [{name: v, labels: {v: '1'}, "
    "trafficPolicy: {portLevelSettings: [{port: {number: 443}, tls: %s}]}}]}\n"
)
SERVER = (
    "kind: Gateway\nspec: {servers: [{port: {number: 443, name: h, protocol: HTTPS}, "
    "hosts: ['*'], tls: %s}]}\n"
)
MUTUAL = "{mode: MUTUAL, clientCertificate: D/c.pem, privateKey: D/c.key, caCertificates: D/ca.pem}"
SIMPLE = "{mode: SIMPLE, serverCertificate: D/c.pem, privateKey: D/c.key}"
NAMED = "{mode: SIMPLE, credentialName: shop}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def place(tmp_path: Path, authority: trustme.CA) -> Path:
    write(tmp_path, authority)
    return tmp_path


def write(place: Path, authority: trustme.CA, ends: datetime | None = None) -> None:
    made = authority.issue_cert("a.example", not_after=ends or NOW + timedelta(days=90))
    authority.cert_pem.write_to_path(place / "ca.pem")
    made.private_key_pem.write_to_path(place / "c.key")
    (place / "c.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))


def resource(shape: str, tls: str, place: Path) -> Resource:
    parsed = parse_text(API + shape % tls.replace("D/", f"{place}/"), "r.yaml")
    assert not parsed.errors, parsed.errors
    return parsed.resources[0]


def said(one: Resource, profile: NodeProfile = NOBODY, now: datetime = NOW) -> list[str]:
    return [
        f"{p.field}: {p.found}" for p in look_at_tls_files(one, profile, now.timestamp()).problems
    ]


FIELDS = {
    CLIENT: "spec.trafficPolicy.tls",
    NESTED: "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls",
    SERVER: "spec.servers[0].tls",
}
CASES = [(CLIENT, MUTUAL), (NESTED, MUTUAL), (SERVER, SIMPLE)]


@pytest.mark.parametrize(("shape", "tls"), CASES)
def test_good_files_are_good(shape: str, tls: str, place: Path) -> None:
    assert said(resource(shape, tls, place)) == []


@pytest.mark.parametrize("tls", ["{mode: DISABLE}", "{mode: SIMPLE}", "{mode: SIMPLE, sni: x}"])
def test_settings_without_files_are_good(tls: str, place: Path) -> None:
    assert said(resource(CLIENT, tls, place)) == []


@pytest.mark.parametrize(("shape", "tls"), CASES)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text(""),
        lambda path: path.write_text("no PEM"),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
    ],
)
@pytest.mark.parametrize("file", ["c.pem", "c.key", "ca.pem"])
def test_any_file_that_does_not_load_is_told(
    shape: str, tls: str, spoil: Callable[[Path], object], file: str, place: Path
) -> None:
    spoil(place / file)
    found = said(resource(shape, tls, place))
    if file in tls:
        (line,) = found
        assert line.startswith(f"{FIELDS[shape]}: ")
        assert file in line
    else:
        assert not found


def test_a_key_of_another_certificate_is_told(place: Path, authority: trustme.CA) -> None:
    authority.issue_cert("b.example").private_key_pem.write_to_path(place / "c.key")
    (line,) = said(resource(CLIENT, MUTUAL, place))
    assert "key values mismatch" in line


@pytest.mark.parametrize(
    ("days", "words"),
    [(-1, "expired 2026-07-31"), (3, "expires 2026-08-04"), (30, "")],
)
@pytest.mark.parametrize(("shape", "tls"), CASES)
def test_a_certificate_that_ends_is_told(
    shape: str, tls: str, days: int, words: str, place: Path, authority: trustme.CA
) -> None:
    write(place, authority, NOW + timedelta(days=days))
    found = said(resource(shape, tls, place))
    assert len(found) == bool(words)
    assert all(words in line and "c.pem, a certificate" in line for line in found)


@pytest.mark.parametrize("shape", [CLIENT, SERVER])
def test_a_secret_by_name_is_told_at_its_name(shape: str, place: Path) -> None:
    one = resource(shape, NAMED, place)
    field = f"{FIELDS[shape]}.credentialName"
    assert said(one)[0].startswith(f"{field}: credentialName shop: the node has no tls.credent")
    profile = NodeProfile(credentials_dir=str(place))
    assert said(one, profile)[0].startswith(
        f"{field}: credentialName shop: {place}/shop has neither"
    )


def test_what_is_looked_at_again(place: Path, authority: trustme.CA) -> None:
    one = resource(CLIENT, MUTUAL, place)
    profile, now = NodeProfile(), NOW.timestamp()
    seen: Seen = look_again([one], profile, {}, now)
    assert look_again([one], profile, seen, now + 5)[one.ref] is seen[one.ref]
    key = (place / "c.key").read_bytes()
    (place / "c.key").unlink()
    lost = look_again([one], profile, seen, now + 5)
    assert len(lost[one.ref][3].problems) == 1
    (place / "c.key").write_bytes(key)
    assert not look_again([one], profile, lost, now + 5)[one.ref][3].problems
    later = look_again([one], profile, seen, now + 91 * 86400)
    assert "expired" in later[one.ref][3].problems[0].found
    other = msgspec.structs.replace(one, spec=resource(CLIENT, "{mode: SIMPLE}", place).spec)
    assert not look_again([other], profile, lost, now + 5)[one.ref][3].files
    assert look_again([], profile, lost, now) == {}
