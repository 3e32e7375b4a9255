"""systemd's notification protocol (sd_notify(3)) and watchdog (sd_watchdog_enabled(3))."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import MutableMapping, Sequence

_MICROSECONDS = 1_000_000
_MOST_FDS = 200  # of one message; the kernel takes 253


class Notifier:
    """Sends state to the service manager; does nothing where there is none.

    What cannot be sent is dropped: the manager's absence never disturbs the node.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_s = watchdog_s  # the manager's limit between two pings; 0 = none wanted
        self.is_muted = False  # it listens to the node's main process alone
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            if address
            else None
        )

    def ready(self, status: str, pid: int = 0) -> None:
        """Start or reload is complete. `pid` is the main process when it is not this one."""
        self._send(f"READY=1\nSTATUS={status}\nMAINPID={pid or os.getpid()}")

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

    def environment(self) -> dict[str, str]:
        """What `notifier_from_environment` took, for a program that follows this one."""
        if self._socket is None:
            return {}
        address = self._address.replace("\0", "@", 1)
        return {
            "NOTIFY_SOCKET": address,
            "WATCHDOG_USEC": str(round(self.watchdog_s * _MICROSECONDS)),
        }

    @property
    def has_manager(self) -> bool:
        """Whether somebody starts the node again when it dies."""
        return self._socket is not None

    def hand_over(self, pid: int) -> None:
        """Process `pid` is the main one from now on; this one falls silent."""
        self._send(f"MAINPID={pid}")
        self.is_muted = True

    def store(self, name: str, fds: Sequence[int]) -> bool:
        """Let the manager keep descriptors for the next start, under `name`. False: not now."""
        at_once = [fds[at : at + _MOST_FDS] for at in range(0, len(fds), _MOST_FDS)]
        return all(self._send(f"FDSTORE=1\nFDNAME={name}", some) for some in at_once)

    def drop(self, name: str) -> bool:
        """Let it close what it keeps under `name`. False: not now."""
        return self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def close(self) -> None:
        """Close the socket (in a child: it does not speak for the node)."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, fds: Sequence[int] = ()) -> bool:
        if self._socket is None or self.is_muted:
            return self._socket is None
        try:
            rights = array.array("i", fds)  # `socket.send_fds` of Python 3.11 drops the address
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
            self._socket.sendmsg([message.encode()], ancillary, 0, self._address)
        except OSError:
            return False
        return True


def notifier_from_environment(environ: MutableMapping[str, str], pid: int) -> Notifier:
    """Takes the manager's variables out of `environ`, so that no child acts on them."""
    address = environ.pop("NOTIFY_SOCKET", "")
    microseconds = environ.pop("WATCHDOG_USEC", "")
    watchdog_pid = environ.pop("WATCHDOG_PID", "")
    wanted = microseconds.isdigit() and watchdog_pid in {"", str(pid)}
    return Notifier(address, int(microseconds) / _MICROSECONDS if wanted else 0.0)
