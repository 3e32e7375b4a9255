"""What a scene is written in: steps of clients and origins, in the order in which they happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from egressd.proxy.context import MOMENT_S

ID = b"x-request-id: 00000000-0000-4000-a000-000000000000\r\n"
"""What the proxy adds to a request without an id, with the stage's random bits."""


class Step(NamedTuple):
    """`what`: sends, gets, ends (FIN), resets, sees_end, sees_reset, pauses, reads_on; of the
    stage: waits, changes, sweeps, drains."""

    side: str  # "client", "origin", "mirror", ""
    at: int
    what: str
    data: bytes = b""
    seconds: float = 0.0
    cut: int = 0  # over TLS a second record begins here, written in one go with the first

    @property
    def actor(self) -> tuple[str, int]:
        return (self.side, self.at)


class Actor:
    """One client, or the far end of the n-th connection that the proxy dials."""

    def __init__(self, side: str, at: int) -> None:
        self._side, self._at = side, at

    def _step(self, what: str, data: bytes = b"") -> Step:
        return Step(self._side, self._at, what, data)

    def sends(self, data: bytes, more: bytes = b"") -> Step:
        """Bytes in one segment; over TLS `more` is a record of its own in it."""
        return self._step("sends", data + more)._replace(cut=len(data) if more else 0)

    def gets(self, data: bytes) -> Step:
        """These bytes have come behind those expected before, and nothing else."""
        return self._step("gets", data)

    def ends(self) -> Step:
        return self._step("ends")

    def resets(self) -> Step:
        return self._step("resets")

    def is_not_there(self) -> Step:
        """The proxy has not dialed this connection yet."""
        return self._step("is_not_there")

    def sees_end(self) -> Step:
        return self._step("sees_end")

    def sees_reset(self) -> Step:
        return self._step("sees_reset")

    def pauses(self) -> Step:
        return self._step("pauses")

    def reads_on(self) -> Step:
        return self._step("reads_on")


c, c2, c3 = (Actor("client", at) for at in range(3))
o, o2, o3 = (Actor("origin", at) for at in range(3))
m = Actor("mirror", 0)


def waits(seconds: float) -> Step:
    return Step("", 0, "waits", seconds=seconds)


def changes(resources: str) -> Step:
    """The registry says this from now on."""
    return Step("", 0, "changes", resources.encode())


def sweeps() -> Step:
    """A second's work of the worker on its pools."""
    return Step("", 0, "sweeps")


def drains(idle_s: float = MOMENT_S) -> Step:
    """The worker is told to stop; `idle_s`: what an idle connection gets for a next request."""
    return Step("", 0, "drains", seconds=idle_s)


class Line(NamedTuple):
    """What an access log line has to say; None: anything."""

    status: int
    flags: str = "-"
    sent: int | None = None
    received: int | None = None
    details: str | None = None

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Line:
        return cls(
            line["response_code"],
            line["response_flags"],
            line["bytes_sent"],
            line["bytes_received"],
            line["response_code_details"],
        )

    def differs(self, line: Mapping[str, Any]) -> bool:
        pairs = zip(self, Line.of(line), strict=True)
        return any(wanted is not None and wanted != value for wanted, value in pairs)


