"""Address policy: where a client that chooses its own address may not go. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence


def address_policy(denied: Sequence[str]) -> Callable[[str], bool]:
    """A test whether an address lies in one of the denied networks (CIDR)."""
    networks = [ipaddress.ip_network(network, strict=False) for network in denied]

    def denies(address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return True  # a Unix socket, or nothing that an address policy could allow
        mapped = getattr(parsed, "ipv4_mapped", None)
        parsed = mapped or parsed
        return any(parsed in network for network in networks)

    return denies
