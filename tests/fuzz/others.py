"""ClientHellos against OpenSSL, PROXY headers against a decoder, answers of any name server."""

from __future__ import annotations

import ipaddress
import re
import ssl
import struct
from functools import lru_cache

import dns.exception
import dns.flags
import dns.message
import trustme

from egressd.dns.answer import read_answer
from egressd.proxy.client_hello import HelloReader, NotTls, server_name
from egressd.upstream.preface import proxy_header
from tests.fuzz.engine import Target

# -- ClientHello -------------------------------------------------------------------------------


def hello(name: str | None, *versions: ssl.TLSVersion) -> bytes:
    """What Python's TLS client sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if versions:
        context.maximum_version = versions[0]
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


@lru_cache(maxsize=1)
def _server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("a.x").configure_cert(context)
    return context


def check_client_hello(data: bytes) -> str:
    try:
        ours = server_name(data)
    except NotTls as refused:
        return re.split(r"[0-9']", str(refused))[0]
    reader = HelloReader()
    for cut in range(1, len(data) + 1):
        early = reader.read(data[:cut])
        assert early in (None, ours), "more bytes change the name"
        if early is not None:
            break
        assert reader.wanted > cut, "asks for what is there"
    if ours is None:
        return "more"
    theirs = _as_openssl(data)
    assert theirs is None or theirs.lower().removesuffix(".") == ours, (theirs, ours)
    return f"{bool(ours)} {theirs is not None}"


def _as_openssl(data: bytes) -> str | None:
    """The server name that OpenSSL reads, "" for none; None where it refuses the hello."""
    context = _server()
    seen: list[str | None] = []

    def note(sock: object, name: str | None, context: object) -> int:
        seen.append(name)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = note
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    try:
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    except (ssl.SSLError, ValueError):
        pass
    return (seen[0] or "") if seen else None


CLIENT_HELLO = Target(
    check_client_hello,
    [
        hello("Pay.Example"),
        hello(None),
        hello("a.x", ssl.TLSVersion.TLSv1_2),
        b"".join(
            b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
            for part in (hello("a.x")[5:40], hello("a.x")[40:])
        ),
    ],
    [
        b"\x16\x03\x01", b"\x16\x03\x03", b"\x01\x00", b"\x00\x00", b"\x00\x01", b"\xff\xff", b"\x00",
        b"\x00\x00\x00\x0a\x00\x08\x00\x00\x05abc.x", b"a.x", b".", b"\x00\x2b\x00\x03\x02\x03\x04",
    ],
)  # fmt: skip

# -- PROXY -------------------------------------------------------------------------------------

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def check_proxy_header(data: bytes) -> str:
    """Two texts and two ports, as accept() and the kernel may give them, out of the input."""
    if len(data) < 5:
        return "short"
    ports = struct.unpack("!HH", data[:4])
    first_text, _, second_text = data[5:].decode("latin-1").partition("|")
    one, other = _address(first_text, data[4] & 1), _address(second_text, data[4] & 2)
    known = _is_pair(one, other)
    first = _decode_v1(proxy_header("V1", (one, ports[0]), (other, ports[1])))
    second = _decode_v2(proxy_header("V2", (one, ports[0]), (other, ports[1])))
    if not known:
        assert first is None and second is None
        return "unknown"
    wanted = (_plain(one), _plain(other), *ports)
    assert first == wanted
    assert second == wanted
    return f"IPv{wanted[0].version}"


def _address(text: str, packed: int) -> str:
    raw = text.encode("latin-1")
    if packed and len(raw) >= 16:
        return str(ipaddress.IPv6Address(raw[:16]))
    if packed and len(raw) >= 4:
        return str(ipaddress.IPv4Address(raw[:4]))
    return text


def _is_pair(one: str, other: str) -> bool:
    try:
        return _plain(one).version == _plain(other).version
    except ValueError:
        return False


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Without the zone, which a PROXY header has no place for."""
    return ipaddress.ip_address(text.partition("%")[0])


