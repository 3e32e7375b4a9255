"""What a registration looks like in etcd: the keys and values of one instance. Pure.

| layout | key | value |
| --- | --- | --- |
| `istio` | PREFIX registered/NAME/ADDRESS/ID | WorkloadEntry with the label `egressd.io/service: NAME` |
| | PREFIX registered/NAME | ServiceEntry that selects that label, written where there is none |
| `skydns` | PREFIX, the domain from the right, NAME, ID-ADDRESS | host, port, weight |

The host is NAME.DOMAIN, `service.etcd` where the options name no domain. `meta` and `tags` become
labels (tag `k=v` label k, tag `t` label `tag.t`), the protocol is `meta.protocol`; SkyDNS has no place
for them.
"""

from __future__ import annotations

import json
import re

import msgspec

from adapters.etcd.options import DEFAULT_PREFIX, Options
from egressd.api.parse import parse_text
from egressd.registry.registrar import Registration, RegistrationError

DEFAULT_DOMAIN = "service.etcd"
SELECTED_BY = "egressd.io/service"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Written(msgspec.Struct, frozen=True):
    """One instance in etcd. `shared` is a key that all instances of the service need; it is written
    where it is not there, and stays."""

    key: str
    value: bytes
    shared: tuple[str, bytes] | None = None


def written(service: Registration, address: str, options: Options) -> Written:
    """What to write for an instance at an address. Raises `RegistrationError`."""
    for field, text in (("name", service.name), ("id", service.id)):
        if not _LABEL.fullmatch(text):
            raise RegistrationError(
                f"service {service.name}: {field}: found {text!r}, expected a DNS label in lower case"
            )
    prefix = options.prefix or DEFAULT_PREFIX[options.layout]
    domain = options.domain or DEFAULT_DOMAIN
    if options.layout == "skydns":
        place = "/".join([*domain.split(".")[::-1], service.name, _joined(service.id, address)])
        value = {"host": address, "port": service.port, "weight": service.weight}
        return Written(prefix + place, json.dumps(value).encode())
    return _istio(service, address, options, f"{prefix}registered/{service.name}", domain)


def _istio(service: Registration, address: str, options: Options, key: str, domain: str) -> Written:
    protocol = service.meta.get("protocol", options.protocol).upper()
    port = {"number": service.port, "name": protocol.lower(), "protocol": protocol}
    selector = {SELECTED_BY: service.name}
    workload = {
        "address": address,
        "ports": {port["name"]: service.port},
        "labels": {**_labels(service), **selector},
        "weight": service.weight,
    }
    entry = {
        "hosts": [f"{service.name}.{domain}"],
        "ports": [port],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "workloadSelector": {"labels": selector},
    }
    name = f"{service.name}.{_joined(service.id, address)}"
    return Written(
        f"{key}/{address}/{service.id}",
        _resource("WorkloadEntry", name, workload, service, options),
        (key, _resource("ServiceEntry", service.name, entry, service, options)),
    )


def _resource(
    kind: str, name: str, spec: dict[str, object], service: Registration, options: Options
) -> bytes:
    head = {"apiVersion": "networking.istio.io/v1", "kind": kind}
    metadata = {"name": name, "namespace": options.namespace}
    text = json.dumps({**head, "metadata": metadata, "spec": spec})
    for problem in parse_text(text, f"service {service.name}").errors:
        raise RegistrationError(str(problem))
    return text.encode()


def _labels(service: Registration) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag in service.tags:
        key, equals, value = tag.partition("=")
        found |= {key: value} if equals else {f"tag.{tag}": "true"}
    return found | dict(service.meta)


def _joined(name: str, address: str) -> str:
    """One DNS label for an instance, told apart from those of other machines."""
    return f"{name}-{re.sub(r'[^a-z0-9]+', '-', address.lower())}"[:63].strip("-")
