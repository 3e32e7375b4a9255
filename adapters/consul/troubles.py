"""What is wrong now, of all datacenters: a source is in sync only while nothing is."""

from __future__ import annotations

from egressd.registry.adapter import Sink


class Troubles:
    """Tells the sink, and remembers until the same list can be read again."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._now: dict[tuple[str, str], str] = {}

    def heard(self, dc: str, what: str, reason: str) -> None:
        """A list of a datacenter could not be read, or is not to be believed."""
        self._now[dc, what] = reason
        self.heard_once(dc, reason)

    def heard_once(self, dc: str, reason: str) -> None:
        """Something failed that shows elsewhere as long as it lasts."""
        self._sink.failed(f"datacenter {dc}: {reason}" if dc else reason)

    def over(self, dc: str, what: str) -> None:
        """The list was read."""
        self._now.pop((dc, what), None)

    def forget(self, dc: str) -> None:
        """The datacenter is no more."""
        for key in [key for key in self._now if key[0] == dc]:
            del self._now[key]

    def are_of(self, dc: str) -> bool:
        """Whether a list of the datacenter cannot be read."""
        return any(key[0] == dc for key in self._now)

    @property
    def are_there(self) -> bool:
        """Whether any list cannot be read."""
        return bool(self._now)

    def in_sync(self) -> None:
        """Something was heard that is as before."""
        if not self._now:
            self._sink.in_sync()
