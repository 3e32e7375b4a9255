"""What Istio refuses beyond types: one module a kind, after Istio's `pkg/config/validation`.

Rules read a decoded spec and write to a `Report`. They import names and types, and never each
other's kinds but for messages that kinds share (`shared`, workload entries in services).
"""

from __future__ import annotations

from egressd.api.authorization_policy import AuthorizationPolicy
from egressd.api.destination_rule import DestinationRule
from egressd.api.gateway import Gateway
from egressd.api.report import Report
from egressd.api.resource import Metadata, Spec
from egressd.api.rules.authorization_policy import check_authorization_policy
from egressd.api.rules.destination_rule import check_destination_rule
from egressd.api.rules.gateway import check_gateway
from egressd.api.rules.grammar import check_grammar
from egressd.api.rules.limits import check_limits
from egressd.api.rules.service_entry import check_service_entry
from egressd.api.rules.sidecar import check_sidecar
from egressd.api.rules.virtual_service import check_virtual_service
from egressd.api.rules.workload_entry import check_workload_entry
from egressd.api.service_entry import ServiceEntry
from egressd.api.sidecar import Sidecar
from egressd.api.virtual_service import VirtualService

__all__ = ["check_spec"]


def check_spec(spec: Spec, metadata: Metadata, report: Report) -> None:
    """Reports each rule that the spec breaks, by the full path of the field."""
    if isinstance(spec, ServiceEntry):
        check_service_entry(spec, metadata.namespace, report)
    elif isinstance(spec, VirtualService):
        check_virtual_service(spec, metadata.namespace, report)
    elif isinstance(spec, DestinationRule):
        check_destination_rule(spec, metadata.namespace, report)
    elif isinstance(spec, Gateway):
        check_gateway(spec, report)
    elif isinstance(spec, Sidecar):
        check_sidecar(spec, metadata.namespace, report)
    elif isinstance(spec, AuthorizationPolicy):
        check_authorization_policy(spec, metadata, report)
    else:
        check_workload_entry(spec, "spec", report)
    check_grammar(metadata, "metadata", report)
    check_grammar(spec, "spec", report)
    check_limits(spec, "spec", report)
