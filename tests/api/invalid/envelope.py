"""What stands around a spec: YAML itself, apiVersion, kind, metadata."""

from __future__ import annotations

from tests.api.invalid.bases import DNS_ENTRY, GATEWAY, SERVICE_ENTRY, VIRTUAL_SERVICE
from tests.api.invalid.mutate import ABSENT, InvalidCase, as_text, case

_ENTRY = as_text(DNS_ENTRY)
_LABEL_63 = "a" * 64


def _text(name: str, text: str, field: str, fragment: str) -> InvalidCase:
    return InvalidCase(name, text, field, fragment)


YAML = [
    _text("YAML: unclosed list", "a: [1, 2\n", "", "[ that does not end"),
    _text("YAML: unclosed quote", 'a: "b\n', "", "a quote that does not end"),
    _text("YAML: tab as indentation", "a:\n\tb: 1\n", "", "a tab in the indentation"),
    _text("YAML: two keys in a line", "a: b: c\n", "", "a second colon"),
    _text("YAML: unknown alias", "a: *nobody\n", "", "alias *nobody"),
    _text("YAML: alias in its own anchor", "a: &x [*x]\n", "", "inside its own anchor"),
    _text("YAML: application tag", "a: !!python/object:os.system 1\n", "", "application tags"),
    _text("YAML: local tag", "a: !Ref b\n", "", "tag !Ref"),
    _text("YAML: control character", "a: \x01\n", "", "found"),
    _text("YAML: nested too deep", "[" * 100 + "]" * 100, "", "at most 64 levels"),
    _text("YAML: merge of a scalar", "a: {<<: 1}\n", "", "a mapping to merge"),
    _text(
        "YAML: alias bomb",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
            for old, new in zip("abcdefg", "bcdefgh", strict=True)
        ),
        "",
        "aliases that repeat",
    ),
    _text("YAML: wrong indentation", "a:\n  b: 1\n c: 2\n", "", "fits no line above"),
    _text("YAML: a list at the top", "- a\n", "", "a resource: a mapping"),
    _text("YAML: text at the top", "hello\n", "", "a resource: a mapping"),
    _text("YAML: JSON cut short", '{"kind": "ServiceEntry", "spec": {', "", "did not find"),
    _text("YAML: duplicate top key", f"{_ENTRY}kind: ServiceEntry\n", "kind", "a second time"),
    _text("YAML: duplicate spec", f"{_ENTRY}spec: {{}}\n", "spec", "a second time"),
    _text(
        "YAML: duplicate key in spec",
        _ENTRY.replace("  resolution: DNS", "  resolution: DNS\n  resolution: STATIC"),
        "spec.resolution",
        "a second time (first in line",
    ),
    _text(
        "YAML: duplicate key in a list item",
        _ENTRY.replace("    name: tls", "    name: tls\n    name: other"),
        "spec.ports[0].name",
        "each key once",
    ),
    _text("YAML: a list as key", f"{_ENTRY}? [a]\n: b\n", "", "a string as key"),
    _text("YAML: null as key", f"{_ENTRY}~: b\n", "", "a string as key"),
]

KINDS = [
    _text("kind: missing", "apiVersion: networking.istio.io/v1\n", "kind", "one of ServiceEntry"),
    *(
        _text(
            f"kind: {kind}",
            f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{}}\n",
            "kind",
            f'kind "{kind}" of {version}',
        )
        for version, kind in (
            ("v1", "ConfigMap"),
            ("v1", "Service"),
            ("v1", "Secret"),
            ("apps/v1", "Deployment"),
            ("networking.k8s.io/v1", "Ingress"),
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            ("networking.istio.io/v1alpha3", "EnvoyFilter"),
            ("networking.istio.io/v1", "ProxyConfig"),
            ("security.istio.io/v1", "PeerAuthentication"),
            ("networking.istio.io/v1", "WorkloadGroup"),
            ("networking.istio.io/v1", "virtualservice"),
            ("networking.istio.io/v1", "VirtualServices"),
        )
    ),
    _text("kind: a list", _ENTRY.replace("kind: ServiceEntry", "kind: [a]"), "kind", "a string"),
    _text("kind: a number", _ENTRY.replace("kind: ServiceEntry", "kind: 5"), "kind", "quote it"),
    case("no apiVersion", SERVICE_ENTRY, {"apiVersion": ABSENT}, "networking.istio.io/v1"),
    *(
        case(
            f"apiVersion {version!r}",
            SERVICE_ENTRY,
            {"apiVersion": version},
            "one of networking.istio.io/v1",
        )
        for version in (
            "v1",
            "networking.istio.io",
            "networking.istio.io/v2",
            "networking.istio.io/v1beta2",
            "networking.istio.io/V1",
            "networking.k8s.io/v1",
            "istio.io/v1",
            "",
            1,
            ["networking.istio.io/v1"],
        )
    ),
    case(
        "Gateway of the Kubernetes API",
        GATEWAY,
        {"apiVersion": "gateway.networking.k8s.io/v1"},
        "one of networking.istio.io/v1",
    ),
    case("unknown top field", SERVICE_ENTRY, {"spce": {}}, "unknown field"),
    case("data as top field", SERVICE_ENTRY, {"data": {"a": "b"}}, "unknown field"),
    case("spec missing", VIRTUAL_SERVICE, {"spec": ABSENT}, "the spec of the VirtualService"),
    case("spec null", VIRTUAL_SERVICE, {"spec": None}, "the spec of the VirtualService"),
    case("spec a list", VIRTUAL_SERVICE, {"spec": []}, "found a list, expected a mapping"),
    case("spec text", VIRTUAL_SERVICE, {"spec": "hosts"}, "expected a mapping"),
    _text("List: items no list", "apiVersion: v1\nkind: List\nitems: {}\n", "items", "a list"),
    _text("List: unknown field", "kind: List\nitem: []\n", "item", "unknown field"),
    _text(
        "List: an item of another kind",
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]\n",
        "kind",
        'kind "Pod"',
    ),
    _text("List: an item that is text", "kind: List\nitems: [a]\n", "", "a resource: a mapping"),
    _text("List: a list in a list", "kind: List\nitems: [{kind: List}]\n", "kind", "one of"),
]

