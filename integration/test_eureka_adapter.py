"""The Eureka adapter against a stand-in for the server. Deadlines are generous."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from adapters.eureka import make_adapter
from egressd.registry.adapter import AdapterContext
from integration.recorder import Recorder, recorded
from integration.servers.eureka import Eureka
from integration.servers.interposer import Interposer, garbage

OLD_S = 3600.0


@asynccontextmanager
async def watching(*servers: str, **options: object) -> AsyncIterator[Recorder]:
    given = {"servers": servers, "interval": "50ms", "requestTimeout": "20s", "maxBackoff": "200ms"}
    adapter = make_adapter(AdapterContext(name="eureka"), {**given, **options})
    async with recorded(adapter) as sink:
        yield sink


@pytest.fixture
def eureka() -> Iterator[Eureka]:
    with Eureka() as server:
        yield server


def fulls(eureka: Eureka) -> int:
    return sum(path.startswith("/eureka/apps") and "delta" not in path for path in eureka.requests)


async def test_changes_come_by_deltas_and_the_whole_list_is_read_once(eureka: Eureka) -> None:
    first = eureka.register("WEB", 81, metadata={"version": "v1", "zone": "z"})
    async with watching(eureka.url) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        web = sink.service("web")
        assert web is not None and web.endpoints[0].labels["version"] == "v1"
        eureka.register("WEB", 82, ipAddr="127.0.0.2")
        eureka.register("PAY", 83)
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1", "127.0.0.2"])
        eureka.set_status("WEB", first, "OUT_OF_SERVICE")
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.2"])
        eureka.set_status("WEB", first, "")
        await sink.until(lambda: len(sink.endpoints("web") or ()) == 2)
        eureka.cancel("WEB", first)
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.2"])
        eureka.register("WEB", 81)  # deleted and added in one delta
        await sink.until(lambda: len(sink.endpoints("web") or ()) == 2)
        versions = [int(record.source_version) for record in sink.snapshots[-1].records]
        assert min(versions) > 1
        assert fulls(eureka) == 1 and not sink.failures


async def test_a_delta_that_does_not_add_up_is_followed_by_the_whole_list(eureka: Eureka) -> None:
    eureka.register("WEB", 81)
    async with watching(eureka.url) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        eureka.register("PAY", 82)
        eureka.forget_changes()
        await sink.until(lambda: sink.origins == {"web", "pay"})
        assert fulls(eureka) == 2 and not sink.failures


@pytest.mark.parametrize("disabled", [403, 404])
async def test_without_deltas_the_whole_list_is_read_each_time(
    eureka: Eureka, disabled: int
) -> None:
    eureka.without_delta = disabled
    eureka.register("WEB", 81)
    async with watching(eureka.url) as sink:
        await sink.until(lambda: sink.origins == {"web"})
        eureka.register("PAY", 82)
        await sink.until(lambda: sink.origins == {"web", "pay"})
        assert not sink.failures


async def test_an_expired_instance_that_the_server_preserves_is_kept(eureka: Eureka) -> None:
    owners = [eureka.register("WEB", port, ipAddr=f"127.0.1.{port}") for port in range(81, 91)]
    async with watching(eureka.url, resync="200ms") as sink:
        await sink.until(lambda: len(sink.endpoints("web") or ()) == 10)
        for own in owners[:4]:
            eureka.expire("WEB", own)
        assert eureka.evict() == 0  # too few renewals: self-preservation
        syncs = sink.syncs
        await sink.until(lambda: sink.syncs > syncs + 5)
        assert len(sink.endpoints("web") or ()) == 10
        for own in owners:
            eureka.renew("WEB", own)
        eureka.expire("WEB", owners[0])
        assert eureka.evict() == 1
        await sink.until(lambda: len(sink.endpoints("web") or ()) == 9)


async def test_another_server_is_asked_when_one_fails(eureka: Eureka) -> None:
    with Eureka() as other:
        for server in (eureka, other):
            server.register("WEB", 81)
            server.age(OLD_S)
        async with watching(eureka.url, other.url, resync="1s") as sink:
            await sink.until(lambda: sink.origins == {"web"})
            assert not other.requests
            eureka.stop()
            other.register("PAY", 82)
            await sink.until(lambda: sink.origins == {"web", "pay"})
            assert sink.failures and "Connection refused" in sink.failures[0]
            eureka.restart(copy_from=other)
            seen = len(eureka.requests)
            await sink.until(lambda: len(eureka.requests) > seen + 3)  # the first one again
            assert not any(snapshot.doubt for snapshot in sink.snapshots)


async def test_a_server_that_restarted_empty_is_in_doubt_until_all_is_back(eureka: Eureka) -> None:
    ports = range(81, 91)
    for port in ports:
        eureka.register(f"S{port}", port)
    eureka.age(OLD_S)
    async with watching(eureka.url) as sink:
        await sink.until(lambda: len(sink.origins) == 10)
        assert sink.snapshots[-1].doubt == ""
        sink.verdict = lambda snapshot: not snapshot.doubt
        eureka.restart()
        await sink.until(lambda: sink.snapshots[-1].records == ())
        assert sink.snapshots[-1].doubt == "the server lists no instance"
        for port in ports:
            eureka.register(f"S{port}", port)
        await sink.until(lambda: len(sink.origins) == 10)
        assert not any(snapshot.is_reread for snapshot in sink.snapshots)
        with Eureka() as peer:
            peer.register("S81", 81)
            eureka.restart(copy_from=peer)
        await sink.until(lambda: sink.origins == {"s81"})
        assert (
            sink.snapshots[-1].doubt == "the server has started lately and lists 1 instances so far"
        )


async def test_a_held_loss_is_read_afresh(eureka: Eureka) -> None:
    owners = {f"S{port}": eureka.register(f"S{port}", port) for port in range(81, 91)}
    eureka.age(OLD_S)
    async with watching(eureka.url, interval="100ms") as sink:
        await sink.until(lambda: len(sink.origins) == 10)
        sink.verdict = lambda snapshot: snapshot.is_reread
        for app, own in list(owners.items())[:6]:
            eureka.cancel(app, own)
        await sink.until(lambda: sink.snapshots[-1].is_reread)
        assert (len(sink.origins), sink.snapshots[-1].doubt) == (4, "")
        assert fulls(eureka) >= 2


async def test_bad_days_keep_what_is_known_and_pass_by_themselves(eureka: Eureka) -> None:
    eureka.register("WEB", 81)
    eureka.age(OLD_S)
    with Interposer(eureka.port) as between:
        async with watching(f"{between.address}/eureka", requestTimeout="1s") as sink:
            await sink.until(lambda: sink.origins == {"web"})
            for trouble in (
                lambda: between.disturb(silent=True),
                lambda: between.disturb(rewrite=garbage),
                lambda: between.disturb(down=True),
                lambda: setattr(eureka, "is_ready", False),
                lambda: setattr(eureka, "credentials", "user:secret"),
            ):
                failures, snapshots = len(sink.failures), len(sink.snapshots)
                trouble()
                await sink.until(lambda n=failures: len(sink.failures) > n + 1)  # type: ignore[misc]
                assert len(sink.snapshots) == snapshots
                between.disturb()
                eureka.is_ready, eureka.credentials = True, ""
                syncs = sink.syncs
                await sink.until(lambda n=syncs: sink.syncs > n)  # type: ignore[misc]
            said = "\n".join(sink.failures)
            for reason in ("silent for 1 s", "/apps: 403", "/apps/delta: 401"):
                assert reason in said


async def test_a_password_comes_from_its_file_and_never_shows(
    eureka: Eureka, tmp_path: Path
) -> None:
    eureka.credentials = "user:right"
    eureka.register("WEB", 81)
    file = tmp_path / "password"
    file.write_text("wrong-one\n")
    async with watching(eureka.url, username="user", passwordFile=str(file)) as sink:
        await sink.until(lambda: bool(sink.failures))
        file.write_text("right\n")
        await sink.until(lambda: sink.origins == {"web"})
        assert "wrong" not in "".join(sink.failures)
    named = eureka.url.replace("://", "://user:right@")
    async with watching(named) as sink:
        await sink.until(lambda: sink.origins == {"web"})


async def test_remote_regions_are_asked_for(eureka: Eureka) -> None:
    with Eureka() as far:
        far.register("FAR", 82)
        eureka.register("WEB", 81)
        eureka.remote_regions["us-west-2"] = far
        async with watching(eureka.url, regions=["us-west-2"]) as sink:
            await sink.until(lambda: sink.origins == {"web", "far"})
            assert not sink.failures


async def test_an_unreadable_instance_is_told_and_the_others_serve(eureka: Eureka) -> None:
    eureka.register("WEB", 81)
    eureka.register("WEB", 82, metadata=["82"])
    async with watching(eureka.url) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        await sink.until(lambda: bool(sink.found))
        assert "WEB: Expected `object | null`, got `array`" in sink.found[0].found


async def test_cancelling_is_prompt_while_the_server_is_silent(eureka: Eureka) -> None:
    with Interposer(eureka.port) as between:
        between.disturb(silent=True)
        async with watching(f"{between.address}/eureka", requestTimeout="1h") as sink:
            await trio.sleep(0.3)
        assert not sink.failures
        between.disturb()
