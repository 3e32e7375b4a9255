"""Certificate files and credentials: gone, bad, old, or of another key."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
import trustme

from egressd.registry.profile import NodeProfile
from tests.analysis.texts import HTTPS, NODE, NOW, TO, codes, entry, gateway, inner, rule

END = NOW + timedelta(days=99)


def test_certificates_are_judged_by_their_end_and_their_key(tmp_path: Path) -> None:
    authority = trustme.CA()
    other = authority.issue_cert("b.example")
    good = authority.issue_cert("a.example")
    good.cert_chain_pems[0].write_to_path(tmp_path / "c.pem")
    good.private_key_pem.write_to_path(tmp_path / "k.pem")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    soon = authority.issue_cert("a.example", not_after=NOW + timedelta(days=5))
    soon.cert_chain_pems[0].write_to_path(tmp_path / "soon.pem")
    past = authority.issue_cert(
        "a.example", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1)
    )
    past.cert_chain_pems[0].write_to_path(tmp_path / "past.pem")

    def found(cert: str, key: str) -> set[str]:
        files = f"clientCertificate: {tmp_path / cert}, privateKey: {tmp_path / key}"
        return codes([entry("a"), rule("a", f"trafficPolicy: {{tls: {{mode: MUTUAL, {files}}}}}")])

    assert found("c.pem", "k.pem") == set()
    assert found("c.pem", "other.pem") == {"EG0506"}
    assert "EG0504" in found("soon.pem", "k.pem")
    assert "EG0505" in found("past.pem", "k.pem")
    assert found("c.pem", "gone.pem") == {"EG0503"}


@pytest.mark.parametrize("kind", ["Gateway", "DestinationRule"])
def test_credentials_are_judged_as_files_are(tmp_path: Path, kind: str) -> None:
    authority = trustme.CA()
    node = msgspec.structs.replace(NODE, credentials_dir=str(tmp_path))

    def put(name: str, **files: bytes | None) -> None:
        place = tmp_path / name
        place.mkdir()
        good = authority.issue_cert("a.example", not_before=NOW - timedelta(days=9), not_after=END)
        whole: dict[str, bytes | None] = {
            "tls_crt": good.cert_chain_pems[0].bytes(),
            "tls_key": good.private_key_pem.bytes(),
            "ca_crt": authority.cert_pem.bytes(),
        }
        for file, data in (whole | files).items():
            if data is not None:
                (place / file.replace("_", ".")).write_bytes(data)

    def found(name: str, profile: NodeProfile = node) -> set[str]:
        tls = f"tls: {{mode: MUTUAL, credentialName: {name}}}"
        shown = gateway("g", HTTPS.replace("tls: {mode: SIMPLE, credentialName: c}", tls))
        if kind == "DestinationRule":
            shown = rule("a", f"trafficPolicy: {{{tls}}}")
        return codes([entry("a"), inner(TO), shown], profile) - {"EG0301"}

    def issued(**times: datetime) -> dict[str, bytes]:
        one = authority.issue_cert("a.example", **times)
        return {"tls_crt": one.cert_chain_pems[0].bytes(), "tls_key": one.private_key_pem.bytes()}

    put("good")
    put("keyless", tls_key=None)
    put("caless", ca_crt=None)
    put("empty", tls_key=None, tls_crt=None, ca_crt=None)
    put("noise", tls_crt=b"x")
    put("other", tls_key=authority.issue_cert("b.example").private_key_pem.bytes())
    put("soon", **issued(not_after=NOW + timedelta(days=5)))
    put("past", **issued(not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1)))
    assert found("good") == set()
    assert found("gone") == found("empty") == found("keyless") == {"EG0507"}
    assert found("caless") == ({"EG0507"} if kind == "Gateway" else set())
    assert found("noise") == {"EG0503"}
    assert found("other") == {"EG0506"}
    assert found("soon") == {"EG0504"}
    assert found("past") == {"EG0505"}
    assert found("good", NODE) == {"EG0507"}  # no tls.credentialsDir


def test_credentials_of_other_nodes_are_not_looked_for() -> None:
    selected = "workloadSelector: {matchLabels: {app: web}}, "
    tls = "tls: {mode: SIMPLE, credentialName: gone}"
    found = codes([entry("a"), rule("a", f"{selected}trafficPolicy: {{{tls}}}")])
    assert "EG0507" not in found
    assert "EG0507" not in codes([gateway("g", HTTPS, "{app: web}")])
