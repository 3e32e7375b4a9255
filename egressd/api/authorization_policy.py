"""Istio `security.istio.io` AuthorizationPolicy: the messages as immutable types, a class each."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from egressd.api.message import Message

DRY_RUN = "istio.io/dry-run"
"""The annotation that lets a policy be evaluated and counted, but not enforced."""


class Action(enum.StrEnum):
    """Istio `AuthorizationPolicy.Action`."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class AuthorizationPolicy(Message, frozen=True):
    """Istio `AuthorizationPolicy`."""

    selector: PolicySelector | None = None
    target_ref: PolicyTargetReference | None = None
    target_refs: tuple[PolicyTargetReference, ...] = ()
    rules: tuple[Rule, ...] = ()
    action: Action = Action.ALLOW
    provider: ExtensionProvider | None = None


class PolicySelector(Message, frozen=True):
    """Istio `WorkloadSelector` of the type group."""

    match_labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class PolicyTargetReference(Message, frozen=True):
    """Istio `PolicyTargetReference`."""

    kind: str
    name: str
    group: str = ""
    namespace: str = ""


class ExtensionProvider(Message, frozen=True):
    """Istio `AuthorizationPolicy.ExtensionProvider`."""

    name: str = ""


class Rule(Message, frozen=True):
    """Istio `Rule`: all of from, to and when must match; within each list one of `from` and `to`,
    every one of `when`."""

    from_: tuple[RuleFrom, ...] = msgspec.field(name="from", default=())
    to: tuple[RuleTo, ...] = ()
    when: tuple[Condition, ...] = ()


class RuleFrom(Message, frozen=True):
    """Istio `Rule.From`."""

    source: Source | None = None


class RuleTo(Message, frozen=True):
    """Istio `Rule.To`."""

    operation: Operation | None = None


class Source(Message, frozen=True):
    """Istio `Source`: fields ANDed, the values of a field ORed."""

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    request_principals: tuple[str, ...] = ()
    not_request_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class Operation(Message, frozen=True):
    """Istio `Operation`: fields ANDed, the values of a field ORed."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class Condition(Message, frozen=True):
    """Istio `Condition`: an attribute and its values."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()