METADATA = [
    case("no metadata", DNS_ENTRY, {"metadata": ABSENT}, "a mapping with a name"),
    case("metadata null", DNS_ENTRY, {"metadata": None}, "a mapping with a name"),
    case("metadata a list", DNS_ENTRY, {"metadata": ["a"]}, "a mapping with a name"),
    case("no name", DNS_ENTRY, {"metadata.name": ABSENT}, "found nothing, expected a name"),
    case("name null", DNS_ENTRY, {"metadata.name": None}, "expected a name"),
    case("name empty", DNS_ENTRY, {"metadata.name": ""}, "expected a name"),
    case("name a number", DNS_ENTRY, {"metadata.name": 5}, "quote it"),
    *(
        case(f"name {name!r}", DNS_ENTRY, {"metadata.name": name}, "a DNS-1123 name")
        for name in ("Search", "a_b", "-a", "a-", "a..b", ".a", "a b", "a/b", "é", "a" * 254)
    ),
    *(
        case(f"name {name!r}", GATEWAY, {"metadata.name": name}, "a DNS-1123 label")
        for name in ("a.b", "Edge", _LABEL_63)
    ),
    *(
        case(f"namespace {name!r}", DNS_ENTRY, {"metadata.namespace": name}, "a DNS-1123 label")
        for name in ("Shop", "a.b", "a_b", "-a", "*", _LABEL_63)
    ),
    case("namespace a number", DNS_ENTRY, {"metadata.namespace": 1}, "quote it"),
    case("unknown metadata field", DNS_ENTRY, {"metadata.lables": {}}, "unknown field"),
    case("clusterName", DNS_ENTRY, {"metadata.clusterName": "a"}, "unknown field"),
    case("labels a list", DNS_ENTRY, {"metadata.labels": ["a"]}, "expected a mapping"),
    case("label a number", DNS_ENTRY, {"metadata.labels.version": 1.5}, "quote it"),
    case("label a boolean", DNS_ENTRY, {"metadata.labels.live": True}, "quote it"),
    case("label with a space", DNS_ENTRY, {"metadata.labels.app": "a b"}, "a label value"),
    case("label too long", DNS_ENTRY, {"metadata.labels.app": _LABEL_63}, "a label value"),
    case("label ends in dash", DNS_ENTRY, {"metadata.labels.app": "a-"}, "a label value"),
    case("label key with a space", DNS_ENTRY, {'metadata.labels["a b"]': "c"}, "a key of at most"),
    case("label key empty", DNS_ENTRY, {'metadata.labels["a/"]': "c"}, "a key of at most"),
    case("label key too long", DNS_ENTRY, {f"metadata.labels.{_LABEL_63}": "c"}, "a key of"),
    case("two slashes", DNS_ENTRY, {'metadata.labels["a/b/c"]': "c"}, "a key of at most"),
    case("annotation a number", DNS_ENTRY, {"metadata.annotations.note": 5}, "quote it"),
    case("annotation a map", DNS_ENTRY, {"metadata.annotations.note": {}}, "a string"),
    case("annotations text", DNS_ENTRY, {"metadata.annotations": "a"}, "expected a mapping"),
    case("annotation key", DNS_ENTRY, {'metadata.annotations["a b"]': "c"}, "a key of at most"),
    case("timestamp", DNS_ENTRY, {"metadata.creationTimestamp": 5}, "quote it"),
]

CASES = [*YAML, *KINDS, *METADATA]
