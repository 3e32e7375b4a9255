"""From the bootstrap's `pathNormalization` and `http` to what the proxy and explain take."""

from __future__ import annotations

from egressd.node.bootstrap_model import Bootstrap
from egressd.proxy.http1.request import METHODS
from egressd.routing.path import PathNormalizer


def path_normalizer(bootstrap: Bootstrap) -> PathNormalizer:
    """How paths are read."""
    return PathNormalizer(bootstrap.path_normalization, bootstrap.http.escaped_slashes)


def allowed_methods(bootstrap: Bootstrap) -> frozenset[bytes]:
    """The methods that a request may have."""
    return METHODS | {method.encode() for method in bootstrap.http.extension_methods}


def upgrade_types(bootstrap: Bootstrap) -> frozenset[bytes]:
    """The protocols that may follow a 101, in lower case."""
    return frozenset(name.lower().encode() for name in bootstrap.http.upgrade_types)
