"""The grammars of what goes on the wire from resources; `rules.grammar` holds every string to its own.

`Message.GRAMMAR` says the grammar of a field; every other string is plain, without control characters,
wherever it may come to stand (a head, a log line, a label).
`..._fault` functions answer what is expected instead, or "" when the value is fine.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from egressd.api.names import is_ip

_PCHAR: Final = r"[-A-Za-z0-9._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}"  # RFC 3986 3.3
_QUERY: Final = rf"(?:\?(?:{_PCHAR}|[/?])*+)?"
_is_request_path: Final = re.compile(rf"/(?:{_PCHAR}|/)*+{_QUERY}").fullmatch
_is_location_path: Final = re.compile(
    rf"/(?:{_PCHAR}|/)*+{_QUERY}(?:\#(?:{_PCHAR}|[/?])*+)?"
).fullmatch
_is_template: Final = re.compile(r"[!\"$-~]*+").fullmatch
_is_cookie_path: Final = re.compile(rf"/(?:(?!;)(?:{_PCHAR}|/))*+").fullmatch
_is_cookie_value: Final = re.compile(r"(?:[!-:<-~](?:[ -:<-~]*[!-:<-~])?)?").fullmatch
_is_token: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_is_name: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*").fullmatch
_is_number: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*").fullmatch
_PORT: Final = re.compile(r":([0-9]{1,5})\Z")
# Controls of ASCII and of Latin-1, and halves of surrogate pairs, which no encoding takes.
_odd: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_odd_but_tab: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]").search
_COMMAND: Final = re.compile(
    r"%(?:%|[A-Z_][A-Z0-9_]*(?:\((?:[^()]|\([^()]*\))*\))?(?::[A-Za-z0-9-]+)?%)"
)
_MOST_NAME: Final = 253  # RFC 1035 2.3.4, as text

A_TARGET: Final = (
    'a path from "/" on, "?" and a query if at all, of the characters of RFC 3986, others '
    "percent-encoded (%20)"
)
AN_AUTHORITY: Final = 'a host name, address or "[IPv6]", and ":port" if at all (RFC 3986 3.2)'


def plain_fault(text: str) -> str:
    """Any string: no control characters."""
    if text.isprintable() or not _odd(text):
        return ""
    return "text without control characters"


def token_fault(text: str) -> str:
    """RFC 9110 5.6.2: names of headers and cookies."""
    return "" if _is_token(text) else "a token (RFC 9110 5.6.2): letters, digits, !#$%&'*+-.^_`|~"


def header_value_fault(text: str) -> str:
    """RFC 9110 5.5 `field-value`, in which Envoy's % commands are well-formed."""
    if _odd_but_tab(text):
        return "a header value without control characters"
    if text.strip(" \t") != text:
        return "a header value without white space at its ends"
    if "%" in _COMMAND.sub("", text):
        return "% only as %% or around a command (%START_TIME%)"
    return ""


def request_path_fault(text: str) -> str:
    """RFC 9112 3.2.1 `origin-form`: what may stand in a request line."""
    return "" if _is_request_path(text) else A_TARGET


def location_path_fault(text: str) -> str:
    """The same where a fragment may follow (RFC 9110 10.2.2)."""
    return "" if _is_location_path(text) else f'{A_TARGET}; "#" and a fragment if at all'


def path_template_fault(text: str) -> str:
    """The replacement of a `RegexRewrite`, a part of a path: what the node takes from clients, too."""
    if _is_template(text):
        return ""
    return 'groups (\\0 to \\9) and visible ASCII without "#", others percent-encoded (%20)'


def authority_fault(text: str) -> str:
    """RFC 3986 3.2 without user information (RFC 9110 4.2.4): a name of DNS or an address, a port."""
    host, port = text, _PORT.search(text)
    if port is not None:
        host = text[: port.start()]
        if not 1 <= int(port[1]) <= 65535:
            return AN_AUTHORITY
    if host.startswith("[") and host.endswith("]"):
        return "" if _is_ipv6(host[1:-1]) else AN_AUTHORITY
    return "" if _is_dns_name(host.removesuffix(".")) else AN_AUTHORITY


def _is_dns_name(text: str) -> bool:
    """An IPv4 address is one, too; what other software would take for one (`127.1`) is not."""
    if not _is_name(text) or len(text) > _MOST_NAME:
        return False
    return is_ip(text) or not _is_number(text.rpartition(".")[2])


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None
    except ValueError:
        return False


def server_name_fault(text: str) -> str:
    """RFC 6066 3: a name of DNS without its final dot. An address is taken and not sent."""
    if _is_dns_name(text) or (is_ip(text) and "%" not in text):
        return ""
    return "a DNS name without a final dot, in ASCII (RFC 6066 3)"


def cookie_path_fault(text: str) -> str:
    """RFC 6265 4.1.1 `path-value`, as a path that a request may have."""
    return (
        "" if _is_cookie_path(text) else 'a path from "/" on, of the characters of RFC 3986 but ";"'
    )


def cookie_value_fault(text: str) -> str:
    """RFC 6265 4.1.1 `extension-av`."""
    return "" if _is_cookie_value(text) else 'printable ASCII without ";" (RFC 6265 4.1.1)'


def escaped(text: str) -> str:
    """Text as a line for people shows it: what does not print is written as Python writes it (`\\r`)."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def free_fault(_text: str) -> str:
    """Free text, which leaves the node as a body if at all."""
    return ""
