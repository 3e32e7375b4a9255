"""What is known of a cluster: which Services are translated again, and which records stay."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.kubernetes.inventory import Inventory
from adapters.kubernetes.options import Options
from adapters.kubernetes.translate import Translated, translate_service
from adapters.kubernetes.wire import (
    SERVICE_NAME,
    Endpoint,
    EndpointSlice,
    Meta,
    Service,
    ServicePort,
    ServiceSpec,
)
from egressd.registry.records import Record


class Cluster:
    """An inventory that counts translations."""

    def __init__(self, exclude: tuple[str, ...] = ()) -> None:
        self.translated: list[str] = []
        self.inventory = Inventory("k", self._translate, exclude)

    def _translate(self, service: Service, slices: Sequence[EndpointSlice]) -> Translated:
        self.translated.append(service.metadata.key)
        return translate_service(service, slices, Options(), "")

    def records(self) -> dict[str, Record]:
        self.translated.clear()
        snapshot = self.inventory.snapshot("9")
        return {record.origin: record for record in snapshot.records}

    def addresses(self, key: str) -> list[str]:
        spec = self.records()[key].resource.spec
        return [endpoint.address for endpoint in spec.endpoints]


def service(name: str, version: str = "1", *, namespace: str = "shop", uid: str = "u") -> Service:
    meta = Meta(name, namespace, uid, version)
    return Service(meta, ServiceSpec(ports=(ServicePort(80, "http"),)))


def slices(
    of: str, *addresses: str, name: str = "", version: str = "1", namespace: str = "shop"
) -> EndpointSlice:
    meta = Meta(name or f"{of}-1", namespace, "s", version, {SERVICE_NAME: of})
    return EndpointSlice(meta, endpoints=tuple(Endpoint((each,)) for each in addresses))


def filled() -> Cluster:
    cluster = Cluster()
    cluster.inventory.heard_services("", [service("web"), service("api")])
    cluster.inventory.heard_slices("", [slices("web", "1.1.1.1"), slices("api", "1.1.1.2")])
    cluster.records()
    return cluster


def test_a_changed_slice_translates_its_service_only() -> None:
    cluster = filled()
    before = cluster.records()
    assert cluster.inventory.heard_slice(slices("web", "1.1.1.3", version="2"))
    after = cluster.records()
    assert cluster.translated == ["shop/web"]
    assert after["shop/api"] is before["shop/api"]
    assert cluster.addresses("shop/web") == ["1.1.1.3"]


def test_a_change_that_means_nothing_keeps_the_very_record() -> None:
    cluster = filled()
    before = cluster.records()
    cluster.inventory.heard_slice(slices("web", "1.1.1.1", version="2"))
    after = cluster.records()
    assert cluster.translated == ["shop/web"]
    assert after["shop/web"] is before["shop/web"]


def test_a_list_of_the_same_versions_is_nothing_new() -> None:
    cluster = filled()
    assert not cluster.inventory.heard_services("", [service("web"), service("api")])
    assert not cluster.inventory.heard_slices("", [slices("web"), slices("api")])


def test_a_list_forgets_what_it_lacks() -> None:
    cluster = filled()
    assert cluster.inventory.heard_services("", [service("web")])
    assert list(cluster.records()) == ["shop/web"]
    assert cluster.inventory.heard_slices("", [])
    assert cluster.addresses("shop/web") == []


def test_a_list_of_one_namespace_forgets_nothing_of_another() -> None:
    cluster = filled()
    cluster.inventory.heard_services("bank", [service("pay", namespace="bank")])
    assert len(cluster.records()) == 3
    cluster.inventory.heard_services("bank", [])
    assert sorted(cluster.records()) == ["shop/api", "shop/web"]


def test_a_service_that_is_created_anew_is_another_one() -> None:
    cluster = filled()
    assert cluster.inventory.heard_services("", [service("web", uid="v"), service("api")])


def test_slices_may_come_before_their_service() -> None:
    cluster = Cluster()
    assert not cluster.inventory.heard_slice(slices("web", "1.1.1.1"))
    assert cluster.inventory.heard_service(service("web"))
    assert cluster.addresses("shop/web") == ["1.1.1.1"]


def test_a_service_that_went_and_came_finds_its_slices() -> None:
    cluster = filled()
    assert cluster.inventory.lost_service(service("web"))
    assert list(cluster.records()) == ["shop/api"]
    cluster.inventory.heard_service(service("web", "5"))
    assert cluster.addresses("shop/web") == ["1.1.1.1"]


def test_a_slice_that_goes_takes_its_endpoints() -> None:
    cluster = filled()
    cluster.inventory.heard_slice(slices("web", "1.1.1.9", name="web-2"))
    assert cluster.addresses("shop/web") == ["1.1.1.1", "1.1.1.9"]
    assert cluster.inventory.lost_slice(slices("web", "1.1.1.1", version="3"))
    assert cluster.addresses("shop/web") == ["1.1.1.9"]
    assert not cluster.inventory.lost_slice(slices("web", "1.1.1.1", version="3"))


def test_a_slice_may_move_to_another_service() -> None:
    cluster = filled()
    cluster.inventory.heard_slice(slices("api", "1.1.1.1", name="web-1", version="2"))
    assert cluster.addresses("shop/web") == []
    assert cluster.addresses("shop/api") == ["1.1.1.1", "1.1.1.2"]


def test_a_long_list_is_translated_a_part_at_a_time() -> None:
    cluster = Cluster()
    cluster.inventory.heard_services("", [service(f"web-{n}") for n in range(5)])
    assert cluster.inventory.settle(2)
    assert len(cluster.translated) == 2
    assert not cluster.inventory.settle(3)
    assert len(cluster.records()) == 5
    assert cluster.translated == []


def test_excluded_services_are_not_there() -> None:
    cluster = Cluster(exclude=("kube-system/*",))
    cluster.inventory.heard_services("", [service("dns", namespace="kube-system"), service("web")])
    cluster.inventory.heard_slice(slices("dns", "1.1.1.1", namespace="kube-system"))
    assert list(cluster.records()) == ["shop/web"]
