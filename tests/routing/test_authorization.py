"""Verdicts of AuthorizationPolicies."""

from __future__ import annotations

import pytest

from egressd.api.parse import parse_text
from egressd.api.resource import Resource, Severity
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.routing.authority import parse_authority
from egressd.routing.authorization import (
    Authorizer,
    Facts,
    compile_authorizer,
    parse_address,
)
from egressd.routing.path import PathNormalizer, comparable_path
from egressd.routing.request import BETWEEN_VALUES
from tests.routing.authorization_rows import ROWS, Row

PROFILE = NodeProfile(namespace="shop", labels={"app": "gw", "zone": "a"})


def authorizer(text: str, dry_run: str = "") -> Authorizer | None:
    """The authorizer of a node with these policies."""
    records = [Record(resource=one, source="test") for one in policies(text, dry_run)]
    return compile_authorizer(MemoryView(records), PROFILE)


def policies(written: str, dry_run: str = "") -> list[Resource]:
    """Policies as the table writes them."""
    found: list[Resource] = []
    for policy in filter(None, written.split("; ")):
        place, _, spec = policy.partition(": ")
        namespace, slash, name = place.rpartition("/")
        where = {"root": "istio-system", "": "shop"}.get(namespace, namespace) if slash else "shop"
        note = 'annotations: {istio.io/dry-run: "true"}' if name in dry_run.split() else ""
        text = (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
            f"metadata: {{name: {name}, namespace: {where}, {note}}}\nspec: {spec}\n"
        )
        parsed = parse_text(text, "p.yaml")
        assert parsed.errors == (), parsed.errors
        found += parsed.resources
    return found


def facts(request: str) -> Facts:
    method, target, *rest = request.split(" ")
    found = Facts()
    if method == "TCP":
        found.port = int(target)
    else:
        authority, slash, path = target.partition("/")
        name = parse_authority(authority.encode())
        found.method = method
        found.authority, found.host = name.text.decode(), name.without_port
        path, _, found.query = path.partition("?")
        normal = PathNormalizer()(f"{slash}{path}".encode())
        found.path = comparable_path(normal).decode("latin-1") if slash else ""
        found.port, found.scheme = 80, "http"
    headers: dict[bytes, bytes] = {}
    for fact in rest:
        name, _, value = fact.partition("=")
        if name.startswith("h:"):
            key, before = name[2:].encode(), headers.get(name[2:].encode())
            headers[key] = (before + BETWEEN_VALUES if before else b"") + value.encode()
        elif name == "ip":
            found.source = parse_address(value)
        elif name == "to":
            found.destination = parse_address(value)
        elif name == "principal":
            found.principals = (*found.principals, value)
        elif name == "port":
            found.port = int(value)
        else:
            setattr(found, name, value)
    found.headers = headers
    return found


def verdict_of(row: Row) -> str:
    compiled = authorizer(row.policies)
    if compiled is None:
        return "allow"
    verdict = compiled.decide(facts(row.request))
    if verdict.allowed:
        return "allow"
    name = verdict.rule.partition("-policy[")[2].replace("]-rule", "").removesuffix("]")
    return f"deny {name}]" if name else f"deny {verdict.rule}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.request}"[:90])
def test_verdict(row: Row) -> None:
    assert verdict_of(row) == row.verdict


def test_no_policy_that_applies_means_no_authorizer() -> None:
    assert authorizer("") is None
    assert authorizer("other/p: {rules: [{}]}") is None


def test_a_denial_is_named_as_envoy_names_it() -> None:
    compiled = authorizer("p: {action: DENY, rules: [{}]}")
    assert compiled is not None
    details = "rbac_access_denied_matched_policy[ns[shop]-policy[p]-rule[0]]"
    assert compiled.decide(facts("GET a/")).details == details
    compiled = authorizer("p: {}")
    assert compiled is not None
    assert compiled.decide(facts("GET a/")).details == "rbac_access_denied_matched_policy[none]"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("values: [a]", ["a"]),
        ("values: [a, 'b*']", ["one of a, b*"]),
        ("values: ['*']", ["any value"]),
        ("values: [a], notValues: [b, c]", ["a", "not one of b, c"]),
        ("notValues: ['*']", ["none at all"]),
    ],
)
def test_a_rule_says_in_words_what_it_wants(values: str, words: list[str]) -> None:
    when = f"{{when: [{{key: 'request.headers[x]', {values}}}]}}"
    compiled = authorizer(f"p: {{action: DENY, rules: [{when}]}}")
    assert compiled is not None
    (rule,) = compiled.requests.enforced.deny
    assert [wanted for _, wanted, _ in rule.text.when] == words


def test_a_principal_with_its_scheme_is_warned_of() -> None:
    rule = "{from: [{source: {notPrincipals: ['spiffe://a/ns/b/sa/c']}}]}"
    spec = f"{{rules: [{rule}, {{when: [{{key: source.principal, values: ['spiffe://a']}}]}}]}}"
    text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n"
    problems = parse_text(f"{text}spec: {spec}\n", "p.yaml").problems
    assert [(one.severity, one.field) for one in problems] == [
        (Severity.WARNING, "spec.rules[0].from[0].source.notPrincipals[0]"),
        (Severity.WARNING, "spec.rules[1].when[0].values[0]"),
    ]
    assert problems[0].expected.startswith("a/ns/b/sa/c: ")


def test_an_audit_policy_marks_what_it_matches_even_where_that_is_denied() -> None:
    rule = "{to: [{operation: {methods: [GET]}}]}"
    compiled = authorizer(
        f"a: {{action: AUDIT, rules: [{rule}]}}; d: {{action: DENY, rules: [{{}}]}}"
    )
    assert compiled is not None
    assert compiled.decide(facts("GET a/")).audited == ("ns[shop]-policy[a]-rule[0]",)
    assert compiled.decide(facts("PUT a/")).audited == ()


def test_a_dry_run_policy_is_told_apart_and_denies_nothing() -> None:
    compiled = authorizer("a: {rules: [{}]}; d: {action: DENY, rules: [{}]}", dry_run="d")
    assert compiled is not None
    verdict = compiled.decide(facts("GET a/"))
    assert (verdict.allowed, verdict.shadow_allowed) == (True, False)
    assert verdict.shadow_rule == "ns[shop]-policy[d]-rule[0]"


def test_a_dry_run_allow_policy_does_not_close_the_rest() -> None:
    compiled = authorizer("a: {rules: [{to: [{operation: {methods: [PUT]}}]}]}", dry_run="a")
    assert compiled is not None
    verdict = compiled.decide(facts("GET a/"))
    assert (verdict.allowed, verdict.shadow_allowed, verdict.shadow_rule) == (True, False, "none")
    assert compiled.decide(facts("PUT a/")).shadow_allowed is True


def test_a_method_that_no_request_can_have_is_warned_of() -> None:
    rule = "{to: [{operation: {methods: [post, 'G*'], notMethods: [Put]}}]}"
    text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n"
    problems = parse_text(f"{text}spec: {{rules: [{rule}]}}\n", "p.yaml").problems
    assert [(one.severity, one.field) for one in problems] == [
        (Severity.WARNING, "spec.rules[0].to[0].operation.methods[0]"),
        (Severity.WARNING, "spec.rules[0].to[0].operation.notMethods[0]"),
    ]
    assert problems[0].expected.startswith("POST: ")
