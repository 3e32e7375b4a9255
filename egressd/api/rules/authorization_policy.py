"""Istio `ValidateAuthorizationPolicy`: selector, rules and the attributes of their conditions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from egressd.api.authorization_policy import (
    DRY_RUN,
    Action,
    AuthorizationPolicy,
    Condition,
    Operation,
    PolicySelector,
    PolicyTargetReference,
    Rule,
    Source,
)
from egressd.api.decode import join
from egressd.api.names import is_ip_or_cidr
from egressd.api.report import Report, quoted
from egressd.api.resource import Metadata

_TARGETS = frozenset(
    (
        ("core", "Service"),
        ("networking.istio.io", "ServiceEntry"),
        ("gateway.networking.k8s.io", "Gateway"),
    )
)
_BOOLEANS = frozenset(
    ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"]
)  # Go ParseBool
_PORT = re.compile(r"[0-9]{1,9}")
_BAD_TEMPLATE = re.compile(r"/\{\w+=\*\*?\}|\{\w*\}|/\*\*?|\*\*?/")
_PLAIN_KEYS = frozenset(
    [
        "source.namespace",
        "source.principal",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "connection.sni",
    ]
)
_PSEUDO_HEADERS = (":authority", ":method", ":path", ":scheme")
_ADDRESS_KEYS = frozenset(("source.ip", "remote.ip", "destination.ip"))
_MAP_KEYS = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")
_KNOWN = ", ".join(sorted(_PLAIN_KEYS | _ADDRESS_KEYS | {"destination.port", "request.headers[x]"}))
_NO_JWT = "no JWT is validated here, so that no request has it"


def check_authorization_policy(
    spec: AuthorizationPolicy, metadata: Metadata, report: Report
) -> None:
    """Reports each rule that the AuthorizationPolicy breaks."""
    _check_targets(spec, report)
    dry_run = metadata.annotations.get(DRY_RUN, "false")
    if dry_run not in _BOOLEANS:
        where = join("metadata.annotations", DRY_RUN)
        report.error(where, quoted(dry_run), '"true" or "false"')
    given = ["spec.action"]
    if spec.action is Action.CUSTOM:
        if spec.rules and (spec.provider is None or not spec.provider.name):
            report.error("spec.provider.name", "nothing", "the name of a provider", given)
    elif spec.provider is not None:
        expected = f"no provider: it goes with CUSTOM, not {spec.action}"
        report.error("spec.provider", "a provider", expected, given)
    if spec.action in (Action.CUSTOM, Action.DENY) and not spec.rules:
        expected = f"at least one rule: {spec.action} without any never acts ({{}} matches all)"
        report.error("spec.rules", "no rule", expected, given)
    for index, rule in enumerate(spec.rules):
        _check_rule(rule, f"spec.rules[{index}]", spec.action, report)


def _check_targets(spec: AuthorizationPolicy, report: Report) -> None:
    fields = {
        "selector": spec.selector,
        "targetRef": spec.target_ref,
        "targetRefs": spec.target_refs,
    }
    named = [name for name, value in fields.items() if value]
    if len(named) > 1:
        report.error(f"spec.{named[1]}", f"{named[1]} beside {named[0]}", "only one of the two")
    if spec.selector is not None:
        _check_selector(spec.selector, "spec.selector", report)
    if spec.target_ref is not None:
        _check_target(spec.target_ref, "spec.targetRef", report)
    for index, target in enumerate(spec.target_refs):
        _check_target(target, f"spec.targetRefs[{index}]", report)


def _check_selector(selector: PolicySelector, path: str, report: Report) -> None:
    if not selector.match_labels:
        report.warn(path, "no labels", "matchLabels; without any, every workload is selected")
    for key, value in selector.match_labels.items():
        where = join(f"{path}.matchLabels", key)
        if not key:
            report.error(where, "an empty key", "a label key")
        if "*" in key or "*" in value:
            report.error(where, f"{key}: {value}", "a label without wildcard")


def _check_target(target: PolicyTargetReference, path: str, report: Report) -> None:
    if not target.name:
        report.error(f"{path}.name", '""', "a name")
    if target.namespace:
        expected = "no namespace: the target is in the policy's own"
        report.error(f"{path}.namespace", quoted(target.namespace), expected)
    if (target.group or "core", target.kind) not in _TARGETS:
        found = f"{target.group or 'core'}/{target.kind}"
        expected = f"one of {', '.join(sorted('/'.join(pair) for pair in _TARGETS))}"
        report.error(f"{path}.kind", quoted(found), expected, [f"{path}.group"])


def _check_rule(rule: Rule, path: str, action: Action, report: Report) -> None:
    for index, origin in enumerate(rule.from_):
        where = f"{path}.from[{index}].source"
        if origin.source is None:
            report.error(where, "nothing", "a source")
        else:
            _check_source(origin.source, where, action, report)
    for index, target in enumerate(rule.to):
        where = f"{path}.to[{index}].operation"
        if target.operation is None:
            report.error(where, "nothing", "an operation")
        else:
            _check_operation(target.operation, where, report)
    for index, condition in enumerate(rule.when):
        _check_condition(condition, f"{path}.when[{index}]", action, report)
    if action is Action.DENY and _has_http_only(rule):
        found = "HTTP attributes alone"
        expected = "ports beside them: without, all TCP connections are denied too"
        report.warn(path, found, expected)


def _has_http_only(rule: Rule) -> bool:
    """Istio's reading of a DENY rule that a TCP connection matches whatever it is."""
    sources = [origin.source for origin in rule.from_ if origin.source is not None]
    operations = [target.operation for target in rule.to if target.operation is not None]
    tcp_source = any(
        source.principals or source.not_principals or source.namespaces or source.not_namespaces
        or source.service_accounts or source.not_service_accounts or source.ip_blocks
        or source.trust_domains or source.not_trust_domains
        or source.not_ip_blocks or source.remote_ip_blocks or source.not_remote_ip_blocks
        for source in sources
    )  # fmt: skip
    tcp_operation = any(one.ports or one.not_ports for one in operations)
    if operations:
        return not tcp_operation
    return bool(sources) and not tcp_source


