"""Envoy's commands in header values, such as `%DOWNSTREAM_REMOTE_ADDRESS%` and `%REQ(x-id)%`.

Source: Envoy's "custom request/response headers". `%%` is a percent sign. What is not known, or not
known yet (an endpoint, in a request's headers), is empty; a header with an empty value is not set.
"""

from __future__ import annotations

import re
import socket
from time import gmtime, monotonic, strftime, time

from egressd.proxy.addresses import address_of
from egressd.proxy.context import Exchange
from egressd.proxy.http1.fields import split_fields
from egressd.routing.table import HeaderOps

_COMMAND = re.compile(rb"%(?:%|([A-Z0-9_]+)(?:\(([^()]*)\))?(?::([0-9]+))?%)")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]+")
"""What no field value has (RFC 9110 5.5): a format of `%START_TIME(%n)%` and a name in a certificate
could bring it in."""
_FRACTION = re.compile(r"%([1-9]?)f")


def with_values(ops: HeaderOps, x: Exchange, response: bytes = b"") -> HeaderOps:
    """Operations with their commands replaced; `response` are the field lines of the answer."""
    if not ops.has_commands:
        return ops
    return HeaderOps(
        set=_values(ops.set, x, response), add=_values(ops.add, x, response), remove=ops.remove
    )


def _values(
    fields: tuple[tuple[bytes, bytes], ...], x: Exchange, response: bytes
) -> tuple[tuple[bytes, bytes], ...]:
    def replaced(found: re.Match[bytes]) -> bytes:
        name, argument, most = found.groups()
        if name is None:
            return b"%"
        value = _value(x, name, (argument or b"").decode("latin-1"), response)
        return value[: int(most)] if most else value

    made = ((name, _field_value(_COMMAND.sub(replaced, value))) for name, value in fields)
    return tuple((name, value) for name, value in made if value)


def _field_value(made: bytes) -> bytes:
    return _CONTROLS.sub(b"", made).strip(b" \t")


def _value(x: Exchange, command: bytes, argument: str, response: bytes) -> bytes:
    if command == b"REQ":
        return _request_header(x, argument)
    if command == b"RESP":
        return _response_header(argument, response)
    if command == b"START_TIME":
        return _start_time(x, argument)
    return _said(x, command.decode()).encode("latin-1", "replace")


def _request_header(x: Exchange, argument: str) -> bytes:
    # Once it was sent, the request is what was made of it (Envoy changes it in place).
    path = x.sent_target or (b"%b?%b" % (x.path, x.query) if x.query else x.path)
    pseudo = {
        ":method": x.head.method,
        ":path": path,
        ":authority": x.sent_authority or x.request.authority,
        ":scheme": x.request.scheme,
    }
    for name in argument.lower().split("?"):
        value = pseudo.get(name) or _first(x.sent_lines or x.head.lines, name)
        if value:
            return value
    return b""


def _response_header(argument: str, response: bytes) -> bytes:
    return next((v for name in argument.lower().split("?") if (v := _first(response, name))), b"")


def _first(lines: bytes, name: str) -> bytes:
    """A field's value, of repeated ones the first (Envoy)."""
    wanted = name.encode("latin-1")
    return next((value for field, value in split_fields(lines) if field.lower() == wanted), b"")


def _start_time(x: Exchange, argument: str) -> bytes:
    began = time() - (monotonic() - x.started)
    micros = f"{int(began % 1 * 1e6):06d}000"
    text = argument or "%Y-%m-%dT%H:%M:%S.%3fZ"
    text = _FRACTION.sub(lambda found: micros[: int(found[1] or 9)], text)
    return strftime(text.replace("%s", str(int(began))), gmtime(began)).encode()


def _said(x: Exchange, command: str) -> str:
    """What a command without an argument says of an exchange, by Envoy's name."""
    downstream, endpoint = x.downstream, x.endpoint
    match command:
        case "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS":
            return downstream.remote
        case (
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT"
            | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"
        ):
            return address_of(downstream.remote)
        case "DOWNSTREAM_REMOTE_PORT":
            return downstream.remote.rpartition(":")[2]
        case "DOWNSTREAM_LOCAL_ADDRESS":
            return downstream.local
        case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
            return address_of(downstream.local)
        case "DOWNSTREAM_LOCAL_PORT":
            return downstream.local.rpartition(":")[2]
        case "DOWNSTREAM_PEER_URI_SAN":
            return ",".join(name for name in downstream.principals if "://" in name)
        case "REQUESTED_SERVER_NAME":
            return x.sni
        case "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS":
            return endpoint.id if endpoint is not None else ""
        case "UPSTREAM_CLUSTER":
            return str(x.destination.key) if x.destination is not None else ""
        case "ROUTE_NAME":
            return x.route.name if x.route is not None else ""
        case "PROTOCOL":
            return f"HTTP/1.{x.head.minor}"
        case "HOSTNAME":
            return socket.gethostname()
        case "RESPONSE_CODE":
            return str(x.status or "")
        case "RESPONSE_FLAGS":
            return x.flag or "-"
        case "DURATION":
            return str(int((monotonic() - x.started) * 1000))
    return ""
