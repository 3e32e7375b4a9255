"""The traffic policy of one port of a destination, from a DestinationRule and its subset. Pure.

Source: Istio's `MergeSubsetTrafficPolicy`. Sections are taken as wholes. Port-level settings stand in
for the whole policy of their own level: what they leave out has its default. A subset overrides the
rule, its port-level settings included; with port-level settings of its own it also clears the sections
that these can hold and do not.
"""

from __future__ import annotations

import msgspec

from egressd.api.destination_rule import TrafficPolicy

_PORT_SECTIONS = ("connection_pool", "outlier_detection", "load_balancer", "tls")
_OTHER_SECTIONS = ("tunnel", "proxy_protocol", "retry_budget")


def effective_policy(
    rule: TrafficPolicy | None, subset: TrafficPolicy | None, port: int
) -> TrafficPolicy:
    """What is in force for `port`, without port-level settings."""
    merged, _ = _at_port(rule, port)
    if subset is None:
        return merged
    own, clears = _at_port(subset, port)
    changes = {
        name: value
        for name in (*_PORT_SECTIONS, *_OTHER_SECTIONS)
        if (value := getattr(own, name)) is not None or (clears and name in _PORT_SECTIONS)
    }
    return msgspec.structs.replace(merged, **changes)


def _at_port(policy: TrafficPolicy | None, port: int) -> tuple[TrafficPolicy, bool]:
    """A level's policy for the port, and whether port-level settings say it."""
    if policy is None:
        return TrafficPolicy(), False
    for level in policy.port_level_settings:
        if level.port is not None and level.port.number == port:
            return TrafficPolicy(**{name: getattr(level, name) for name in _PORT_SECTIONS}), True
    return msgspec.structs.replace(policy, port_level_settings=()), False