def _check_source(source: Source, path: str, action: Action, report: Report) -> None:
    if source == Source():
        report.error(path, "an empty source", "at least one field")
    lists = {
        "principals": source.principals,
        "notPrincipals": source.not_principals,
        "requestPrincipals": source.request_principals,
        "notRequestPrincipals": source.not_request_principals,
        "namespaces": source.namespaces,
        "notNamespaces": source.not_namespaces,
        "serviceAccounts": source.service_accounts,
        "notServiceAccounts": source.not_service_accounts,
        "trustDomains": source.trust_domains,
        "notTrustDomains": source.not_trust_domains,
    }
    for name, values in lists.items():
        _check_filled(values, f"{path}.{name}", report)
        if name in ("principals", "notPrincipals"):
            _warn_of_scheme(values, f"{path}.{name}", report)
        if values and action is Action.CUSTOM:
            report.error(f"{path}.{name}", name, f"no {name} with CUSTOM", ["spec.action"])
    for name, values in {
        "ipBlocks": source.ip_blocks,
        "notIpBlocks": source.not_ip_blocks,
        "remoteIpBlocks": source.remote_ip_blocks,
        "notRemoteIpBlocks": source.not_remote_ip_blocks,
    }.items():
        _check_addresses(values, f"{path}.{name}", report)
    accounts = "serviceAccounts" if source.service_accounts else "notServiceAccounts"
    if lists[accounts]:
        for name in ("principals", "notPrincipals", "namespaces", "notNamespaces"):
            if lists[name]:
                report.error(f"{path}.{accounts}", f"{accounts} beside {name}", "one of the two")
    for name in ("serviceAccounts", "notServiceAccounts"):
        for index, value in enumerate(lists[name]):
            if value and (value.strip("/") != value or value.count("/") > 1 or "*" in value):
                expected = "a service account, or namespace/account, without wildcard"
                report.error(f"{path}.{name}[{index}]", quoted(value), expected)


def _check_operation(operation: Operation, path: str, report: Report) -> None:
    if operation == Operation():
        report.error(path, "an empty operation", "at least one field")
    for name, values in {
        "hosts": operation.hosts,
        "notHosts": operation.not_hosts,
        "methods": operation.methods,
        "notMethods": operation.not_methods,
        "paths": operation.paths,
        "notPaths": operation.not_paths,
    }.items():
        _check_filled(values, f"{path}.{name}", report)
    for name, values in {"methods": operation.methods, "notMethods": operation.not_methods}.items():
        for index, value in enumerate(values):
            if value != value.upper():
                report.warn(
                    f"{path}.{name}[{index}]",
                    quoted(value),
                    f"{value.upper()}: methods are compared with case, no request has another",
                )
    _check_ports(operation.ports, f"{path}.ports", report)
    _check_ports(operation.not_ports, f"{path}.notPorts", report)
    for name, values in {"paths": operation.paths, "notPaths": operation.not_paths}.items():
        for index, value in enumerate(values):
            if fault := template_fault(value):
                report.error(f"{path}.{name}[{index}]", quoted(value), fault)


