"""VirtualServices and requests drawn at random from the whole of `VirtualService.http`: the differential
test's answer to what nobody thought of. The same seed gives the same ones."""

from __future__ import annotations

import json
import random
from typing import Any

from integration.envoy.cases import Case

Json = dict[str, Any]
_SEGMENTS = ("", "a", "A", "ab", "b", "a/b", "a/", "a//b", "1", "22/x", "%61", "a;p=1", "a.b")
_REGEXES = ("/a.*", "/[0-9]+", "/[0-9]+/x", "/(a|b)", "/a/?b?", ".*b", "/[^/]*")
_VALUES = ("", "a", "ab", "b", "A", "a,b", "1", "x y")
_NAMES = ("x-one", "X-Two", "x-three")
_PARAMS = ("p", "q", "P")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_CONDITIONS = (
    "5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "refused-stream",
    "retriable-status-codes", "503", "404", "envoy-ratelimited", "cancelled", "deadline-exceeded",
    "internal", "resource-exhausted", "unavailable", "reset-before-request",
)  # fmt: skip
_SET = (
    "s", "", "100%%", "a=%REQ(x-one)%", "%REQ(x-none?x-two):2%", "%REQ(:method)% %PROTOCOL%",
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%REQ(x-none)%",
)  # fmt: skip
HOSTS = 24


def services(seed: int) -> list[Json]:
    """`HOSTS` VirtualServices, hosts gN.test, each with up to six routes to the services of `cases`."""
    return [_virtual_service(random.Random(seed * 1000 + n), n) for n in range(HOSTS)]


def documents(seed: int) -> str:
    """The VirtualServices as text."""
    return "".join(f"---\n{json.dumps(document)}\n" for document in services(seed))


def requests(seed: int, count: int) -> list[Case]:
    """Requests to them, made of the same pieces so that many match."""
    rng = random.Random(seed)
    return list(dict.fromkeys(_request(rng) for _ in range(count)))


def _some(rng: random.Random, chance: float) -> bool:
    return rng.random() < chance


def _path(rng: random.Random) -> str:
    return "/" + rng.choice(_SEGMENTS)


def _pattern(rng: random.Random) -> str:
    """A path of a resource. Escapes are read there as they are in requests (docs/differences.md)."""
    return _path(rng).replace("%61", "c")


def _request(rng: random.Random) -> Case:
    path = _path(rng)
    if _some(rng, 0.3):
        path += rng.choice(("/x", "b", "/", "/b", "%2F"))
    if _some(rng, 0.4):
        pairs = [
            rng.choice(_PARAMS) + rng.choice(("", "=", "=" + rng.choice(_VALUES).replace(" ", "+")))
            for _ in range(rng.randint(1, 3))
        ]
        path += "?" + "&".join(pairs)
    headers = [
        (rng.choice(_NAMES), rng.choice(_VALUES)) for _ in range(rng.choice((0, 0, 1, 2, 3)))
    ]
    if _some(rng, 0.25):
        headers.append(("x-want-status", rng.choice(("503", "500", "404", "409", "502", "429"))))
    if _some(rng, 0.1):
        headers.append(("x-want-grpc", rng.choice(("1", "4", "8", "13", "14", "5"))))
    if _some(rng, 0.05):
        headers.append(("x-want-ratelimited", "1"))
    if _some(rng, 0.15):
        headers.append(("origin", rng.choice(("https://a.test", "https://b.test", "null"))))
        if _some(rng, 0.6):
            headers.append(("access-control-request-method", rng.choice(("PUT", "GET"))))
    host = f"g{rng.randrange(HOSTS)}.test"
    if _some(rng, 0.1):
        host = rng.choice((host.upper(), f"{host}:80", f"{host}:8080", f"x.{host}"))
    return Case(rng.choice(_METHODS), host, path, tuple(headers))


# -- resources --------------------------------------------------------------------------------------


def _virtual_service(rng: random.Random, number: int) -> Json:
    routes = [_route(rng) for _ in range(rng.randint(1, 6))]
    if _some(rng, 0.5):
        routes.append(_action(rng))
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": f"g{number}"},
        "spec": {"hosts": [f"g{number}.test"], "http": routes},
    }


def _route(rng: random.Random) -> Json:
    return {"match": [_match(rng) for _ in range(rng.choice((1, 1, 1, 2)))], **_action(rng)}


def _string(rng: random.Random, regexes: tuple[str, ...], value: str) -> Json:
    kind = rng.choice(("exact", "prefix", "regex", "present"))
    if kind == "present":
        return {}
    if kind == "regex":
        return {"regex": rng.choice(regexes)}
    return {kind: value or "a"}


def _uri(rng: random.Random) -> Json:
    kind = rng.choice(("exact", "prefix", "prefix", "regex"))
    return {kind: rng.choice(_REGEXES) if kind == "regex" else _pattern(rng)}


