"""The disturbances. Each is one method; what it may cost is written into the ledger right there."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from integration.node import eventually
from integration.servers.consul import ConsulError
from integration.soak import processes
from integration.soak.ledger import Excuse, Ledger
from integration.soak.scene import SHAKY, Scene

_AFTER_S = 3.0
"""How long after a disturbance a client may still find out that its connection is gone."""


class Disturbances:
    """Draws and runs them."""

    def __init__(self, scene: Scene, ledger: Ledger, choose: random.Random, port: int) -> None:
        self._scene = scene
        self._ledger = ledger
        self._draw = choose  # what happens when: the same for a seed, however long each takes
        self._choose = random.Random(choose.random())
        self._port = port
        self._settings = dict(scene.node.settings)
        self._toggle = 0

    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Those that this machine can have, by name."""
        found: dict[str, Callable[[], Awaitable[None]]] = {
            "kill a worker": self.kill_worker,
            "stop a worker for a while": self.pause_worker,
            "hang a worker": self.hang_worker,
            "kill the registry process": self.kill_registry,
            "stop the registry process for a while": self.pause_registry,
            "reload": self.reload,
            "reload a broken bootstrap": self.reload_broken,
            "save a resource in place, slowly": self.save_slowly,
            "save a broken resource": self.save_broken,
            "restart Consul empty": self.restart_consul,
            "stop Consul for a while": self.pause_consul,
            "restart an origin": self.restart_origin,
            "stop an origin for a while": self.pause_origin,
            "rotate the certificate": self.rotate_certificate,
            "leave the log unread": self.unread_log,
        }
        if self._scene.is_small_disk:
            found["fill the disk"] = self.fill_disk
        if self._scene.clock is not None:
            found["move the clock"] = self.move_clock
        return found

    async def run(self, until: float) -> None:
        """One after the other, sometimes two at once, until the time has come."""
        kinds = self.kinds()
        while time.monotonic() < until:
            drawn = self._draw.sample(
                sorted(kinds), min(len(kinds), self._draw.choice((1, 1, 1, 2)))
            )
            async with trio.open_nursery() as nursery:
                for name in drawn:
                    self._ledger.disturbances[name] += 1
                    self._ledger.say(f"{time.monotonic() - self._ledger.begun:7.2f} s {name}")
                    nursery.start_soon(kinds[name])
            await trio.sleep(self._draw.uniform(0.3, 2))

    # -- the node's processes ----------------------------------------------------------------------

    async def kill_worker(self) -> None:
        pid = self._worker()
        if pid is None:
            return
        with suppress(ProcessLookupError):
            self._hold(pid, "held by a killed worker", signal.SIGKILL)

    async def pause_worker(self) -> None:
        pid = self._worker()
        if pid is not None:
            await self._pause(pid, self._choose.uniform(0.1, 2))

    async def hang_worker(self) -> None:
        pid = self._worker()
        if pid is None:
            return
        with suppress(ProcessLookupError):
            excuse = self._hold(pid, "held by a hung worker", None)
            with trio.move_on_after(30):
                while pid in processes.workers(self._scene.node.pid):
                    excuse.ended = time.monotonic() + _AFTER_S
                    await trio.sleep(0.2)
                return
            self._ledger.excuses.remove(excuse)
            self._ledger.say(f"hung worker {pid} was not ended within 30 s")
            os.kill(pid, signal.SIGKILL)

    def _hold(self, pid: int, reason: str, number: signal.Signals | None) -> Excuse:
        """Stop a process, excuse what it holds, then send it a signal."""
        os.kill(pid, signal.SIGSTOP)
        held = processes.held_clients(pid, self._port)
        now = time.monotonic()
        excuse = Excuse(reason, now, now + _AFTER_S, ports=held)
        self._ledger.excuses.append(excuse)
        if number is not None:
            os.kill(pid, number)
        return excuse

    async def kill_registry(self) -> None:
        pid = processes.registry(self._scene.node.pid)
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def pause_registry(self) -> None:
        pid = processes.registry(self._scene.node.pid)
        if pid is not None:
            await self._pause(pid, self._choose.uniform(0.5, 3))

    async def reload(self) -> None:
        """Every worker is replaced."""
        self._toggle += 1
        limits = self._settings["limits"]
        assert isinstance(limits, dict)
        self._scene.node.settings["limits"] = {**limits, "maxHeaders": 90 + self._toggle % 2}
        await self._save_bootstrap()
        self._scene.node.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]

    async def reload_broken(self) -> None:
        config = self._scene.node.config
        whole = config.read_text()
        beside = config.with_suffix(".new")
        with suppress(OSError):  # the disk may be full
            beside.write_text(self._choose.choice(("workers: none", whole[:100], "{", "")))
            beside.replace(config)
            self._scene.node.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
            await trio.sleep(1)
        await self._save_bootstrap()

    async def _save_bootstrap(self) -> None:
        with trio.move_on_after(10):
            while True:
                with suppress(OSError):
                    self._scene.node.save()
                    return
                await trio.sleep(0.2)

    # -- files -------------------------------------------------------------------------------------

    async def save_slowly(self) -> None:
        """Truncate, pause, write on: as editors that keep the inode do."""
        scene = self._scene
        half = self._choose.randrange(len(scene.file_text))
        with (scene.node.resources / "file.yaml").open("r+", buffering=1) as file:
            for text in (scene.file_text[:half], scene.file_text[half:]):
                if not file.tell():
                    file.truncate()
                    await trio.sleep(self._choose.choice((0.0, 0.1, 1.0)))
                await self._write(file.write, file.flush, text)
                await trio.sleep(self._choose.choice((0.0, 0.1, 1.0)))

    async def _write(
        self, write: Callable[[str], int], flush: Callable[[], None], text: str
    ) -> None:
        write(text)
        while True:
            with suppress(OSError):
                flush()
                return
            await trio.sleep(0.2)

    async def save_broken(self) -> None:
        path = self._scene.node.resources / "extra.yaml"
        for text in ("kind: [", "kind: Nothing\nspec: 1\n", "\x00\xff", ""):
            with suppress(OSError):
                path.write_text(text)
            await trio.sleep(0.2)
        path.unlink(missing_ok=True)

    async def fill_disk(self) -> None:
        """Nothing can be written for a while."""
        path = self._scene.disk / "fill"
        try:
            with path.open("wb", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 20))
            await trio.sleep(self._choose.uniform(0.5, 3))
        finally:
            path.unlink()

    async def unread_log(self) -> None:
        self._scene.node.log_is_read.clear()
        await trio.sleep(self._choose.uniform(1, 5))
        self._scene.node.log_is_read.set()

    async def move_clock(self) -> None:
        assert self._scene.clock is not None
        jump = self._choose.choice(("+30d", "-30d", "+1h", "-1h", "-2", "+0"))
        beside = self._scene.clock.with_suffix(".new")
        beside.write_text(f"{jump}\n")
        beside.replace(self._scene.clock)
        await trio.sleep(1.5)

    async def rotate_certificate(self) -> None:
        self._scene.rotate_certificate()

    # -- what stands around ------------------------------------------------------------------------

    async def restart_consul(self) -> None:
        """It comes back without anything; the service registers again later."""
        consul = self._scene.consul
        await trio.to_thread.run_sync(consul.kill)
        await trio.sleep(self._choose.uniform(0, 2))
        await trio.to_thread.run_sync(consul.start)
        await trio.sleep(self._choose.uniform(0, 3))
        await trio.to_thread.run_sync(self._register)

    def _register(self) -> None:
        def done() -> bool:
            with suppress(ConsulError, OSError):
                self._scene.register()
                return True
            return False

        eventually(done, 20)

    async def pause_consul(self) -> None:
        process = self._scene.consul._process
        if process is not None:
            await self._pause(process.pid, self._choose.uniform(0.5, 3))

    async def restart_origin(self) -> None:
        """Its clients may get 503, or what it had begun to say."""
        excuse = Excuse(
            "its origin was restarted", time.monotonic(), 1e18, hosts=frozenset({SHAKY})
        )
        self._ledger.excuses.append(excuse)
        self._scene.shaky.kill()
        await trio.sleep(self._choose.uniform(0, 1))
        self._scene.shaky.start()
        await trio.to_thread.run_sync(self._until_shaky_listens)
        excuse.ended = time.monotonic() + 0.5

    def _until_shaky_listens(self) -> None:
        import socket

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self._scene.shaky.plain)) == 0

        eventually(listens, 30)

    async def pause_origin(self) -> None:
        process = self._scene.origin.process
        assert process is not None
        await self._pause(process.pid, self._choose.uniform(0.1, 1.5))

    # -- parts -------------------------------------------------------------------------------------

    def _worker(self) -> int | None:
        found = sorted(processes.workers(self._scene.node.pid))
        return self._choose.choice(found) if found else None

    async def _pause(self, pid: int, seconds: float) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await trio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)
