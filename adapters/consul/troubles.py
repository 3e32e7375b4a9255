"""What is wrong now, of all datacenters: a source is in sync only while nothing is."""

from __future__ import annotations

from egressd.registry.adapter import Sink


class Troubles:
    """Tells the sink, and remembers until the same list can be read again."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._now: dict[tuple[str, str], str] = {}
        self._parts: dict[tuple[str, str], str] = {}  # single services and queries

    def heard(self, dc: str, what: str, reason: str) -> None:
        """A list of a datacenter could not be read, or is not to be believed."""
        self._now[dc, what] = reason
        self._tell(dc, reason)

    def heard_part(self, dc: str, part: str, reason: str) -> None:
        """A part could not be read that holds up nothing else: services, a prepared query."""
        self._parts[dc, part] = reason
        self._tell(dc, reason)

    def part_over(self, dc: str, part: str) -> None:
        """The part was read."""
        self._parts.pop((dc, part), None)

    def _tell(self, dc: str, reason: str) -> None:
        self._sink.failed(f"datacenter {dc}: {reason}" if dc else reason)

    def over(self, dc: str, what: str) -> None:
        """The list was read."""
        self._now.pop((dc, what), None)

    def forget(self, dc: str) -> None:
        """The datacenter is no more."""
        for known in (self._now, self._parts):
            for key in [key for key in known if key[0] == dc]:
                del known[key]

    def are_of(self, dc: str) -> bool:
        """Whether a list of the datacenter cannot be read."""
        return any(key[0] == dc for key in self._now)

    @property
    def are_there(self) -> bool:
        """Whether anything cannot be read."""
        return bool(self._now or self._parts)

    def in_sync(self) -> None:
        """Something was heard that is as before."""
        if not self.are_there:
            self._sink.in_sync()
