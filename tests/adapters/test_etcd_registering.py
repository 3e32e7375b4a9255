"""Registrations as keys and values of etcd, read back by the adapter's own layouts."""

from __future__ import annotations

import pytest

from adapters.etcd.istio import IstioLayout
from adapters.etcd.options import Options
from adapters.etcd.registering import written
from adapters.etcd.skydns import Rules, SkyDnsLayout
from egressd.api.service_entry import ServiceEntry
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.keyvalue import Entry
from egressd.registry.registrar import Registration, RegistrationError

WEB = Registration(
    name="web",
    id="web-1",
    port=8080,
    weight=3,
    tags=("version=v1", "canary"),
    meta={"protocol": "http2"},
)


def test_an_instance_is_a_workload_that_a_service_selects() -> None:
    place = written(WEB, "10.0.0.5", Options(domain="corp"))
    assert place.key == "/egressd/resources/registered/web/10.0.0.5/web-1"
    assert place.shared is not None
    layout = IstioLayout("corp")
    layout.put(Entry(place.key, place.value, 2))
    layout.put(Entry(*place.shared, 3))
    assert layout.problems() == ()
    workload, service = (record.resource.spec for record in layout.records())
    assert isinstance(workload, WorkloadEntry) and isinstance(service, ServiceEntry)
    assert (workload.address, dict(workload.ports), workload.weight) == (
        "10.0.0.5",
        {"http2": 8080},
        3,
    )
    assert service.hosts == ("web.corp",) and service.workload_selector is not None
    wanted = service.workload_selector.labels.items()
    assert wanted <= workload.labels.items()
    assert {"version": "v1", "tag.canary": "true"}.items() <= workload.labels.items()
    namespaces = {record.resource.metadata.namespace for record in layout.records()}
    assert namespaces == {"etcd"}


def test_an_instance_is_a_skydns_record() -> None:
    place = written(WEB, "fd00::5", Options(layout="skydns", domain="example.com"))
    assert place.key == "/skydns/com/example/web/web-1-fd00-5" and place.shared is None
    layout = SkyDnsLayout("corp", "/skydns/", Rules(domain="example.com", own_names=False))
    layout.put(Entry(place.key, place.value, 2))
    (record,) = layout.records()
    assert record.origin == "web.example.com"
    assert isinstance(record.resource.spec, ServiceEntry)
    (endpoint,) = record.resource.spec.endpoints
    assert (endpoint.address, endpoint.weight) == ("fd00::5", 3)


def test_machines_with_the_same_ids_have_keys_of_their_own() -> None:
    for layout in ("istio", "skydns"):
        options = Options(layout=layout)  # type: ignore[arg-type]
        assert written(WEB, "10.0.0.5", options).key != written(WEB, "10.0.0.6", options).key


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (Registration(name="Web", id="a", port=1), "name: found 'Web', expected a DNS label"),
        (Registration(name="web", id="a/b", port=1), "id: found 'a/b', expected a DNS label"),
        (Registration(name="web", id="a", port=0), "expected"),
        (Registration(name="web", id="a", port=1, meta={"protocol": "smoke"}), "SMOKE"),
        (Registration(name="web", id="a", port=1, tags=("k=v w",)), "label"),
    ],
)
def test_a_wrong_field_is_refused(service: Registration, message: str) -> None:
    with pytest.raises(RegistrationError) as told:
        written(service, "10.0.0.5", Options())
    assert message in str(told.value)
