"""What is measured: each scenario is a wrk script (or a tunnel) and how its answers are checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from integration.bench.origin import BODY_SIZES, LARGE

HOSTS = 200
PATHS = 50
ROUTE_PATHS = 20
"""Paths asked for in the scenarios about many routes: one a route."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """With `bytes_per_request` the figure is CPU seconds per GiB, else microseconds a request."""

    name: str
    title: str
    connections: int
    bytes_per_request: int = 0
    tls: bool = False
    hosts: int = HOSTS
    routes: int = 1  # of each virtual host; with another number all of them lead to one service

    @property
    def is_common(self) -> bool:
        """Whether every proxy is set up for it."""
        return self.name != "connect" and self.routes == 1


SCENARIOS = (
    Scenario("small", "small GETs, 200 hosts, 50 paths", 64),
    Scenario("post", "POST bodies of 1 to 16 KiB", 64),
    Scenario("large", "1 MiB responses", 16, LARGE),
    Scenario("tls", "small GETs, TLS origination", 64, tls=True),
    Scenario("connect", "CONNECT tunnel", 1, LARGE),
    Scenario("vhost", "small GETs, 1 virtual host, 1 route", 64, hosts=1, routes=0),
    Scenario("vhosts", "small GETs, 2,000 virtual hosts of 20 routes", 64, hosts=2000, routes=20),
)

LARGE_SCENARIOS = {scenario.name for scenario in SCENARIOS if scenario.bytes_per_request}


def host_name(number: int) -> str:
    """One of the benchmark's virtual hosts."""
    return f"svc-{number}.bench.example"


_COMMON = """
local errors, checked, seen = 0, 0, 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function check(status, headers, body) return true end
function response(status, headers, body)
  seen = seen + 1
  if status ~= 200 then
    errors = errors + 1
  elseif seen % 50 == 0 then
    checked = checked + 1
    local echo = headers["x-echo"] or ""
    if not check(echo, body) then errors = errors + 1 end
  end
  wrong, verified = errors, checked
end
function done(summary, latency, requests)
  local wrong, verified = 0, 0
  for _, thread in ipairs(threads) do
    wrong = wrong + (thread:get("wrong") or 0)
    verified = verified + (thread:get("verified") or 0)
  end
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), wrong, verified,
    e.connect + e.read + e.write + e.timeout))
end
"""

_SMALL = """
local sizes = {{{sizes}}}
local agents = {{"curl/8.4.0", "python-requests/2.31", "okhttp/4.12.0", "Go-http-client/1.1"}}
local n = 0
local requests = {{}}
function init(args)
  math.randomseed(7)
  for i = 1, 20000 do
    local host = "svc-" .. math.random(0, {hosts} - 1) .. ".bench.example"
    local size = math.random(0, {kinds} - 1)
    local path = "/" .. size .. "/api/v1/items/" .. math.random(1, {paths})
    local headers = {{}}
    headers["Host"] = host
    headers["User-Agent"] = agents[math.random(1, 4)]
    headers["Accept"] = "application/json"
    headers["X-Tenant"] = "tenant-" .. math.random(1, 500)
    if i % 2 == 0 then
      headers["Authorization"] = "Bearer " .. string.rep("t", math.random(20, 300))
    end
    if i % 3 == 0 then headers["Cookie"] = "session=" .. math.random(1, 1000000) .. "; theme=dark" end
    if i % 5 == 0 then headers["Accept-Encoding"] = "gzip, deflate" end
    requests[i] = wrk.format("GET", path, headers)
  end
end
function request() n = n % 20000 + 1 return requests[n] end
function check(echo, body)
  local host, size = echo:match("^(svc%-%d+%.bench%.example) /(%d+)/api/v1/items/%d+$")
  return host ~= nil and #body == sizes[tonumber(size) + 1]
end
"""

_POST = """
local n = 0
local requests = {{}}
function init(args)
  math.randomseed(7)
  for i = 1, 200 do
    local headers = {{}}
    headers["Host"] = "svc-" .. math.random(0, {hosts} - 1) .. ".bench.example"
    headers["Content-Type"] = "application/json"
    requests[i] = wrk.format("POST", "/post", headers, string.rep("b", math.random(1024, 16384)))
  end
end
function request() n = n % 200 + 1 return requests[n] end
function check(echo, body) return body == "posted" and echo:match("/post$") ~= nil end
"""

_LARGE = """
function request()
  local headers = {{}}
  headers["Host"] = "svc-1.bench.example"
  return wrk.format("GET", "/large", headers)
end
function check(echo, body) return #body == {large} end
"""


def write_script(scenario: Scenario, directory: Path) -> Path:
    """The wrk script of a scenario."""
    body = {"post": _POST, "large": _LARGE}.get(scenario.name, _SMALL)
    to_one = scenario.routes != 1
    text = body.format(
        sizes=",".join(str(size) for size in BODY_SIZES),
        kinds=1 if to_one else len(BODY_SIZES),
        hosts=scenario.hosts,
        paths=ROUTE_PATHS if to_one else PATHS,
        large=LARGE,
    )
    path = directory / f"{scenario.name}.lua"
    path.write_text(_COMMON + text)
    return path
