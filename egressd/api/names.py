"""The grammars of names: DNS labels, hosts, ports, addresses, labels, headers, protocols.

`..._fault` functions answer what is expected instead, or "" when the value is fine.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final

import re2

_LABEL_RE: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_HOST_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_QUALIFIED: Final = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]")
_BYTE: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4: Final = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}")  # ten times as fast as ipaddress
_HEADER: Final = re.compile(r"[-_A-Za-z0-9]+")
_MATCH_HEADER: Final = re.compile(r":?[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_ZONE: Final = re.compile(r"[A-Za-z0-9._-]{1,15}")

CLUSTER_DOMAIN: Final = ".svc.cluster.local"
HTTP_PROTOCOLS: Final = frozenset(("HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB"))
TLS_PROTOCOLS: Final = frozenset(("HTTPS", "TLS"))
OTHER_PROTOCOLS: Final = frozenset(
    ("TCP", "UDP", "MONGO", "REDIS", "MYSQL", "HBONE", "DOUBLE-HBONE")
)
PROTOCOLS: Final = HTTP_PROTOCOLS | TLS_PROTOCOLS | OTHER_PROTOCOLS
A_PROTOCOL: Final = "one of HTTP, HTTPS, HTTP2, GRPC, GRPC-WEB, TLS, TCP, MONGO, REDIS, MYSQL, UDP"
A_HOST: Final = "a DNS name, its labels of letters, digits and '-', at most 63 characters each"
A_WILDCARD_HOST: Final = f"{A_HOST}; a wildcard only as the whole first label (*.example.com)"
A_PORT: Final = "a port from 1 to 65535"


def is_label(text: str) -> bool:
    """A DNS-1123 label as Kubernetes names things: lower case, at most 63 characters."""
    return _LABEL_RE.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """A DNS-1123 subdomain as Kubernetes names things: lower case labels, at most 253."""
    return len(text) <= 253 and all(is_label(part) for part in text.split("."))


def is_host_label(text: str) -> bool:
    """A DNS label of either case (Istio `labels.IsDNS1123Label`)."""
    return _HOST_LABEL.fullmatch(text) is not None


def is_fqdn(text: str) -> bool:
    """A DNS name that is no address (Istio `ValidateFQDN`); one trailing dot is allowed."""
    return 0 < len(text) <= 255 and _are_host_labels(text)


def is_host(text: str) -> bool:
    """A DNS name whose whole first label may be `*` (Istio `ValidateWildcardDomain`).

    Istio also lets `*foo.com` and `*-foo.com` pass in places, which never match a request here.
    """
    if not 0 < len(text) <= 255:
        return False
    first, dot, rest = text.partition(".")
    if first != "*" and not is_host_label(first):
        return False
    if not rest:
        return first != "*" or not dot
    return _are_host_labels(rest)


def _are_host_labels(text: str) -> bool:
    labels = text.split(".")
    if re.fullmatch(r"[-+]?[0-9]+", labels[-1]):
        return False
    if labels[-1] == "":
        labels.pop()
    return all(is_host_label(label) for label in labels)


def is_ip(text: str) -> bool:
    """An IPv4 or IPv6 address; a link-local one may name its network interface (`fe80::1%eth0`)."""
    if _IPV4.fullmatch(text):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    _, percent, zone = text.partition("%")
    return not percent or _ZONE.fullmatch(zone) is not None


def is_ip_or_cidr(text: str) -> bool:
    """An address or a block in CIDR notation (Istio `ValidateIPSubnet`); host bits may be set."""
    if "/" not in text:
        return is_ip(text)
    if not re.fullmatch(r"[^/%]+/[0-9]+", text):
        return False
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def is_port(number: int) -> bool:
    """A TCP port."""
    return 1 <= number <= 65535


UNIX: Final = "unix://"
"""In front of the path of a Unix socket, where an address may stand."""


def is_unix_path(path: str) -> bool:
    """The path of `unix://`: absolute and no directory, or abstract (`@name`)."""
    return path.startswith("@") or (path.startswith("/") and not path.endswith("/"))


def is_protocol(text: str) -> bool:
    """A protocol that Istio knows, in any case (`protocol.Parse`)."""
    return text.upper() in PROTOCOLS


def is_http(protocol: str) -> bool:
    """A protocol that carries HTTP requests in plain text."""
    return protocol.upper() in HTTP_PROTOCOLS


def is_tls(protocol: str) -> bool:
    """A protocol that starts with a TLS handshake."""
    return protocol.upper() in TLS_PROTOCOLS


def qualified_host(host: str, namespace: str) -> str:
    """A host in full (Istio `ResolveShortnameToFQDN`): without a dot it is short for that service in
    the namespace of the resource that names it."""
    return host if "." in host or host == "*" else f"{host}.{namespace}{CLUSTER_DOMAIN}"


def qualified_gateway(name: str, namespace: str) -> str:
    """A gateway's name as "namespace/name" or "mesh" (Istio `resolveGatewayName`); `./name` is of the
    resource's own namespace, `name.namespace[.svc...]` the old form."""
    if name == "mesh":
        return name
    owner, slash, rest = name.partition("/")
    if slash:
        return f"{namespace}/{rest}" if owner == "." else name
    short, dot, rest = name.partition(".")
    return f"{rest.partition('.')[0]}/{short}" if dot else f"{namespace}/{name}"