def _decode_v1(header: bytes) -> tuple[object, object, int, int] | None:
    assert header.endswith(b"\r\n") and header.count(b"\r\n") == 1 and len(header) <= 107
    words = header[:-2].decode("ascii").split(" ")
    assert words[0] == "PROXY"
    if words[1] == "UNKNOWN":
        return None
    family = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}[words[1]]
    _, _, one, other, from_port, to_port = words
    return family(one), family(other), int(from_port), int(to_port)


def _decode_v2(header: bytes) -> tuple[object, object, int, int] | None:
    assert header.startswith(_SIGNATURE)
    command, family, size = struct.unpack_from("!BBH", header, 12)
    assert len(header) == 16 + size
    if command == 0x20:
        assert (family, size) == (0, 0)
        return None
    assert command == 0x21
    width, kind = {0x11: (4, ipaddress.IPv4Address), 0x21: (16, ipaddress.IPv6Address)}[family]
    body = header[16:]
    assert size == 2 * width + 4
    ports = struct.unpack("!HH", body[2 * width :])
    return kind(body[:width]), kind(body[width : 2 * width]), ports[0], ports[1]


PROXY_HEADER = Target(
    check_proxy_header,
    [
        b"\x00\x50\x1f\x90\x0010.0.0.1|10.0.0.2",
        b"\x00\x50\x1f\x90\x00::1|2001:db8::2",
        b"\x00\x50\x1f\x90\x00|/run/egressd.sock",
        b"\x00\x50\x1f\x90\x03" + bytes(range(16)) + b"|" + bytes(range(16, 32)),
    ],
    [
        b"|",
        b"::",
        b"::ffff:10.0.0.1",
        b"fe80::1%eth0",
        b"%",
        b" ",
        b"\r\n",
        b"10.0.0.01",
        b"1.1.1.1",
    ],
)

# -- DNS ---------------------------------------------------------------------------------------

_QUERY = dns.message.make_query("a.x", "A")


def check_dns_message(data: bytes) -> str:
    """A server's answer is read, or refused with what the resolver expects."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error) as refused:
        return type(refused).__name__
    _QUERY.is_response(message)
    if not isinstance(message, dns.message.QueryMessage) or not message.flags & dns.flags.QR:
        return "no answer"  # `is_response` says so, too
    for kind in ("A", "SRV"):
        try:
            answer = read_answer(message, kind, "10.0.0.53")
        except dns.exception.DNSException as refused:
            return f"answer {type(refused).__name__}"
        assert answer.ttl_s >= 0
        assert answer.is_failed or answer.outcome in ("found", "nodata", "nxdomain")
        assert bool(answer.records) == (answer.outcome == "found")
    return f"{answer.outcome} {bool(answer.alias_of)} {min(len(answer.records), 3)}"


def _response(*answers: str, query: str = "a.x A", rcode: int = 0) -> bytes:
    name, kind = query.split(" ")
    response = dns.message.make_response(dns.message.make_query(name, kind))
    response.set_rcode(rcode)
    for text in answers:
        owner, ttl, of_kind, value = text.split(" ", 3)
        response.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", of_kind, value))
    wire: bytes = response.to_wire()
    return wire


DNS_MESSAGE = Target(
    check_dns_message,
    [
        _response("a.x. 60 A 10.0.0.1", "a.x. 60 A 10.0.0.2"),
        _response("a.x. 60 CNAME b.x.", "b.x. 5 A 10.0.0.1"),
        _response("a.x. 60 CNAME b.x."),
        _response("_h._tcp.a.x. 9 SRV 1 2 80 b.x.", query="_h._tcp.a.x SRV"),
        _response("a.x. 60 AAAA 2001:db8::1", query="a.x AAAA"),
        _response(),
        _response(rcode=3),
    ],
    [
        b"\xc0\x0c", b"\xc0\x00", b"\x00\x01\x00\x01", b"\x00\x05\x00\x01", b"\x00\x06\x00\x01",
        b"\x00\x1c\x00\x01", b"\x00\x21\x00\x01", b"\x00\x29\x04\xd0", b"\xff\xff", b"\x00\x04",
        b"\x01a\x01x\x00",
        b"\x3f", b"\x00\x00\x00\x00", b"\x80\x00\x00\x00",
    ],
)  # fmt: skip
