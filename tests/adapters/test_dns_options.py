"""Options of the DNS adapter: what is read, and what is said of mistakes."""

from __future__ import annotations

import pytest

from adapters.dns.options import Name, read_options
from egressd.dns.held import Bounds
from egressd.registry.adapter import AdapterConfigError


def test_everything_has_a_default_but_the_host() -> None:
    options, names = read_options("d", {"names": [{"host": "api.internal"}]})
    assert names == (Name(host="api.internal"),)
    assert (names[0].question, names[0].port, names[0].type) == ("api.internal", 80, "A")
    assert options.bounds == Bounds(1.0, 300.0, 86400.0, 300.0)


def test_a_query_may_name_a_service() -> None:
    name = {"host": "api.internal", "type": "SRV", "query": "_http._tcp.api.internal"}
    assert read_options("d", {"names": [name]})[1][0].question == "_http._tcp.api.internal"


API = {"host": "api.internal"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "options.names: found nothing, expected a list of names"),
        ({"names": []}, "options.names: found [], expected at least one name"),
        ({"names": [{}]}, "options.names[0].host: found nothing, expected a DNS name"),
        (
            {"names": [API, API]},
            "options.names[1].host: found 'api.internal', expected a host that",
        ),
        ({"names": [{"host": "a b"}]}, "options.names[0].host: found 'a b', expected a DNS name"),
        (
            {"names": [{"host": "API.x"}]},
            "options.names[0].host: found 'API.x', expected a name in",
        ),
        ({"names": [{**API, "query": "_x"}, {**API, "query": "a..b"}]}, "options.names[1].query"),
        ({"names": [{**API, "port": 0}]}, "options.names[0].port: found 0, expected a port from 1"),
        ({"names": [{**API, "prot": 1}]}, "options.names[0].prot: found an unknown option"),
        (
            {"names": [{**API, "type": "MX"}]},
            "options.names[0].type: found 'MX', expected one of A,",
        ),
        ({"names": [{**API, "protocol": "FTP"}]}, "options.names[0].protocol: found 'FTP'"),
        (
            {"names": [{**API, "type": "SRV", "targetPort": 8080}]},
            "options.names[0].targetPort: found 8080, expected none: SRV records say it",
        ),
        (
            {"names": [API], "nameservers": ["ns.x"]},
            "options.nameservers[0]: found 'ns.x', expected",
        ),
        (
            {"names": [API], "minTtl": "1h"},
            "options.minTtl: found '1h', expected at most maxTtl (5m)",
        ),
        ({"names": [API], "staleFor": 1}, "options.staleFor: found 1, expected a duration such as"),
        (
            {"names": [API], "ttl": 1},
            "options.ttl: found an unknown option, expected one of names,",
        ),
    ],
)
def test_a_mistake_is_told_by_option(options: dict[str, object], said: str) -> None:
    with pytest.raises(AdapterConfigError) as refused:
        read_options("d", options)
    assert str(refused.value).startswith(f"adapter d: {said}")
