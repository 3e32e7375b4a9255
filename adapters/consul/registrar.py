"""This machine's services in Consul: the entry point `consul` of `egressd.registrars`.

The agent is asked again and again whether it still knows each service: one that was restarted with lost
state does not. Checks by HTTP and TCP are the agent's own; one by time (`ttl`) is passed from here.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from urllib.parse import quote

import msgspec
import structlog
import trio

from adapters.backoff import backoff_s
from adapters.consul.asking import Agent, Refusal
from adapters.consul.options import Options, read_options
from adapters.http import HttpError
from adapters.options import seconds
from egressd.registry.adapter_options import declares_options
from egressd.registry.registrar import HealthCheck, Registrar, Registration, RegistrationError

LOOK_S = 2.0  # between two questions whether a service is still registered
_RENEWALS = 3  # of a check by time within its time
_HOPELESS = frozenset({400, 403})  # a wrong field, a token without the right: waiting mends neither

log = structlog.get_logger("egressd.registrar")


@declares_options(Options)
def make_registrar(options: Mapping[str, object]) -> Registrar:
    """A registrar from the options of a `consul` adapter. Raises `AdapterConfigError`."""
    read, endpoint = read_options("consul", options, os.environ)
    return ConsulRegistrar(Agent(endpoint, read), read)


def definition(service: Registration) -> dict[str, object]:
    """The body of `/v1/agent/service/register`. Pure."""
    found: dict[str, object] = {
        "ID": service.id,
        "Name": service.name,
        "Port": service.port,
        "Tags": list(service.tags),
        "Meta": dict(service.meta),
        "Weights": {"Passing": service.weight, "Warning": 1},
    }
    if service.address:
        found["Address"] = service.address
    if service.check is not None:
        found["Check"] = _check(service, service.check)
    return found


def _check(service: Registration, check: HealthCheck) -> dict[str, object]:
    found: dict[str, object] = {"CheckID": check_id(service), "Name": f"{service.name} lives"}
    if check.ttl_s:
        found["TTL"] = _duration(check.ttl_s)
    else:
        found |= {"HTTP": check.http.reveal()} if check.http else {"TCP": check.tcp}
        found |= {"Interval": _duration(check.interval_s), "Timeout": _duration(check.timeout_s)}
    if check.deregister_after_s:
        found["DeregisterCriticalServiceAfter"] = _duration(check.deregister_after_s)
    return found


def check_id(service: Registration) -> str:
    """The service's check at the agent."""
    return f"service:{service.id}"


def _duration(seconds_: float) -> str:
    return f"{round(seconds_ * 1000)}ms"


class ConsulRegistrar:
    """One agent to be entered at."""

    def __init__(self, agent: Agent, options: Options) -> None:
        self._agent = agent
        self._max_backoff_s = seconds(options.max_backoff)
        tenancy = (("ns", options.consul_namespace), ("partition", options.partition))
        self._tenancy = {key: value for key, value in tenancy if value}

    async def keep(self, services: tuple[Registration, ...]) -> None:
        """Register, look after and pass checks until cancelled."""
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
        """Register all once; checks by time are passed once."""
        for service in services:
            try:
                await self._register(service)
                await self._pass(service)
            except HttpError as error:
                raise _failure("register", service, error) from error

    async def deregister(self, services: tuple[Registration, ...]) -> None:
        """Take all out of the agent. All are tried, also when one cannot be."""
        failures = []
        for service in services:
            path = f"/v1/agent/service/deregister/{quote(service.id, safe='')}"
            try:
                answer = await self._agent.ask("PUT", path, self._tenancy, allowed=(404, 500))
            except HttpError as error:
                failures.append(_failure("deregister", service, error))
                continue
            if answer.status == 500 and "Unknown service" not in answer.text:
                failures.append(_failure("deregister", service, HttpError(answer.text)))
        for failure in failures:
            raise failure

    async def _keep(self, service: Registration) -> None:
        named = {"service": service.name, "id": service.id}
        ttl_s = service.check.ttl_s if service.check else 0.0
        pause_s = min(LOOK_S, ttl_s / _RENEWALS) if ttl_s else LOOK_S
        # What an earlier run registered may differ: the first time it is written anew.
        is_mine = was_mine = False
        failures = 0
        while True:
            try:
                if not is_mine or not await self._is_known(service):
                    await self._register(service)
                    log.info("registered", **named, agent=self._agent.url)
                    is_mine = was_mine = True
                await self._pass(service)
            except Refusal as error:
                if (
                    error.status in _HOPELESS and not was_mine
                ):  # later it may be an agent that starts
                    raise _failure("register", service, error) from error
                is_mine = False
                failures = await self._pause(named, error, failures)
            except HttpError as error:
                failures = await self._pause(named, error, failures)
            else:
                failures = 0
                await trio.sleep(pause_s)

    async def _pause(self, named: Mapping[str, str], error: HttpError, failures: int) -> int:
        if not failures:
            log.warning("cannot be registered", **named, reason=str(error))
        await trio.sleep(backoff_s(failures, self._max_backoff_s, random.random()))
        return failures + 1

    async def _is_known(self, service: Registration) -> bool:
        path = f"/v1/agent/service/{quote(service.id, safe='')}"
        answer = await self._agent.ask("GET", path, self._tenancy, allowed=(404,))
        return answer.status == 200

    async def _register(self, service: Registration) -> None:
        query = {"replace-existing-checks": "true", **self._tenancy}
        body = msgspec.json.encode(definition(service))
        await self._agent.ask("PUT", "/v1/agent/service/register", query, body)

    async def _pass(self, service: Registration) -> None:
        if service.check is not None and service.check.ttl_s:
            path = f"/v1/agent/check/pass/{quote(check_id(service), safe='')}"
            await self._agent.ask("PUT", path, {"note": "egressd runs", **self._tenancy})


def _failure(what: str, service: Registration, error: HttpError) -> RegistrationError:
    return RegistrationError(f"{what} {service.name} ({service.id}): {error}")
