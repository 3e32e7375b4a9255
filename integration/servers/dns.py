"""A name server on loopback that answers from a table, over the real wire format (dnspython).

Only for what no real server does on demand: silence, garbage, foreign ids, SERVFAIL, answers cut off
with and without TCP. Else take `integration.servers.dnsmasq`.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Literal

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from integration.servers.consul import free_ports

Mode = Literal[
    "well", "silent", "garbage", "foreign", "servfail", "refused", "truncated", "slow", "no_edns"
]
SLOW_S = 2.0


class NameServer:
    """`table` maps names to addresses, or to "TYPE rdata" texts; `ttl_s` goes with each record.

    `mode` holds for all questions from now on; "truncated" cuts answers off over UDP only.
    """

    def __init__(
        self, table: dict[str, list[str]], ttl_s: int = 1, *, mode: Mode = "well", port: int = 0
    ) -> None:
        self.table = table
        self.ttl_s = ttl_s
        self.mode = mode
        self.asked = 0
        self.asked_over_tcp = 0
        self.port = port or free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._udp.settimeout(0.1)
        self.tcp: socket.socket | None = socket.create_server(("127.0.0.1", self.port))
        self.tcp.settimeout(0.1)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=serve, daemon=True) for serve in (self._serve, self._serve_tcp)
        ]

    def __enter__(self) -> NameServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._udp.close()
        if self.tcp is not None:
            self.tcp.close()

    def refuse_tcp(self) -> None:
        """Nobody listens at the TCP port any more."""
        tcp, self.tcp = self.tcp, None
        if tcp is not None:
            tcp.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                data, client = self._udp.recvfrom(4096)
            except TimeoutError:
                continue
            self.asked += 1
            if self.mode == "slow":
                threading.Thread(target=self._reply_late, args=(data, client), daemon=True).start()
            elif self.mode == "garbage":
                self._udp.sendto(random.randbytes(60), client)
            elif self.mode != "silent":
                self._udp.sendto(self._answer(data, over_tcp=False), client)

    def _reply_late(self, data: bytes, client: tuple[str, int]) -> None:
        time.sleep(SLOW_S)
        with contextlib.suppress(OSError):
            self._udp.sendto(self._answer(data, over_tcp=False), client)

    def _serve_tcp(self) -> None:
        while not self._stop.is_set():
            listener = self.tcp
            if listener is None:
                return
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                size = int.from_bytes(connection.recv(2), "big")
                answer = self._answer(connection.recv(size), over_tcp=True)
                self.asked_over_tcp += 1
                connection.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, data: bytes, *, over_tcp: bool) -> bytes:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        question = query.question[0]
        if self.mode in ("servfail", "refused"):
            response.set_rcode(dns.rcode.from_text(self.mode))
            return response.to_wire()
        if self.mode == "no_edns" and query.edns >= 0:
            response.use_edns(False)
            response.set_rcode(dns.rcode.FORMERR)
            return response.to_wire()
        if self.mode == "foreign":
            response.id ^= 1
        if self.mode == "truncated" and not over_tcp:
            response.flags |= dns.flags.TC
            return response.to_wire()
        records = self.table.get(question.name.to_text(omit_final_dot=True))
        if records is None:
            response.set_rcode(dns.rcode.NXDOMAIN)
        else:
            wanted = dns.rdatatype.to_text(question.rdtype)
            found = [text for kind, text in map(_typed, records) if kind == wanted]
            alias = [text for kind, text in map(_typed, records) if kind == "CNAME"]
            if found or alias:
                wanted = wanted if found else "CNAME"  # and no more: the rest is for who asks
                response.answer.append(
                    dns.rrset.from_text(question.name, self.ttl_s, "IN", wanted, *(found or alias))
                )
        return response.to_wire()


def _typed(record: str) -> tuple[str, str]:
    """Type and data of "10.0.0.1", "::1" or "SRV 0 0 80 a.test."."""
    kind, space, data = record.partition(" ")
    if space:
        return kind, data
    return ("AAAA" if ":" in record else "A"), record