def _match(rng: random.Random) -> Json:
    made: Json = {}
    values = ("a+", "[ab]*", ".*b", "1|2")
    if _some(rng, 0.7):
        made["uri"] = _uri(rng)
        if _some(rng, 0.3):
            made["ignoreUriCase"] = True
    if _some(rng, 0.2):
        made["method"] = {"exact": rng.choice(_METHODS)}
    if _some(rng, 0.1):
        made["authority"] = rng.choice(({"prefix": "g1"}, {"regex": ".*[.]test"}))
    if _some(rng, 0.1):
        made["scheme"] = {"exact": rng.choice(("http", "https"))}
    if _some(rng, 0.3):
        made["headers"] = {rng.choice(_NAMES).lower(): _string(rng, values, rng.choice(_VALUES))}
    if _some(rng, 0.2):
        made["withoutHeaders"] = {
            rng.choice(_NAMES).lower(): _string(rng, values, rng.choice(_VALUES))
        }
    if _some(rng, 0.2):
        made["queryParams"] = {rng.choice(_PARAMS): _string(rng, values, rng.choice(_VALUES))}
    return made


def _action(rng: random.Random) -> Json:
    made = rng.choice((_to, _to, _to, _redirect, _direct))(rng)
    if _some(rng, 0.4):
        made["headers"] = _ops(rng, "r")
    if _some(rng, 0.15):
        made["corsPolicy"] = _cors(rng)
    return made


def _ops(rng: random.Random, level: str) -> Json:
    """Names are the level's own but for those that are set, and removed ones are not set (both are in
    docs/differences.md)."""
    return {
        side: {
            "set": {f"x-set-{level}": rng.choice(_SET)} if _some(rng, 0.6) else {},
            "add": {f"x-add-{level}": "1", rng.choice(_NAMES).lower(): "added"},
            "remove": [rng.choice(("x-from-origin", "x-gone"))] if _some(rng, 0.4) else [],
        }
        for side in ("request", "response")
        if _some(rng, 0.7)
    }


def _to(rng: random.Random) -> Json:
    targets = [
        {"host": "one.test", "subset": "v1"}, {"host": "one.test", "subset": "v2"},
        {"host": "two.test"}, {"host": "three.test"}, {"host": "dead.test"},
    ]  # fmt: skip
    route: list[Json] = [{"destination": rng.choice(targets)}]
    if _some(rng, 0.4):
        route[0]["headers"] = _ops(rng, "d")
    if _some(rng, 0.3):
        route[0]["weight"] = 100
        route.insert(rng.randint(0, 1), {"destination": rng.choice(targets), "weight": 0})
    made: Json = {"route": route}
    if _some(rng, 0.4):
        made["rewrite"] = rng.choice(
            (
                {"uri": rng.choice(("/", "/new", "/new/"))},
                {"authority": "other.test"},
                {"uri": "/n", "authority": "other.test"},
                {"uriRegexRewrite": {"match": "^/([^/]*)/(.*)$", "rewrite": "/\\2/\\1"}},
                {"uriRegexRewrite": {"match": "a", "rewrite": "z"}},
            )
        )
    if _some(rng, 0.3):
        conditions = rng.sample(_CONDITIONS, rng.randint(1, 3))
        made["retries"] = {
            "attempts": rng.randint(1, 2), "retryOn": ",".join(conditions), "backoff": "1ms",
        }  # fmt: skip
    if _some(rng, 0.15):
        percent = rng.choice((0, 100))
        made["fault"] = {"abort": {"httpStatus": 555, "percentage": {"value": percent}}}
    return made


def _redirect(rng: random.Random) -> Json:
    redirect: Json = {}
    if _some(rng, 0.3):
        redirect["port"] = rng.choice((8080, 8443))
    if _some(rng, 0.5):
        redirect["authority"] = "n.test" if redirect else rng.choice(("n.test", "n.test:8080"))
    if _some(rng, 0.5):
        redirect["scheme"] = rng.choice(("http", "https"))
    if _some(rng, 0.6):
        redirect["uri"] = rng.choice(("/new", "/new?q=1", "/"))
    if not redirect or ("uri" not in redirect and _some(rng, 0.5)):
        redirect["prefixRewrite"] = "/p"
    if _some(rng, 0.5):
        redirect["redirectCode"] = rng.choice((301, 302, 303, 307, 308))
    return {"redirect": redirect}


def _direct(rng: random.Random) -> Json:
    status = rng.choice((200, 204, 404, 503, 418))
    body = {} if status == 204 or _some(rng, 0.3) else {"body": {"string": "text"}}
    return {"directResponse": {"status": status, **body}}


def _cors(rng: random.Random) -> Json:
    made: Json = {"allowOrigins": [rng.choice(({"exact": "https://a.test"}, {"regex": ".*"}))]}
    if _some(rng, 0.5):
        made |= {"allowMethods": ["GET", "PUT"], "allowHeaders": ["x-a"], "maxAge": "1m"}
    if _some(rng, 0.5):
        made |= {"allowCredentials": True, "exposeHeaders": ["x-b"]}
    if _some(rng, 0.3):
        made["unmatchedPreflights"] = "IGNORE"
    return made
