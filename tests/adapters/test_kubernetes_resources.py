"""Istio resources of an API server, as they are."""

from __future__ import annotations

import msgspec

from adapters.kubernetes.resources import Resources, ResourcesOf
from adapters.kubernetes.wire import Custom
from egressd.api.resource import Kind
from egressd.api.virtual_service import VirtualService


def virtual_service(
    name: str = "v", version: str = "1", *, host: str = "a.example", namespace: str = "shop"
) -> Custom:
    """As the API writes it, with what a server and other controllers add."""
    document = {
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "VirtualService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": name,
            "resourceVersion": version,
            "generation": 3,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "kubectl"}],
            "ownerReferences": [{"name": "x"}],
        },
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}]},
        "status": {"observedGeneration": 3},
    }
    return msgspec.json.decode(msgspec.json.encode(document), type=Custom)


def known(exclude: tuple[str, ...] = ()) -> tuple[Resources, ResourcesOf]:
    resources = Resources("k8s", [Kind.VIRTUAL_SERVICE], "https://k8s", exclude)
    return resources, resources.kinds[Kind.VIRTUAL_SERVICE]


def test_a_resource_is_taken_as_it_is() -> None:
    resources, kind = known()
    assert kind.heard(virtual_service(version="7"))
    (record,) = resources.snapshot("9").records
    assert record.resource.ref == "VirtualService/shop/v"
    assert record.resource.metadata.creation_timestamp == "2026-01-02T03:04:05Z"
    assert isinstance(record.resource.spec, VirtualService)
    assert record.resource.spec.hosts == ("a.example",)
    assert (record.origin, record.source_version) == ("VirtualService/shop/v", "7")
    assert resources.problems() == ()


def test_what_a_resource_with_an_error_said_before_stands() -> None:
    resources, kind = known()
    kind.heard(virtual_service())
    before = resources.snapshot("1").records
    assert kind.heard(virtual_service(version="2", host="not a host"))
    snapshot = resources.snapshot("2")
    assert snapshot.records == before
    assert snapshot.failed_origins == {"VirtualService/shop/v"}
    (problem, *_) = resources.problems()
    assert problem.place.file == (
        "https://k8s/apis/networking.istio.io/v1/namespaces/shop/virtualservices/v"
    )
    assert kind.heard(virtual_service(version="3", host="b.example"))
    assert not resources.snapshot("3").failed_origins
    assert not resources.problems()


def test_the_same_state_is_nothing_new_and_a_list_forgets_what_it_lacks() -> None:
    resources, kind = known(exclude=("shop/debug-*",))
    both = [virtual_service("v"), virtual_service("w", namespace="bank")]
    assert kind.heard_all("", [*both, virtual_service("debug-1")])
    assert not kind.heard_all("", both)
    assert len(resources.snapshot("1").records) == resources.endpoints == 2
    assert kind.heard_all("bank", [])
    assert [record.origin for record in resources.snapshot("1").records] == [
        "VirtualService/shop/v"
    ]
    assert kind.lost(both[0])
    assert resources.snapshot("2").records == ()
