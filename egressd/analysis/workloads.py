"""Resources for some workloads: whether this node is one of them, and which of several it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.authorization_policy import AuthorizationPolicy
from egressd.api.crosscheck import by_age
from egressd.api.resource import Kind, Resource
from egressd.api.sidecar import Sidecar
from egressd.routing.authorization import inapplicable_reason


def sidecars(subject: Subject) -> Iterator[Finding]:
    """EG0701 (two that select this node, or two of a namespace that select every one), EG0702."""
    rivals: dict[tuple[str, str], list[Resource]] = {}
    labels = subject.profile.labels
    for resource in by_age(subject.of_kind(Kind.SIDECAR)):
        wanted = _labels(resource)
        namespace = resource.metadata.namespace
        if not wanted:
            rivals.setdefault((namespace, "without workloadSelector"), []).append(resource)
        elif namespace != subject.profile.namespace:
            found = f"it is of namespace {namespace}, the node of {subject.profile.namespace}"
            yield finding("EG0702", resource, "spec.workloadSelector", found)
        elif wanted.items() <= labels.items():
            rivals.setdefault((namespace, "whose workloadSelector is this node"), []).append(
                resource
            )
        else:
            found = f"it wants {_listed(wanted)}, the node has {_listed(labels) or 'none'}"
            yield finding("EG0702", resource, "spec.workloadSelector", found)
    for (namespace, which), group in rivals.items():
        for resource in group if len(group) > 1 else ():
            others = ", ".join(one.ref for one in group if one is not resource)
            found = f"{others} of namespace {namespace} {which}, too; {group[0].ref} is used"
            yield finding("EG0701", resource, "spec.workloadSelector", found)


def policies(subject: Subject) -> Iterator[Finding]:
    """EG0703 (Istio `NoMatchingWorkloadsFound`)."""
    for resource, spec in subject.each(AuthorizationPolicy):
        reason = inapplicable_reason(resource, subject.profile)
        if reason and spec.target_ref is None and not spec.target_refs:
            field = "spec.selector" if spec.selector is not None else "metadata.namespace"
            yield finding("EG0703", resource, field, reason)


def _labels(resource: Resource) -> dict[str, str]:
    spec = resource.spec
    assert isinstance(spec, Sidecar)
    return dict(spec.workload_selector.labels) if spec.workload_selector is not None else {}


def _listed(labels: Mapping[str, str]) -> str:
    return ",".join(f"{k}={v}" for k, v in labels.items())