def rewrite_fault(template: str, groups: int) -> str:
    """What a RE2 rewrite must be (`RE2::CheckRewriteString`): `\\0` to `\\9` name groups that the
    pattern has, a backslash is written twice."""
    for escape in re.findall(r"\\(.?)", template, re.DOTALL):
        if escape != "\\" and not (escape.isascii() and escape.isdigit()):
            return "\\\\ for a backslash and \\0 to \\9 for groups, no other escapes"
        if escape.isdigit() and int(escape) > groups:
            return f"groups of the pattern, which has {groups}"
    return ""


def hosts_overlap(one: str, other: str) -> bool:
    """True when some name belongs to both (Istio `host.Name.Matches`); case does not count."""
    one, other = one.lower(), other.lower()
    if one.startswith("*") and other.startswith("*"):
        return one[1:].endswith(other[1:]) or other[1:].endswith(one[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    if other.startswith("*"):
        return one.endswith(other[1:])
    return one == other


def host_is_subset(inner: str, outer: str) -> bool:
    """True when every name of `inner` belongs to `outer` (Istio `host.Name.SubsetOf`)."""
    inner, outer = inner.lower(), outer.lower()
    if outer.startswith("*"):
        return inner.removeprefix("*").endswith(outer[1:])
    return inner == outer


@functools.lru_cache(maxsize=4096)
def label_fault(key: str, value: str) -> str:
    """What a label's key and value must be (Kubernetes; Istio `labels.Instance.Validate`)."""
    if fault := annotation_key_fault(key):
        return fault
    if value and not (len(value) <= 63 and _QUALIFIED.fullmatch(value)):
        return "a label value: at most 63 letters, digits, '-', '_' or '.', ends alphanumeric"
    return ""


def annotation_key_fault(key: str) -> str:
    """What the key of a label or annotation must be: `name` or `prefix/name`."""
    prefix, slash, name = key.rpartition("/")
    if not _QUALIFIED.fullmatch(name) or (slash and not is_subdomain(prefix.lower())):
        return "a key of at most 63 letters, digits, '-', '_' or '.', after an optional prefix/"
    return ""


def is_authority(name: str) -> bool:
    """True for the header that names the host of a request."""
    return name.lower() in (":authority", "host")


_FRAMING: Final = frozenset({
    "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade",
})  # fmt: skip


def frames_message(name: str) -> bool:
    """True for a header that says where a message ends or how its connection goes on (RFC 9110 7.6.1,
    RFC 9112 6): these are the proxy's own."""
    return name.lower() in _FRAMING


def is_match_header(text: str) -> bool:
    """A header or pseudo header as Istio takes them in matches (`ValidateHTTPHeaderName`)."""
    return _MATCH_HEADER.fullmatch(text) is not None


def is_header_name(text: str) -> bool:
    """A header name as Istio takes them in CORS policies (`ValidateStrictHTTPHeaderName`)."""
    return _HEADER.fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def regex_fault(pattern: str) -> str:
    """What a regular expression must be; the error is RE2's own.

    Istio bounds the length at 1024 bytes (`validateStringRegexp`).
    """
    if not pattern:
        return "a regular expression, not an empty string"
    if len(pattern.encode()) > 1024:
        return "a regular expression of at most 1024 bytes"
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "not understood"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        return f"RE2 syntax ({text})"
    return ""
