"""Directories shared with Kubernetes: which kinds are skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from egressd.api.other_kinds import (
    MARKER,
    NOTHING,
    OtherKinds,
    kinds_named,
    kinds_of,
    marked_kinds,
)
from egressd.api.parse import parse_text

ALL = kinds_named(["*"])


def _document(kind: str, version: str) -> str:
    return f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}\n"


@pytest.mark.parametrize(
    ("kind", "version", "others", "is_skipped"),
    [
        ("Deployment", "apps/v1", ALL, True),
        ("Service", "v1", ALL, True),
        ("ConfigMap", "v1", kinds_named(["Service,ConfigMap"]), True),
        ("Secret", "v1", kinds_named(["Service", "ConfigMap"]), False),
        ("Gateway", "gateway.networking.k8s.io/v1", ALL, True),
        ("Gateway", "gateway.networking.k8s.io/v1", kinds_named(["Gateway"]), True),
        ("Gateway", "networking.istio.io/v1", kinds_named(["*", "Gateway"]), False),
        ("VirtualService", "networking.istio.io/v1beta1", ALL, False),
        ("VirtualServce", "networking.istio.io/v1", ALL, False),
        ("PeerAuthentication", "security.istio.io/v1", ALL, False),
        ("PeerAuthentication", "security.istio.io/v1", kinds_named(["PeerAuthentication"]), True),
        ("Deployment", "apps/v1", NOTHING, False),
    ],
)
def test_what_is_skipped(kind: str, version: str, others: OtherKinds, is_skipped: bool) -> None:
    parsed = parse_text(_document(kind, version), "f", others)
    assert parsed.skipped == ((kind,) if is_skipped else ())
    assert bool(parsed.problems) != is_skipped


def test_a_mistake_beside_what_is_skipped_is_found() -> None:
    text = "---\n".join(
        [_document("Service", "v1"), _document("Gateway", "networking.istio.io/v1")]
    )
    parsed = parse_text(text, "f", ALL)
    assert parsed.skipped == ("Service",)
    assert parsed.errors[0].resource == "Gateway/default/a"


def test_a_list_of_both_is_read() -> None:
    items = '{"apiVersion": "v1", "kind": "Service"}, {"apiVersion": "v1", "kind": "Pod"}'
    parsed = parse_text(f'{{"apiVersion": "v1", "kind": "List", "items": [{items}]}}', "f", ALL)
    assert (parsed.skipped, parsed.problems) == (("Service", "Pod"), ())


def test_a_kustomization_need_not_say_what_it_is() -> None:
    text = "resources:\n- a.yaml\n"
    assert parse_text(text, "x/kustomization.yaml", ALL).skipped == ("Kustomization",)
    assert parse_text(text, "x/other.yaml", ALL).errors


def test_the_error_names_the_marker() -> None:
    (problem,) = parse_text(_document("Deployment", "apps/v1"), "f").errors
    assert MARKER in problem.expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", {"*"}),
        ("# all\n", {"*"}),
        ("Deployment\nService  # of Kubernetes\n", {"Deployment", "Service"}),
    ],
)
def test_a_marker_names_kinds(text: str, names: set[str]) -> None:
    assert kinds_of(text).names == names


def test_the_nearest_marker_counts(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / MARKER).write_text("Service\n")
    assert marked_kinds(str(deep), {}).names == {"Service"}
    (tmp_path / "a" / MARKER).write_text("")
    assert marked_kinds(str(deep), {}).names == {"*"}
