"""The options of a Kubernetes adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from adapters.options import (
    DOMAIN_EXPECTED,
    DURATION_EXPECTED,
    DomainText,
    DurationText,
    LabelText,
    convert_options,
)
from egressd.api.resource import Kind
from egressd.registry.adapter_options import SecretPath

Addresses = Literal["endpoints", "loadBalancer", "clusterIP"]
Families = Literal["primary", "IPv4", "IPv6", "all"]
_EXPECTED = {
    "domain": DOMAIN_EXPECTED,
    "read": "services or istio",
    "kinds": f"a list of {', '.join(Kind)}",
    "namespaces": "a list of namespaces",
    "exclude": "a list of shell patterns of NAMESPACE/NAME, such as kube-system/*",
    "addresses": f"one of {', '.join(get_args(Addresses))}",
    "families": f"one of {', '.join(get_args(Families))}",
    "protocol": "HTTP or TCP",
    "region": "the region without '/'",
} | dict.fromkeys(("watchTimeout", "requestTimeout", "maxBackoff"), DURATION_EXPECTED)


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of a `kubernetes` adapter may say."""

    kubeconfig: SecretPath = ""  # a file; empty: the pod's service account, else KUBECONFIG
    context: str = ""  # of the kubeconfig; empty: its current-context
    read: Literal["services", "istio"] = "services"
    kinds: tuple[Kind, ...] = tuple(Kind)  # of Istio resources to read
    namespaces: tuple[LabelText, ...] = ()  # empty: all
    label_selector: str = ""  # of Services or Istio resources, in Kubernetes' syntax
    exclude: tuple[Annotated[str, msgspec.Meta(pattern="/")], ...] = ()  # patterns: NAMESPACE/NAME
    domain: DomainText = "cluster.local"
    addresses: Addresses = "endpoints"  # what an endpoint's address is taken from
    families: Families = "primary"  # which slices of a dual-stack Service count
    protocol: Literal["HTTP", "TCP"] = "HTTP"  # of ports that name none
    region: Annotated[str, msgspec.Meta(pattern=r"^[^/]*$")] = ""  # of the cluster's zones
    page_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500  # objects a list request
    watch_timeout: DurationText = "60s"  # of one watch; the sync age stays below it
    request_timeout: DurationText = "10s"  # of a list request, and of a watch to begin
    max_backoff: DurationText = "5s"


def read_options(name: str, options: Mapping[str, object]) -> Options:
    """The options of the adapter `name`. Raises `AdapterConfigError`."""
    return convert_options(name, options, Options, _EXPECTED)
