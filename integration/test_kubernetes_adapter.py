"""The Kubernetes adapter against the double of an API server, and a real one where there is one.

Deadlines are generous: they catch what never comes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from adapters.kubernetes import make_adapter
from egressd.registry.adapter import AdapterContext
from integration.recorder import Recorder, recorded
from integration.servers.interposer import Interposer, garbage
from integration.servers.kube_apiserver import KubeApiserver, apiserver_program
from integration.servers.kubernetes import KubernetesDouble

Api = KubernetesDouble | KubeApiserver


def watching(
    api: Api, directory: Path, *, token: str = "node", url: str = "", **options: object
) -> AbstractAsyncContextManager[Recorder]:
    """The adapter with that login, running."""
    path = api.kubeconfig(directory / "kubeconfig", token, url=url)
    given = {"kubeconfig": path, "maxBackoff": "500ms", "watchTimeout": "5s", **options}
    return recorded(make_adapter(AdapterContext(name="k8s"), given))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeApiserver]:
    with KubeApiserver(tmp_path_factory.mktemp("kube")) as api:
        yield api


@pytest.fixture(params=["double"] if apiserver_program() is None else ["double", "real"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    if request.param == "double":
        with KubernetesDouble(tmp_path / "double", tls=True) as double:
            yield double
    else:
        real: KubeApiserver = request.getfixturevalue("real")
        yield real
        real.clear()


@pytest.fixture
def double(tmp_path: Path) -> Iterator[KubernetesDouble]:
    with KubernetesDouble(tmp_path / "double") as api:
        yield api


async def test_services_and_their_endpoints_come_and_go(api: Api, tmp_path: Path) -> None:
    api.put_service("web")
    api.put_slice("web", 8080)
    async with watching(api, tmp_path) as sink:
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1"])
        api.put_slice("web", 8081, address="127.0.0.2")
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1", "127.0.0.2"])
        api.put_slice("web", 8080, ready=False)
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.2"])
        api.delete_slice("web-8081")
        await sink.until(lambda: sink.endpoints("default/web") == [])
        api.delete_service("web")
        await sink.until(lambda: sink.service("default/web") is None)
        api.put_service("web", ports=[{"name": "https", "port": 443}])
        await sink.until(lambda: sink.service("default/web") is not None)
        service = sink.service("default/web")
        assert service is not None
        assert [(p.number, p.protocol) for p in service.ports] == [(443, "HTTPS")]
        assert sink.failures == []


async def test_a_list_of_many_pages_is_read_whole(api: Api, tmp_path: Path) -> None:
    names = [f"web-{number}" for number in range(7)]
    for name in names:
        api.put_service(name)
        api.put_slice(name, 8080)
    async with watching(api, tmp_path, pageSize=2, exclude=["*/kubernetes"]) as sink:
        await sink.until(lambda: bool(sink.snapshots))
        assert sink.origins == {f"default/{name}" for name in names}
        assert all(sink.endpoints(origin) == ["127.0.0.1"] for origin in sink.origins)
        done = [done for done, _ in sink.progressed]
        assert done == sorted(done) and len(done) >= 8
        assert len(sink.snapshots) == 1


async def test_labels_and_namespaces_select(api: Api, tmp_path: Path) -> None:
    api.put_service("web", labels={"tier": "front"})
    api.put_service("job")
    options = {"namespaces": ["default"], "labelSelector": "tier=front"}
    async with watching(api, tmp_path, **options) as sink:
        await sink.until(lambda: sink.origins == {"default/web"})
        api.put_service("job", labels={"tier": "front"})
        await sink.until(lambda: sink.origins == {"default/web", "default/job"})
        api.put_service("web", labels={"tier": "back"})
        await sink.until(lambda: sink.origins == {"default/job"})


async def test_an_outage_forgets_nothing_and_its_changes_are_found(
    api: Api, tmp_path: Path
) -> None:
    api.put_service("web")
    api.put_slice("web", 8080)
    async with watching(api, tmp_path) as sink:
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1"])
        api.stop()
        await sink.until(lambda: len(sink.failures) > 2)
        assert sink.endpoints("default/web") == ["127.0.0.1"]
        api.start()
        api.put_slice("web", 8080, address="127.0.0.9")
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.9"])
        syncs = sink.syncs
        await sink.until(lambda: sink.syncs > syncs)
        assert not sink.snapshots[-1].doubt


async def test_a_server_that_lost_its_state_is_doubted(api: Api, tmp_path: Path) -> None:
    api.put_service("web")
    for _ in range(9 if isinstance(api, KubernetesDouble) else 200):  # a real one begins at 200
        api.put_slice("web", 8080)
    api.put_slice("web", 8080, address="127.0.0.2")
    async with watching(api, tmp_path) as sink:
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.2"])
        api.lose_state()
        await sink.until(lambda: "lost state" in sink.snapshots[-1].doubt)
        assert any("lost state" in failure for failure in sink.failures)
        api.put_service("web")
        api.put_slice("web", 8080)
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1"])


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("wrong", "/api/v1/services: 401 Unauthorized"),
        ("", 'services is forbidden: User "system:anonymous" cannot list resource "services"'),
    ],
)
async def test_who_may_not_read_says_why_and_publishes_nothing(
    api: Api, tmp_path: Path, token: str, message: str
) -> None:
    async with watching(api, tmp_path, token=token) as sink:
        await sink.until(lambda: any(message in failure for failure in sink.failures))
        assert sink.snapshots == []


async def test_a_kubeconfig_that_is_written_anew_is_followed(api: Api, tmp_path: Path) -> None:
    api.put_service("web")
    async with watching(api, tmp_path, token="wrong") as sink:
        await sink.until(lambda: bool(sink.failures))
        api.kubeconfig(tmp_path / "kubeconfig", "node")
        await sink.until(lambda: "default/web" in sink.origins)


async def test_a_client_certificate_logs_in(api: Api, tmp_path: Path) -> None:
    issued = api.authority.issue_cert("node.example", common_name="node")
    pems = {
        "client-certificate-data": issued.cert_chain_pems[0].bytes(),
        "client-key-data": issued.private_key_pem.bytes(),
    }
    user = {field: base64.b64encode(pem).decode() for field, pem in pems.items()}
    api.put_service("web")
    path = api.kubeconfig(tmp_path / "kubeconfig", "", **user)
    adapter = make_adapter(AdapterContext(name="k8s"), {"kubeconfig": path})
    async with recorded(adapter) as sink:
        await sink.until(lambda: "default/web" in sink.origins)


async def test_another_authority_is_not_trusted(double: KubernetesDouble, tmp_path: Path) -> None:
    with KubernetesDouble(tmp_path / "tls", tls=True) as api:
        api.authority = type(api.authority)()
        api.stop()
        api.start()
        async with watching(api, tmp_path) as sink:
            await sink.until(lambda: any("certificate verify" in f for f in sink.failures))


async def test_istio_resources_are_read_as_they_are(api: Api, tmp_path: Path) -> None:
    if isinstance(api, KubeApiserver):
        api.define_istio()
    entry = {"hosts": ["a.example"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}]}
    api.put_istio("serviceentries", "ServiceEntry", "a", {**entry, "resolution": "DNS"})
    options = {"read": "istio", "kinds": ["ServiceEntry", "VirtualService"]}
    async with watching(api, tmp_path, **options) as sink:
        await sink.until(lambda: sink.origins == {"ServiceEntry/default/a"})
        assert sink.endpoints("ServiceEntry/default/a") == []
        to = [{"route": [{"destination": {"host": "a.example"}}]}]
        api.put_istio(
            "virtualservices", "VirtualService", "v", {"hosts": ["b.example"], "http": to}
        )
        await sink.until(lambda: "VirtualService/default/v" in sink.origins)
        assert sink.found == ()
        api.put_istio("virtualservices", "VirtualService", "v", {"hosts": ["not a host"]})
        await sink.until(lambda: bool(sink.found))
        assert "networking.istio.io/v1/namespaces/default/virtualservices/v" in str(sink.found[0])
        assert sink.snapshots[-1].failed_origins == {"VirtualService/default/v"}
        assert "VirtualService/default/v" in sink.origins
        api.delete_istio("virtualservices", "v")
        await sink.until(lambda: sink.origins == {"ServiceEntry/default/a"})
        assert sink.found == ()
        assert sink.failures == []


# -- what only the double does on demand ---------------------------------------------------------


async def test_a_version_that_is_too_old_is_read_anew_without_a_gap(
    double: KubernetesDouble, tmp_path: Path
) -> None:
    double.put_service("web")
    double.put_slice("web", 8080)
    async with watching(double, tmp_path) as sink:
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1"])
        double.stop()
        await sink.until(lambda: bool(sink.failures))
        double.store.put("services", _service("late"))
        double.store.compact()
        lists = _lists(double)
        double.start()
        await sink.until(lambda: "default/late" in sink.origins)
        assert _lists(double) > lists
        assert all(s.records for s in sink.snapshots)
        assert sink.endpoints("default/web") == ["127.0.0.1"]


async def test_bookmarks_spare_a_quiet_watch_the_list(
    double: KubernetesDouble, tmp_path: Path
) -> None:
    double.put_service("web")
    async with watching(double, tmp_path, watchTimeout="2s") as sink:
        await sink.until(lambda: "default/web" in sink.origins)
        double.put_slice("other", 8080)  # moves the version on, tells the watch of Services nothing
        syncs = sink.syncs
        await sink.until(lambda: sink.syncs > syncs + 4)
        double.store.compact_to_now()
        lists = _lists(double)
        watches = len(double.requests)
        await sink.until(lambda: sum("watch=1" in r for r in double.requests[watches:]) >= 2)
        await trio.sleep(0.2)
        assert _lists(double) == lists


async def test_a_part_that_may_not_be_read_keeps_what_was_known(
    double: KubernetesDouble, tmp_path: Path
) -> None:
    double.put_service("web")
    double.put_slice("web", 8080)
    double.forbidden.add("endpointslices")
    async with watching(double, tmp_path, watchTimeout="1s") as sink:
        await sink.until(lambda: any('"discovery.k8s.io"' in f for f in sink.failures))
        assert sink.snapshots == []
        double.forbidden.clear()
        await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1"])
        double.forbidden.add("endpointslices")
        failures = len(sink.failures)
        await sink.until(lambda: len(sink.failures) > failures + 1)
        double.put_service("late")
        await sink.until(lambda: "default/late" in sink.origins)
        assert sink.endpoints("default/web") == ["127.0.0.1"]


async def test_garbage_silence_and_cuts_change_nothing(
    double: KubernetesDouble, tmp_path: Path
) -> None:
    double.put_service("web")
    double.put_slice("web", 8080)
    with Interposer(double.port) as between:
        options = {"watchTimeout": "1s", "requestTimeout": "1s"}
        async with watching(double, tmp_path, url=between.address, **options) as sink:
            await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1"])
            for trouble in (
                {"rewrite": garbage},
                {"rewrite": lambda data: data.replace(b'"metadata"', b'"metadaten"')},
                {"silent": True},
                {"down": True},
            ):
                failures = len(sink.failures)
                between.disturb(**trouble)
                await sink.until(lambda before=failures: len(sink.failures) > before + 1)
                assert sink.endpoints("default/web") == ["127.0.0.1"]
                between.disturb(cut=True)
                syncs = sink.syncs
                await sink.until(lambda before=syncs: sink.syncs > before)
            between.disturb(delay_s=0.05)
            double.put_slice("web", 8081, address="127.0.0.2")
            await sink.until(lambda: sink.endpoints("default/web") == ["127.0.0.1", "127.0.0.2"])


async def test_a_mass_loss_is_confirmed_by_a_list_read_afresh(
    double: KubernetesDouble, tmp_path: Path
) -> None:
    for number in range(8):
        double.put_service(f"web-{number}")
    async with watching(double, tmp_path) as sink:
        await sink.until(lambda: len(sink.origins) == 8)
        sink.verdict = lambda snapshot: len(snapshot.records) > 4 or snapshot.is_reread
        lists = _lists(double)
        for number in range(5):
            double.delete_service(f"web-{number}")
        await sink.until(lambda: sink.snapshots[-1].is_reread)
        assert len(sink.origins) == 3
        assert not sink.snapshots[-1].doubt
        assert _lists(double) == lists + 2  # of Services and of slices


async def test_much_less_after_an_error_is_doubted(
    double: KubernetesDouble, tmp_path: Path
) -> None:
    for number in range(4):
        double.put_service(f"web-{number}")
        double.put_slice(f"web-{number}", 8080)
    async with watching(double, tmp_path) as sink:
        await sink.until(lambda: len(sink.origins) == 4)
        double.stop()
        await sink.until(lambda: any("endpointslices" in failure for failure in sink.failures))
        for number in range(3):
            double.store.delete("endpointslices", "default", f"web-{number}-8080")
        double.store.compact()
        double.start()
        await sink.until(lambda: "after an error" in sink.snapshots[-1].doubt)


def _service(name: str) -> dict[str, object]:
    meta = {"name": name, "namespace": "default", "uid": name}
    return {"metadata": meta, "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}}


def _lists(double: KubernetesDouble) -> int:
    """Lists that were begun, probes of one object aside."""
    return sum("limit=500" in r and "continue" not in r for r in double.requests)
