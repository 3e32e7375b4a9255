"""What replaces each deprecated field (`Message.DEPRECATED`), by its JSON name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REPLACEMENTS: Final[Mapping[str, str]] = {
    "allowOrigin": "allowOrigins",
    "consecutiveErrors": "consecutiveGatewayErrors (read as that) or consecutive5xxErrors",
    "minimumRingSize": "ringHash.minimumRingSize",
    "mirrorPercent": "mirrorPercentage",
    "percent": "percentage",
    "targetPort": "no targetPort: it means nothing in a Gateway or Sidecar",
}