@dataclass(frozen=True)
class Scene:
    """`closes`, `splits`, `tls`: the replays that make sense for it. `ends_by_close`: the origin's end
    is the end of a response. `connects`: what dialing gives, in order ("ok", "refused", "silent")."""

    name: str
    steps: tuple[Step, ...]
    log: tuple[Line, ...]
    resources: str
    connects: tuple[str, ...] = ()
    mirror: str = "ok"
    settings: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    splits: bool = True
    closes: bool = True
    tls: bool = True
    origin_tls: bool = True  # of the replays over TLS
    door: str = "http"
    client: str = "plain"  # what it speaks where the door is not "http": "plain", "tls", "mutual"
    origin: str = "plain"
    ends_by_close: bool = False

    @property
    def is_tunnel(self) -> bool:
        """Whether a connection of it becomes a tunnel, whose half-closes may last."""
        return any(b"CONNECT " in s.data or b"Upgrade: " in s.data for s in self.steps)

    def writes(self, side: str, at: int) -> bytes:
        """Everything that an actor writes."""
        own = (s for s in self.steps if s.actor == (side, at) and s.what == "sends")
        return b"".join(step.data for step in own)

    def reads(self, side: str, at: int) -> bytes:
        """Everything that an actor is to get."""
        own = (s for s in self.steps if s.actor == (side, at) and s.what == "gets")
        return b"".join(step.data for step in own)

    @property
    def over_tls(self) -> bool:
        """Whether it is replayed over TLS on both sides, too (what the stage adds to clusters, a change
        of the registry takes away)."""
        changes = any(step.what == "changes" for step in self.steps)
        return self.tls and self.door == "http" and not changes

    def speaks(self, *, tls: bool) -> dict[str, Any]:
        """How the ends of a stage speak."""
        if not tls:
            return {"door": self.door, "client": self.client, "origin": self.origin}
        origin = "tls" if self.origin_tls else "plain"
        return {
            "door": "https",
            "client": "tls",
            "origin": origin,
            "originates": self.origin_tls,
        }

    def actors(self, side: str) -> list[int]:
        return sorted({step.at for step in self.steps if step.side == side})


# -- messages in a few words -------------------------------------------------------------------


def lines(*given: str) -> bytes:
    return "".join(f"{line}\r\n" for line in given).encode("latin-1")


def request(start: str = "GET /", *given: str, body: bytes = b"", host: str = "a.x") -> bytes:
    """A request as the client writes it."""
    length = (f"Content-Length: {len(body)}",) if body else ()
    return lines(f"{start} HTTP/1.1", f"Host: {host}", *given, *length, "") + body


def forwarded(start: str = "GET /", *given: str, body: bytes = b"", host: str = "a.x") -> bytes:
    """The same as the origin gets it."""
    length = (f"Content-Length: {len(body)}",) if body else ()
    head = lines(f"{start} HTTP/1.1", f"Host: {host}", *given, *length)
    return head + ID + b"\r\n" + body


def answer(body: bytes = b"ok", *given: str, start: str = "200 OK") -> bytes:
    """A response with a length, the same on both sides."""
    return lines(f"HTTP/1.1 {start}", *given, f"Content-Length: {len(body)}", "") + body


def chunks(*pieces: bytes, trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n%b\r\n" % trailers


def reply(status: str, text: str, flags: str, *given: str, closes: bool = False) -> bytes:
    """A local reply as the client gets it."""
    text += "\n" if text else ""
    kind = ("content-type: text/plain; charset=utf-8",) if text else ()
    flag = (f"x-egressd-response-flags: {flags}",) if flags else ()
    last = ("connection: close",) if closes else ()
    head = (f"HTTP/1.1 {status}", *given, f"content-length: {len(text)}", *kind, *flag, *last, "")
    return lines(*head) + text.encode()


# -- resources ---------------------------------------------------------------------------------

API = "networking.istio.io/v1"


def service(
    host: str = "a.x", *, addresses: str = "10.0.0.1", port: str = "80", more: str = ""
) -> str:
    listed = ", ".join(f"{{address: {one}}}" for one in addresses.split())
    return (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: {host.replace('.', '-')}}}\n"
        f"spec: {{hosts: [{host}], ports: [{{number: {port}, name: p{port}, protocol: HTTP}}], "
        f"resolution: STATIC, endpoints: [{listed}]{more}}}\n---\n"
    )


def routes(http: str, host: str = "a.x") -> str:
    return (
        f"apiVersion: {API}\nkind: VirtualService\nmetadata: {{name: v-{host.replace('.', '-')}}}\n"
        f"spec: {{hosts: [{host}], http: {http}}}\n---\n"
    )


def rule(policy: str, host: str = "a.x") -> str:
    return (
        f"apiVersion: {API}\nkind: DestinationRule\nmetadata: {{name: d-{host.replace('.', '-')}}}\n"
        f"spec: {{host: {host}, trafficPolicy: {policy}}}\n---\n"
    )


TO_A = "route: [{destination: {host: a.x}}]"
"""The rest of an HTTP route that leads to a.x."""
PLAIN = service()
"""One service, one endpoint, no rule: the default retry policy of two attempts."""
ONCE = PLAIN + routes(f"[{{retries: {{attempts: 0}}, {TO_A}}}]")
"""The same without retries."""
