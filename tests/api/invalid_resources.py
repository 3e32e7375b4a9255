"""The table of invalid resources: each must be refused with an error at exactly `field`.

The integration suite feeds the same table to a running node.
"""

from __future__ import annotations

from tests.api.invalid import envelope, rules_mesh, rules_misc, rules_routes, rules_services, types
from tests.api.invalid.mutate import InvalidCase

__all__ = ["INVALID", "InvalidCase"]

INVALID: list[InvalidCase] = [
    *envelope.CASES,
    *types.CASES,
    *rules_services.CASES,
    *rules_routes.CASES,
    *rules_misc.CASES,
    *rules_mesh.CASES,
]
