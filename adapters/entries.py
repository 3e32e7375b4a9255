"""Parts of ServiceEntries that are alike in several sources: names that DNS and labels admit, the port,
the resolution. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from egressd.api.service_entry import Resolution

FALLBACK_PORT = 80  # of a service none of whose instances has a port: the entry must have one
LABEL_LENGTH = 63  # of DNS and of Kubernetes
HOST_LENGTH = 253


def clean_name(name: str) -> str:
    """Lower case, "-" for what DNS forbids; "" when nothing is left."""
    labels = (_clean(label, r"[^a-z0-9-]") for label in name.lower().split("."))
    return ".".join(label for label in labels if label)


def clean_labels(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Labels of an endpoint in Kubernetes syntax; of equal keys the last wins."""
    cleaned = ((_clean(k, r"[^A-Za-z0-9._-]"), v) for k, v in found)
    return {key: _clean(value, r"[^A-Za-z0-9._-]") for key, value in cleaned if key}


def common_port(ports: Iterable[int]) -> int:
    """The port that most instances listen on; of equally many the lowest."""
    counts = Counter(ports)
    return min(counts, key=lambda port: (-counts[port], port), default=FALLBACK_PORT)


def common_protocol(labels: Iterable[Mapping[str, str]], default: str) -> str:
    """The protocol that most instances name in their labels; of equally many the first in the
    alphabet."""
    counts = Counter(each["protocol"].upper() for each in labels if each.get("protocol"))
    return min(counts, key=lambda protocol: (-counts[protocol], protocol), default=default)


def resolution_of(addresses: Iterable[str]) -> Resolution:
    """STATIC, or DNS as soon as one endpoint is a name: Istio admits names with DNS only."""
    return Resolution.STATIC if all(map(is_ip, addresses)) else Resolution.DNS


def is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _clean(text: str, forbidden: str) -> str:
    """What is forbidden becomes "-"; starts and ends with a letter or digit."""
    return re.sub(forbidden, "-", text)[:LABEL_LENGTH].strip("-._")
