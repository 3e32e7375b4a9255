"""This machine's services in etcd, alive by leases: the entry point `etcd` of `egressd.registrars`."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping

import structlog
import trio

from adapters.etcd.checks import passes
from adapters.etcd.client import EtcdClient, EtcdError, Refused, Unreachable
from adapters.etcd.options import Options, Target, read_options
from adapters.etcd.registering import Written, written
from adapters.etcd.rpc import Member
from adapters.etcd.wire import RpcFailed
from egressd.api.secret import Secret
from egressd.registry.adapter_options import declares_options
from egressd.registry.registrar import Registrar, Registration, RegistrationError

LEASE_TTL_S = 30.0  # of a service that names no time itself
RENEWALS = 3  # of a lease within its time
ADDRESS_S = 10.0  # to find out this machine's address

log = structlog.get_logger("egressd.registrar")


@declares_options(Options)
def make_registrar(options: Mapping[str, object]) -> Registrar:
    """A registrar from the options of an `etcd` adapter. Raises `AdapterConfigError`."""
    read = read_options("etcd", options, Options)
    return EtcdRegistrar(EtcdClient("etcd", read), read)


class EtcdRegistrar:
    """One cluster to be entered in. Every service has a lease of its own."""

    def __init__(self, client: EtcdClient, options: Options) -> None:
        self._client = client
        self._options = options
        self._leases: dict[str, int] = {}  # by key

    async def keep(self, services: tuple[Registration, ...]) -> None:
        """Register and renew until cancelled; what is not renewed goes with its lease. A service
        whose check fails is taken out until it passes."""
        refused: list[RegistrationError] = []

        async def kept(service: Registration) -> None:
            try:
                await self._keep(service)
            except RegistrationError as error:
                refused.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for service in services:
                nursery.start_soon(kept, service)
        for error in refused:
            raise error

    async def register(self, services: tuple[Registration, ...]) -> None:
        """Write all once: without a lease, as nobody renews it, unless a check by time asks for it."""
        for service in services:
            place = await self._place(service)
            ttl_s = service.check.ttl_s if service.check else 0.0

            async def ask(
                member: Member, token: Secret, at: Written = place, s: float = ttl_s
            ) -> None:
                await _enter(member, token, at, await _granted(member, token, s) if s else 0)

            try:
                await self._client.call(ask)
            except EtcdError as error:
                raise _failure("register", service, error) from error

    async def deregister(self, services: tuple[Registration, ...]) -> None:
        """Delete the keys, and revoke the leases that this object has."""
        for service in services:
            try:
                await self._withdraw(await self._place(service))
            except EtcdError as error:
                raise _failure("deregister", service, error) from error

    async def _enter_once(self, service: Registration) -> None:
        place = await self._place(service)
        ttl_s = service.check.ttl_s if service.check else 0.0

        async def ask(member: Member, token: Secret) -> None:
            await _enter(member, token, place, await _granted(member, token, ttl_s) if ttl_s else 0)

        await self._client.call(ask)

    async def _keep(self, service: Registration) -> None:
        """The life of one service: checked, renewed, taken out."""
        check = service.check
        ttl_s = (check.ttl_s if check else 0.0) or LEASE_TTL_S
        pause_s = ttl_s / RENEWALS
        if check is not None and not check.ttl_s:
            pause_s = min(pause_s, check.interval_s)
        named = {"service": service.name, "id": service.id}
        said, failures = "", 0
        while True:
            lives = check is None or await passes(check)
            try:
                place = await self._place(service)
                if lives:
                    await self._renew(place, ttl_s)
                else:
                    await self._withdraw(place)
            except Refused as error:
                raise _failure("register", service, error) from error
            except EtcdError as error:
                if said != "unreachable":
                    log.warning("cannot be registered", **named, reason=str(error))
                said = "unreachable"
                await self._client.pause(failures)
                failures += 1
                continue
            failures, before = 0, said
            said = "registered" if lives else "withdrawn, as its check fails"
            if said != before:
                log.info(said, **named, key=place.key)
            await trio.sleep(pause_s)

    async def _renew(self, place: Written, ttl_s: float) -> None:
        """Renew the lease; where it has ended, or somebody changed the key, begin again."""

        async def ask(member: Member, token: Secret) -> None:
            lease = self._leases.get(place.key, 0)
            if lease and await member.keep_alive(token, lease):
                found = await member.range(token, place.key.encode(), b"")
                if found.keys and found.keys[0].value == place.value:
                    return
            else:
                lease = await _granted(member, token, ttl_s)
            try:
                await _enter(member, token, place, lease)
            except RpcFailed as error:
                if error.code == "NOT_FOUND":  # the lease ended meanwhile
                    raise RpcFailed("ABORTED", error.details) from error
                raise
            self._leases[place.key] = lease

        await self._client.call(ask)

    async def _withdraw(self, place: Written) -> None:
        lease = self._leases.pop(place.key, 0)

        async def ask(member: Member, token: Secret) -> None:
            await member.transact(token, (), ((place.key, None),))
            if lease and await member.keep_alive(token, lease):
                await member.revoke(token, lease)

        await self._client.call(ask)

    async def _place(self, service: Registration) -> Written:
        """Raises `RegistrationError`, `Unreachable` without an own address."""
        address = service.address
        if not address:
            target = self._client.target
            try:
                with trio.fail_after(ADDRESS_S):
                    address = await trio.to_thread.run_sync(
                        _own_address, target, abandon_on_cancel=True
                    )
            except (OSError, trio.TooSlowError) as error:
                reason = str(error) or f"its name is not found within {ADDRESS_S:g} s"
                raise Unreachable(f"no way to {target.url}: {reason}") from error
        return written(service, address, self._options)


async def _granted(member: Member, token: Secret, ttl_s: float) -> int:
    return await member.grant(token, max(1, math.ceil(ttl_s)))


async def _enter(member: Member, token: Secret, place: Written, lease: int) -> None:
    if place.shared is not None:
        key, _ = place.shared
        await member.transact(token, ((key, 0),), (place.shared,))
    await member.put(token, place.key, place.value, lease)


def _own_address(target: Target) -> str:
    """This machine's address as the member sees it; nothing is sent."""
    family, kind, _, _, address = socket.getaddrinfo(
        target.host, target.port, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


def _failure(what: str, service: Registration, error: EtcdError) -> RegistrationError:
    return RegistrationError(f"{what} {service.name} ({service.id}): {error}")
