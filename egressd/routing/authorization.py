"""Who may do what: the AuthorizationPolicies that apply to this node, and their verdict. Pure.

Source: Istio `AuthorizationPolicy`, Envoy's RBAC filters. CUSTOM comes first, then DENY, then ALLOW;
with an ALLOW policy in force, what none allows is denied. AUDIT only marks. A policy with the annotation
`istio.io/dry-run` is evaluated apart and changes nothing (Envoy's shadow rules).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from egressd.api.authorization_policy import DRY_RUN, Action, AuthorizationPolicy
from egressd.api.resource import Kind, Resource
from egressd.registry.claims import kind_key
from egressd.registry.profile import NodeProfile
from egressd.registry.view import RegistryView
from egressd.routing.authorization_rules import Address, CompiledRule, Facts, compile_rule

POLICIES_KEY = kind_key(Kind.AUTHORIZATION_POLICY)
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))  # Go ParseBool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say. `rule` is Envoy's name of the one that decided: "ns[a]-policy[b]-rule[0]",
    "none" when an ALLOW policy is in force and none of its rules matched, "" when nothing decided."""

    allowed: bool
    rule: str = ""
    audited: tuple[str, ...] = ()  # AUDIT rules that matched
    shadow_allowed: bool | None = None  # what dry-run policies would say; None: there are none
    shadow_rule: str = ""

    @property
    def details(self) -> str:
        """Envoy's response code details of a denial."""
        return f"rbac_access_denied_matched_policy[{self.rule}]"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one mode. `allow` is None without any ALLOW policy, () with one that has no rule."""

    deny: tuple[CompiledRule, ...]  # CUSTOM before DENY
    allow: tuple[CompiledRule, ...] | None

    def decide(self, facts: Facts) -> tuple[bool, str]:
        """Whether allowed, and the rule that decided."""
        for rule in self.deny:
            if rule.matches(facts):
                return False, rule.id
        if self.allow is None:
            return True, ""
        for rule in self.allow:
            if rule.matches(facts):
                return True, rule.id
        return False, "none"


@dataclass(frozen=True, slots=True)
class Engine:
    """All policies of the node, for requests or for plain connections."""

    enforced: RuleSet
    shadow: RuleSet | None  # dry run
    audit: tuple[CompiledRule, ...]

    def decide(self, facts: Facts) -> Verdict:
        allowed, rule = self.enforced.decide(facts)
        audited = tuple(one.id for one in self.audit if one.matches(facts)) if self.audit else ()
        if self.shadow is None:
            return Verdict(allowed, rule, audited)
        shadow_allowed, shadow_rule = self.shadow.decide(facts)
        return Verdict(allowed, rule, audited, shadow_allowed, shadow_rule)


@dataclass(frozen=True, slots=True)
class Authorizer:
    """The compiled policies of a node; there is none where no policy applies."""

    requests: Engine
    connections: Engine

    def decide(self, facts: Facts) -> Verdict:
        """The verdict on a request, or on a plain connection (no method)."""
        return (self.requests if facts.method else self.connections).decide(facts)


def compile_authorizer(view: RegistryView, profile: NodeProfile) -> Authorizer | None:
    """The policies of the node's namespace and of the root namespace whose selector is the node."""
    found = [record.resource for record in view.claims(Kind.AUTHORIZATION_POLICY, POLICIES_KEY)]
    policies = [resource for resource in found if policy_applies(resource, profile)]
    if not policies:
        return None
    root = profile.root_namespace
    policies.sort(key=lambda r: (r.metadata.namespace != root, r.metadata.name))
    normalizes = profile.normalizes_paths
    return Authorizer(
        _engine(policies, plain=False, normalizes=normalizes),
        _engine(policies, plain=True, normalizes=normalizes),
    )


def policy_applies(resource: Resource, profile: NodeProfile) -> bool:
    """Whether a policy is for this node (Istio: namespace and `selector`)."""
    return not inapplicable_reason(resource, profile)


def inapplicable_reason(resource: Resource, profile: NodeProfile) -> str:
    """Why a policy is not for this node, "" where it is. One with `targetRef` is for a Kubernetes
    object, which this node is not."""
    spec = _spec(resource)
    if spec.target_ref is not None or spec.target_refs:
        return "it has a targetRef: it is for a Kubernetes object"
    if resource.metadata.namespace not in (profile.namespace, profile.root_namespace):
        return (
            f"its namespace is neither the node's ({profile.namespace}) nor the root one "
            f"({profile.root_namespace})"
        )
    if spec.selector is None or spec.selector.match_labels.items() <= profile.labels.items():
        return ""
    wanted = ",".join(f"{k}={v}" for k, v in spec.selector.match_labels.items())
    return f"its selector {wanted} is not among the node's labels"


def is_dry_run(resource: Resource) -> bool:
    """Istio's annotation `istio.io/dry-run`."""
    return resource.metadata.annotations.get(DRY_RUN, "") in _TRUE


def _engine(policies: list[Resource], *, plain: bool, normalizes: bool) -> Engine:
    def rules(of: list[Resource], action: Action) -> tuple[CompiledRule, ...]:
        return _rules(of, action, plain, normalizes)

    def rule_set(of: list[Resource]) -> RuleSet:
        # No extension provider is known: Istio denies what a CUSTOM policy with an unknown one matches.
        deny = (*rules(of, Action.CUSTOM), *rules(of, Action.DENY))
        has_allow = any(_spec(policy).action is Action.ALLOW for policy in of)
        return RuleSet(deny, rules(of, Action.ALLOW) if has_allow else None)

    shadow = [policy for policy in policies if is_dry_run(policy)]
    enforced = [policy for policy in policies if not is_dry_run(policy)]
    return Engine(
        rule_set(enforced),
        rule_set(shadow) if shadow else None,
        rules(enforced, Action.AUDIT),
    )


def _rules(
    policies: list[Resource], action: Action, plain: bool, normalizes: bool
) -> tuple[CompiledRule, ...]:
    compiled = []
    for policy in policies:
        spec = _spec(policy)
        if spec.action is not action:
            continue
        for index, rule in enumerate(spec.rules):
            name, namespace = rule_id(policy, index), policy.metadata.namespace
            made = compile_rule(
                rule, name, namespace, action, plain=plain, normalizes_paths=normalizes
            )
            if made is not None:
                compiled.append(made)
    return tuple(compiled)


def rule_id(policy: Resource, index: int) -> str:
    """Envoy's name of a rule."""
    return f"ns[{policy.metadata.namespace}]-policy[{policy.metadata.name}]-rule[{index}]"


def _spec(resource: Resource) -> AuthorizationPolicy:
    assert isinstance(resource.spec, AuthorizationPolicy)
    return resource.spec


# -- facts from the wire -----------------------------------------------------------------------------


def parse_address(text: str) -> Address | None:
    """An IP address, an IPv4 one mapped into IPv6 as IPv4; None for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


__all__ = [
    "POLICIES_KEY",
    "Authorizer",
    "Facts",
    "Verdict",
    "compile_authorizer",
    "inapplicable_reason",
    "is_dry_run",
    "parse_address",
    "policy_applies",
    "rule_id",
]
