"""systemd's notification protocol (sd_notify(3)) and watchdog (sd_watchdog_enabled(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

_MICROSECONDS = 1_000_000


class Notifier:
    """Sends state to the service manager; does nothing where there is none.

    What cannot be sent is dropped: the manager's absence never disturbs the node.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s  # the manager's limit between two pings; 0 = none wanted
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            if address
            else None
        )

    def ready(self, status: str) -> None:
        """Start or reload is complete."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def reloading(self, monotonic_ns: int) -> None:
        """A reload begins; `ready` ends it. The time tells the manager which reload this is."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns // 1000}\nSTATUS=Reloading")

    def stopping(self, status: str) -> None:
        """The node drains and will end."""
        self._send(f"STOPPING=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={status}")

    def watchdog(self) -> None:
        """The node is alive and well."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Close the socket (in a child: it does not speak for the node)."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            return


def notifier_from_environment(environ: MutableMapping[str, str], pid: int) -> Notifier:
    """Takes the manager's variables out of `environ`, so that no child acts on them."""
    address = environ.pop("NOTIFY_SOCKET", "")
    microseconds = environ.pop("WATCHDOG_USEC", "")
    watchdog_pid = environ.pop("WATCHDOG_PID", "")
    wanted = microseconds.isdigit() and watchdog_pid in {"", str(pid)}
    return Notifier(address, int(microseconds) / _MICROSECONDS if wanted else 0.0)
