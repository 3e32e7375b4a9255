"""One rule of an AuthorizationPolicy as tests of a request's facts. Pure.

Source: Istio `AuthorizationPolicy.rules` and what istiod makes of them for Envoy's RBAC filters. On
plain connections HTTP attributes are unknown: an ALLOW rule that needs one never matches, a rule of any
other action leaves it out, so that it denies more rather than less.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import re2

from egressd.api.authorization_policy import Action, Condition, Operation, Rule, Source
from egressd.api.rules.authorization_policy import is_template
from egressd.routing.authority import configured_authority
from egressd.routing.path import configured_path
from egressd.routing.request import BETWEEN_VALUES

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_SPIFFE = "spiffe://"


@dataclass(slots=True)
class Facts:
    """What is known of a request, or of a connection that carries none (`method` "").

    `source` and `destination` are None where not known; `port` is the one that the client addresses.
    """

    source: Address | None = None
    principals: tuple[
        str, ...
    ] = ()  # of the client's certificate: URI names, else DNS, else subject
    destination: Address | None = None
    port: int = 0
    sni: str = ""
    method: str = ""
    authority: str = ""  # `Authority.text`: with the port as far as one was sent
    host: str = ""  # the same without port
    path: str = ""  # without query; normalized, in the form that is compared
    query: str = ""
    scheme: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)  # as in `Request`


_AUTHORITY = (b":authority", b"host")
_DENYING = (Action.DENY, Action.CUSTOM)

Test = Callable[[Facts], bool]
Group = tuple[Test, ...]  # all of them
Worded = tuple[tuple[str, str, Test], ...]  # a group: (field, what it wants in words, test)


@dataclass(frozen=True, slots=True)
class RuleText:
    """The groups of a rule with their words, for explain."""

    sources: tuple[Worded, ...]
    operations: tuple[Worded, ...]
    when: Worded


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """`id` is Envoy's name of it. One group of each part must match, and all of `when`."""

    id: str
    sources: tuple[Group, ...]
    operations: tuple[Group, ...]
    when: Group
    text: RuleText

    def matches(self, facts: Facts) -> bool:
        return (
            all(test(facts) for test in self.when)
            and any(all(test(facts) for test in group) for group in self.operations)
            and any(all(test(facts) for test in group) for group in self.sources)
        )


class _HttpOnly(Exception):
    """The rule needs what plain connections do not have."""


def compile_rule(
    rule: Rule,
    id: str,
    namespace: str,
    action: Action,
    *,
    plain: bool,
    normalizes_paths: bool = True,
) -> CompiledRule | None:
    """The rule for requests, or for `plain` connections; None where it can match none of these."""
    build = _Builder(namespace, plain, action, normalizes_paths)
    try:
        text = RuleText(
            tuple(build.source(one.source or Source()) for one in rule.from_) or ((),),
            tuple(build.operation(one.operation or Operation()) for one in rule.to) or ((),),
            tuple(test for condition in rule.when for test in build.condition(condition)),
        )
    except _HttpOnly:
        return None
    sources = tuple(map(_tests, text.sources))
    return CompiledRule(id, sources, tuple(map(_tests, text.operations)), _tests(text.when), text)


def _tests(group: Worded) -> Group:
    return tuple(test for _, _, test in group)


class _Builder:
    def __init__(self, namespace: str, plain: bool, action: Action, normalizes_paths: bool) -> None:
        self._namespace = namespace
        self._plain = plain
        self._strict = action is Action.ALLOW
        # Whoever denies a host means it on every port; whoever allows one, as it is written.
        self._hosts = _host_on_any_port if action in _DENYING else _host
        self._other_hosts = _host_on_any_port if self._strict else _host
        self._path_text = configured_path if normalizes_paths else str.encode

    def source(self, source: Source) -> Worded:
        s, account = source, self._account
        return (
            *_both("principals", s.principals, s.not_principals, _principal),
            *self._http(
                "requestPrincipals", s.request_principals, s.not_request_principals, _never
            ),
            *_both("namespaces", s.namespaces, s.not_namespaces, _namespace),
            *_both("serviceAccounts", s.service_accounts, s.not_service_accounts, account),
            *_both("trustDomains", s.trust_domains, s.not_trust_domains, _trust_domain),
            *_both("remoteIpBlocks", s.remote_ip_blocks, s.not_remote_ip_blocks, _source_in),
            *_both("ipBlocks", s.ip_blocks, s.not_ip_blocks, _source_in),
        )

    def operation(self, operation: Operation) -> Worded:
        o = operation
        return (
            *self._http("hosts", o.hosts, o.not_hosts, self._hosts, self._other_hosts),
            *self._http("methods", o.methods, o.not_methods, _method),
            *self._http("paths", o.paths, o.not_paths, self._path),
            *_both("ports", o.ports, o.not_ports, _port),
        )

    def condition(self, condition: Condition) -> Worded:
        key, values, not_values = condition.key, condition.values, condition.not_values
        if key.startswith("request.headers["):
            name = key.removeprefix("request.headers[").removesuffix("]").lower().encode()
            if name in _AUTHORITY:
                return self._http(key, values, not_values, self._hosts, self._other_hosts)
            if name == b":path":
                return self._http(key, values, not_values, self._path_and_query)
            return self._http(key, values, not_values, lambda value: _header(name, value))
        if key.startswith("request."):
            return self._http(key, values, not_values, _never)
        return _both(key, values, not_values, _ATTRIBUTES.get(key, _never))

    def _http(
        self,
        field: str,
        values: tuple[str, ...],
        not_values: tuple[str, ...],
        make: Callable[[str], Test],
        make_other: Callable[[str], Test] | None = None,
    ) -> Worded:
        if not self._plain or not (values or not_values):
            return _both(field, values, not_values, make, make_other)
        if self._strict:
            raise _HttpOnly
        return ()

    def _path(self, value: str) -> Test:
        if not is_template(value):
            matches = _text(self._path_text(value).decode("latin-1"))
            return lambda facts: matches(facts.path)
        inner = {"{*}": "[^/]+", "{**}": ".*"}
        parts = (
            inner.get(part) or re.escape(self._path_text(part).decode("latin-1"))
            for part in re.split(r"(\{\*\*?\})", value)
        )
        pattern = re2.compile("".join(parts))
        return lambda facts: pattern.fullmatch(facts.path) is not None

    def _path_and_query(self, value: str) -> Test:
        path, mark, query = value.partition("?")
        matches = _text(self._path_text(path).decode("latin-1") + mark + query)
        return lambda facts: matches(_target(facts))

    def _account(self, value: str) -> Test:
        namespace, slash, account = value.rpartition("/")
        namespace = namespace if slash else self._namespace
        return _identity(f".+/ns/{re.escape(namespace)}/(.+/|)sa/{re.escape(account)}(/.+)?")