def is_template(path: str) -> bool:
    """A path with `{*}` (one segment) or `{**}` (any number of them)."""
    return "{*}" in path or "{**}" in path


def template_fault(path: str) -> str:
    """What a path template must be, "" for one that is (Istio `CheckValidPathTemplate`, Envoy)."""
    if not is_template(path):
        return ""
    if _BAD_TEMPLATE.search(path):
        return "a template of {*} and {**} alone: no named variables, no * outside braces"
    if not path.startswith("/"):
        return "a template that starts with /"
    if any("{*}" in part and part != "{*}" for part in path.split("/")):
        return "{*} as a whole segment"
    before, any_number, after = path.partition("{**}")
    if "{" in after:
        return "{**} once, as the last operator"
    if any_number and (before[-1] != "/" or ("/" in after and after[0] != "/")):
        return "{**} as a whole segment, or before the end of the last one"
    return ""


def _check_condition(condition: Condition, path: str, action: Action, report: Report) -> None:
    key = condition.key
    where = f"{path}.key"
    if not key:
        report.error(where, '""', "an attribute")
        return
    if not condition.values and not condition.not_values:
        report.error(f"{path}.values", "nothing", "values or notValues", [f"{path}.notValues"])
    if fault := _key_fault(key):
        report.error(where, quoted(key), fault)
        return
    if action is Action.CUSTOM and (
        key in ("source.namespace", "source.principal") or key.startswith("request.auth.")
    ):
        report.error(where, quoted(key), f"no {key} with CUSTOM", ["spec.action"])
    if key.startswith("request.auth."):
        report.warn(where, quoted(key), f"another attribute: {_NO_JWT}")
    if key.startswith("experimental.envoy.filters."):
        report.warn(where, quoted(key), "another attribute: there is no Envoy metadata here")
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        if key in _ADDRESS_KEYS:
            _check_addresses(values, f"{path}.{name}", report)
        elif key == "destination.port":
            _check_ports(values, f"{path}.{name}", report)
        else:
            _check_filled(values, f"{path}.{name}", report)
        if key == "source.principal":
            _warn_of_scheme(values, f"{path}.{name}", report)


def _warn_of_scheme(principals: Sequence[str], path: str, report: Report) -> None:
    for index, value in enumerate(principals):
        if value.startswith("spiffe://"):
            expected = f"{value.removeprefix('spiffe://')}: no principal matches with its scheme"
            report.warn(f"{path}[{index}]", quoted(value), expected)


def _key_fault(key: str) -> str:
    """Istio `ValidateAttribute`: what a condition's key must be."""
    if key in _PLAIN_KEYS or key in _ADDRESS_KEYS or key == "destination.port":
        return ""
    if key.startswith(_MAP_KEYS):
        at = key.find("[")
        if not (key.endswith("]") and 0 < at < len(key) - 2):
            return "a name in brackets: request.headers[user-agent]"
        if key[at + 1] == ":" and key[at + 1 : -1].lower() not in _PSEUDO_HEADERS:
            return f"a header, or one of {', '.join(_PSEUDO_HEADERS)}"
        return ""
    if key == "destination.namespace":
        return "no destination.namespace: the policy's own namespace stands for it"
    if key.startswith(("destination.labels", "source.labels")):
        return "no labels here: spec.selector is compared with the labels of the node"
    return f"one of {_KNOWN}"


def _check_filled(values: Sequence[str], path: str, report: Report) -> None:
    for index, value in enumerate(values):
        if not value:
            report.error(f"{path}[{index}]", '""', "a value that is not empty")


def _check_addresses(values: Sequence[str], path: str, report: Report) -> None:
    for index, value in enumerate(values):
        if not is_ip_or_cidr(value):
            report.error(f"{path}[{index}]", quoted(value), "an IP address or a CIDR block")


def _check_ports(values: Sequence[str], path: str, report: Report) -> None:
    for index, value in enumerate(values):
        if not _PORT.fullmatch(value) or int(value) > 65535:
            report.error(f"{path}[{index}]", quoted(value), "a port as a string, 0 to 65535")
