"""Registration in etcd: leases that are kept, lost, granted anew; checks that egressd runs."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from adapters.etcd.registrar import make_registrar
from adapters.etcd.watch import make_adapter
from egressd.api.secret import SecretUrl
from egressd.registry.adapter import AdapterContext
from egressd.registry.registrar import HealthCheck, Registration, RegistrationError
from integration.node import eventually
from integration.origins import Origin
from integration.recorder import recorded
from integration.servers.etcd import EtcdCluster

KEY = "/egressd/resources/registered/web/127.0.0.1/web-1"
DEADLINE_S = 30.0
TTL = HealthCheck(ttl_s=2)


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path / "etcd") as running:
        yield running


def options(etcd: EtcdCluster) -> dict[str, object]:
    return {"endpoints": etcd.endpoints, "requestTimeout": "2s", "maxBackoff": "500ms"}


def web(check: HealthCheck | None) -> Registration:
    return Registration(name="web", id="web-1", port=8080, check=check)


async def until_key(etcd: EtcdCluster, *, there: bool) -> None:
    with trio.fail_after(DEADLINE_S):
        while (KEY in await trio.to_thread.run_sync(etcd.keys, "/egressd/")) is not there:
            await trio.sleep(0.05)


async def test_a_kept_service_outlives_its_time_and_ends_with_its_keeper(etcd: EtcdCluster) -> None:
    registrar = make_registrar(options(etcd))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registrar.keep, (web(TTL),))
        await until_key(etcd, there=True)
        for _ in range(4):
            await trio.sleep(1)
            assert etcd.get(KEY) is not None
        etcd.delete(KEY)  # by somebody else
        await until_key(etcd, there=True)
        etcd.revoke(etcd.leases()[0])
        await until_key(etcd, there=True)
        nursery.cancel_scope.cancel()
    assert etcd.get(KEY) is not None  # left registered
    await until_key(etcd, there=False)


async def test_a_registry_that_lost_its_state_is_told_again(etcd: EtcdCluster) -> None:
    registrar = make_registrar(options(etcd))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registrar.keep, (web(TTL),))
        await until_key(etcd, there=True)
        etcd.kill()
        etcd.lose_state()
        await trio.sleep(3)  # longer than the lease
        etcd.start()
        await until_key(etcd, there=True)
        nursery.cancel_scope.cancel()
    await registrar.deregister((web(None),))
    assert KEY not in etcd.keys("/egressd/") and etcd.leases() == []


async def test_a_service_is_in_etcd_while_its_check_passes(etcd: EtcdCluster) -> None:
    registrar = make_registrar(options(etcd))
    with Origin("web") as origin, socket.create_server(("127.0.0.1", 0)) as listening:
        for check in (
            HealthCheck(http=SecretUrl(f"http://127.0.0.1:{origin.port}/health"), interval_s=0.1),
            HealthCheck(tcp=f"127.0.0.1:{listening.getsockname()[1]}", interval_s=0.1),
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(registrar.keep, (web(check),))
                await until_key(etcd, there=True)
                if check.http:
                    origin.status = 503
                    await until_key(etcd, there=False)
                    origin.status = 200
                    await until_key(etcd, there=True)
                else:
                    listening.close()
                    await until_key(etcd, there=False)
                nursery.cancel_scope.cancel()
            await registrar.deregister((web(check),))


async def test_what_is_registered_once_is_read_by_the_adapter(etcd: EtcdCluster) -> None:
    registrar = make_registrar({**options(etcd), "layout": "skydns"})
    adapter = make_adapter(AdapterContext(name="corp"), {**options(etcd), "layout": "skydns"})
    async with recorded(adapter) as sink:
        await registrar.register((web(None),))
        await sink.until(lambda: sink.endpoints("web.service.etcd") == ["127.0.0.1"])
        await registrar.deregister((web(None),))
        await sink.until(lambda: sink.endpoints("web.service.etcd") is None)


async def test_a_refusal_ends_the_keeping(etcd: EtcdCluster) -> None:
    etcd.add_user("other", "secret", ["/other/"])
    etcd.enable_auth("rooted")
    registrar = make_registrar({**options(etcd), "user": "other", "password": "secret"})
    with trio.fail_after(DEADLINE_S), pytest.raises(RegistrationError, match="PERMISSION_DENIED"):
        await registrar.keep((web(None),))


def test_the_command_registers_until_it_is_ended(etcd: EtcdCluster, tmp_path: Path) -> None:
    services = tmp_path / "services.yaml"
    services.write_text("services: [{name: web, id: web-1, port: 8080}]\n")
    command = [sys.executable, "-m", "egressd.cli.main", "register", "-f", str(services)]
    given = ["--to", "etcd", "--option", f"endpoints={json.dumps(etcd.endpoints)}"]
    with subprocess.Popen([*command, *given], stderr=subprocess.PIPE, text=True) as running:
        try:
            eventually(lambda: KEY in etcd.keys("/egressd/"), DEADLINE_S)
            running.send_signal(signal.SIGTERM)
            assert running.wait(DEADLINE_S) == 0
            assert KEY not in etcd.keys("/egressd/")
            assert running.stderr is not None and "registered" in running.stderr.read()
        finally:
            running.kill()