def _both(
    field: str,
    values: tuple[str, ...],
    not_values: tuple[str, ...],
    make: Callable[[str], Test],
    make_other: Callable[[str], Test] | None = None,
) -> Worded:
    """One of the values, and none of the others."""
    wanted = tuple(make(value) for value in values)
    unwanted = tuple((make_other or make)(value) for value in not_values)
    tests: list[tuple[str, str, Test]] = []
    if wanted:
        test = wanted[0] if len(wanted) == 1 else lambda f: any(test(f) for test in wanted)
        tests.append((field, _in_words(values), test))
    if unwanted:
        words = "none at all" if "*" in not_values else f"not {_in_words(not_values)}"
        tests.append((field, words, lambda f: not any(test(f) for test in unwanted)))
    return tuple(tests)


def _in_words(values: tuple[str, ...]) -> str:
    """Values for explain; `*` says little to those who do not write policies."""
    if "*" in values:
        return "any value"
    return values[0] if len(values) == 1 else f"one of {', '.join(values)}"


def _text(value: str) -> Callable[[str], bool]:
    """Istio's values: exact, `prefix*`, `*suffix`; `*` is anything that is not empty."""
    if value == "*":
        return bool
    if value.startswith("*"):
        suffix = value[1:]
        return lambda text: text.endswith(suffix)
    if value.endswith("*"):
        prefix = value[:-1]
        return lambda text: text.startswith(prefix)
    return lambda text: text == value


def _never(value: str) -> Test:
    """What nothing here has: claims of a JWT, metadata of Envoy's filters."""
    return lambda facts: False


def _principal(value: str) -> Test:
    """A SPIFFE identity without its scheme, as Istio spells it; other names as they are."""
    matches = _text(value)
    return lambda facts: any(matches(one.removeprefix(_SPIFFE)) for one in facts.principals)


def _namespace(value: str) -> Test:
    name = re.escape(value).replace(r"\*", ".*")
    return _identity(f".*/ns/{name}/.*")


def _trust_domain(value: str) -> Test:
    """The part of a SPIFFE identity before its path, in which `*` stops."""
    name = re.escape(value).replace(r"\*", "[^/]*")
    return _identity(f"{name}/.*")


def _identity(pattern: str) -> Test:
    """Any name of the certificate that is a SPIFFE identity of the pattern."""
    compiled = re2.compile(f"{_SPIFFE}{pattern}")
    return lambda facts: any(compiled.fullmatch(one) is not None for one in facts.principals)


def _source_in(value: str) -> Test:
    block = ipaddress.ip_network(value, strict=False)
    return lambda facts: facts.source is not None and facts.source in block


def _destination_in(value: str) -> Test:
    block = ipaddress.ip_network(value, strict=False)
    return lambda facts: facts.destination is not None and facts.destination in block


def _port(value: str) -> Test:
    number = int(value)
    return lambda facts: facts.port == number


def _sni(value: str) -> Test:
    matches = _text(configured_authority(value))
    return lambda facts: matches(facts.sni)


def _host(value: str) -> Test:
    """Istio: compared with the port, where the client sent one."""
    matches = _text(configured_authority(value))
    return lambda facts: matches(facts.authority)


def _host_on_any_port(value: str) -> Test:
    matches = _text(configured_authority(value))
    return lambda facts: matches(facts.authority) or matches(facts.host)


def _method(value: str) -> Test:
    matches = _text(value)
    return lambda facts: matches(facts.method)


def _header(name: bytes, value: str) -> Test:
    matches = _text(value)
    if (read := PSEUDO_HEADERS.get(name)) is not None:
        return lambda facts: matches(read(facts))
    if value == "*":
        return lambda facts: name in facts.headers
    between = BETWEEN_VALUES.decode()

    def test(facts: Facts) -> bool:
        sent = facts.headers.get(name)
        return sent is not None and any(map(matches, sent.decode("latin-1").split(between)))

    return test


def _target(facts: Facts) -> str:
    return f"{facts.path}?{facts.query}" if facts.query else facts.path


PSEUDO_HEADERS: Mapping[bytes, Callable[[Facts], str]] = {
    b":method": lambda facts: facts.method,
    b":authority": lambda facts: facts.authority,
    b"host": lambda facts: facts.authority,
    b":path": _target,
    b":scheme": lambda facts: facts.scheme,
}
"""What a request line says, by the names that Envoy has for it as headers."""

_ATTRIBUTES: Mapping[str, Callable[[str], Test]] = {
    "source.ip": _source_in,
    "remote.ip": _source_in,
    "source.namespace": _namespace,
    "source.principal": _principal,
    "destination.ip": _destination_in,
    "destination.port": _port,
    "connection.sni": _sni,
}
