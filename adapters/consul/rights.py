"""What an empty answer says of the token's rights. Pure.

Consul's ACLs refuse few reads: they leave out of an answer what the token may not see.
"""

from __future__ import annotations

from adapters.consul.options import Options

NEEDED = "it needs service:read and node:read of what is wanted"


def lists_itself(options: Options) -> bool:
    """Whether Consul's own service must be in the catalog: it is in the default namespace and partition
    of every datacenter, in others (Consul Enterprise) it is not."""
    return options.consul_namespace in ("", "default") and options.partition in ("", "default")


def no_rights(options: Options) -> str:
    """Why a catalog without even Consul itself is empty."""
    if options.token_file:
        whose = f"the token of {options.token_file} has no right to read services"
    elif options.token:
        whose = "the token has no right to read services"
    else:
        whose = "no token is given, and Consul denies by default (ACL): set options.tokenFile"
    return f"found an empty catalog, without even Consul itself: {whose}; {NEEDED}"
