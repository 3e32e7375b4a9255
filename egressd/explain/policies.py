"""Step 3, who may: the AuthorizationPolicies, rule by rule, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.api.authorization_policy import Action, AuthorizationPolicy
from egressd.api.resource import Kind, Resource
from egressd.api.secret import REDACTED, carries_credentials, shown_header
from egressd.explain.model import By, Considered, Step
from egressd.explain.question import Node
from egressd.explain.sources import by
from egressd.registry.records import Record
from egressd.routing.authorization import (
    POLICIES_KEY,
    Authorizer,
    Engine,
    Facts,
    Verdict,
    inapplicable_reason,
    is_dry_run,
    rule_id,
)
from egressd.routing.authorization_rules import PSEUDO_HEADERS, CompiledRule, Worded


def authorization(node: Node, authorizer: Authorizer | None, facts: Facts) -> tuple[Step, Verdict]:
    """What the node's policies say of a request, or of a plain connection (no method)."""
    records = node.view.claims(Kind.AUTHORIZATION_POLICY, POLICIES_KEY)
    if authorizer is None:
        says = "allowed: no AuthorizationPolicy is for this node"
        others = tuple(one for r in records for one in _considered(node, r, {}, facts, ""))
        return Step("authorization", says, considered=others), Verdict(True)
    verdict = authorizer.decide(facts)
    engine = authorizer.requests if facts.method else authorizer.connections
    rules = {rule.id: rule for rule in _rules(engine)}
    considered = [one for r in records for one in _considered(node, r, rules, facts, verdict.rule)]
    decided = next((one.by for one in considered if one.chosen), None)
    notes = [f"audited: {rule}" for rule in verdict.audited]
    if verdict.shadow_allowed is not None:
        would = "allow it" if verdict.shadow_allowed else "deny it with 403"
        named = f" ({verdict.shadow_rule})" if verdict.shadow_rule else ""
        notes.append(f"dry run: without the annotation the policies would {would}{named}")
    step = Step("authorization", _says(verdict), decided, tuple(considered), tuple(notes))
    return step, verdict


def _says(verdict: Verdict) -> str:
    if verdict.allowed:
        return (
            "allowed"
            if verdict.rule
            else "allowed: no DENY rule matches, and there is no ALLOW policy"
        )
    if verdict.rule == "none":
        return "denied: there are ALLOW policies and none of their rules matches"
    return "denied"


def _rules(engine: Engine) -> Iterator[CompiledRule]:
    for rules in (engine.enforced, engine.shadow):
        if rules is not None:
            yield from (*rules.deny, *(rules.allow or ()))
    yield from engine.audit


def _considered(
    node: Node, record: Record, rules: dict[str, CompiledRule], facts: Facts, decided: str
) -> Iterator[Considered]:
    resource = record.resource
    spec = resource.spec
    assert isinstance(spec, AuthorizationPolicy)
    action = f"{spec.action}, dry run" if is_dry_run(resource) else str(spec.action)
    if reason := inapplicable_reason(resource, node.profile):
        yield Considered(f"{resource.ref} ({action})", False, (reason,), by(record))
        return
    if not spec.rules and spec.action is Action.ALLOW:
        yield Considered(
            f"{resource.ref} ({action})", False, ("it has no rule: allows nothing",), by(record)
        )
    for index in range(len(spec.rules)):
        name = rule_id(resource, index)
        rule = rules.get(name)
        place: By = by(record, f"spec.rules[{index}]")
        why: tuple[str, ...] = ("it needs what HTTP says: it never matches a plain connection",)
        if rule is not None:
            matched = rule.matches(facts)
            why = (
                (_effect(resource, name == decided),) if matched else tuple(_failures(rule, facts))
            )
        what = f"{resource.ref} spec.rules[{index}] ({action})"
        yield Considered(what, name == decided, why, place)


def _effect(policy: Resource, has_decided: bool) -> str:
    """What it means that a rule matches."""
    if has_decided:
        return "it matches"
    if is_dry_run(policy):
        return "it matches, and changes nothing: dry run"
    if isinstance(policy.spec, AuthorizationPolicy) and policy.spec.action is Action.AUDIT:
        return "it matches: the request is marked"
    return "it matches, too: another rule decides first"


def _failures(rule: CompiledRule, facts: Facts) -> Iterator[str]:
    """The first test that fails of each group, of the parts of which no group matches."""
    text = rule.text
    for part, groups in (("from", text.sources), ("to", text.operations)):
        failures = [_first_failure(group, facts) for group in groups]
        if all(failures):
            yield from (f"{part}[{at}].{failure}" for at, failure in enumerate(failures))
    if failure := _first_failure(text.when, facts):
        yield f"when {failure}"


def _first_failure(group: Worded, facts: Facts) -> str:
    for field, words, test in group:
        if not test(facts):
            header = field.partition("request.headers[")[2].removesuffix("]")
            words = REDACTED if carries_credentials(header) else words
            return f"{field}: wants {words}, found {_found(field, facts)}"
    return ""


def _found(field: str, facts: Facts) -> str:
    if field.startswith("request.headers["):
        name = field.removeprefix("request.headers[").removesuffix("]").lower().encode()
        if name in PSEUDO_HEADERS:
            return f'"{PSEUDO_HEADERS[name](facts)}"'
        sent = facts.headers.get(name)
        if sent is None:
            return "no such header"
        return f'"{shown_header(name.decode(), sent.decode("latin-1"))}"'
    source = str(facts.source or "an unknown address (--source-ip)")
    principal = ", ".join(facts.principals) or "no client certificate (--principal)"
    values = {
        "principals": principal, "namespaces": principal, "serviceAccounts": principal,
        "source.principal": principal, "source.namespace": principal,
        "ipBlocks": source, "remoteIpBlocks": source, "source.ip": source, "remote.ip": source,
        "hosts": f'"{facts.authority}"', "methods": facts.method, "paths": f'"{facts.path}"',
        "ports": str(facts.port), "destination.port": str(facts.port),
        "destination.ip": str(facts.destination or "an unknown address"),
        "connection.sni": f'"{facts.sni}"',
    }  # fmt: skip
    return values.get(field, "nothing: no JWT is validated, no Envoy filter runs")
