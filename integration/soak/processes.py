"""What /proc says of the node: its processes, their descriptors, memory and connections."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

_STATES = {"01": "ESTABLISHED", "04": "FIN_WAIT1", "05": "FIN_WAIT2", "08": "CLOSE_WAIT"}


def children(parent: int) -> dict[int, str]:
    """Living child processes by pid, with their names (`egressd-w0`, ...)."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with suppress(OSError):
            name, _, rest = Path(f"/proc/{entry}/stat").read_text().rpartition(")")
            state, ppid = rest.split()[:2]
            if int(ppid) == parent and state != "Z":
                found[int(entry)] = name.partition("(")[2]
    return found


def workers(parent: int) -> dict[int, str]:
    """The workers of a supervisor, those that drain included."""
    return {pid: name for pid, name in children(parent).items() if name.startswith("egressd-w")}


def registry(parent: int) -> int | None:
    """The registry process of a supervisor."""
    others = [pid for pid, name in children(parent).items() if not name.startswith("egressd-w")]
    return others[0] if others else None


def descriptors(pid: int) -> Counter[str]:
    """Open descriptors by kind: socket, pipe, anon_inode, file."""
    found: Counter[str] = Counter()
    with suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                found[target.partition(":")[0] if ":" in target else "file"] += 1
    return found


def resident_kib(pid: int) -> int:
    """Resident memory; 0 for a process that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0


def connections(pid: int) -> list[tuple[int, int, str]]:
    """A process's TCP connections over IPv4: local port, remote port, state."""
    inodes = set()
    with suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes and fields[3] in _STATES:
            local, remote = (int(field.rpartition(":")[2], 16) for field in fields[1:3])
            found.append((local, remote, _STATES[fields[3]]))
    return found


def held_clients(pid: int, port: int) -> frozenset[int]:
    """Client ports of the connections that a process has accepted on the listening port."""
    return frozenset(remote for local, remote, _ in connections(pid) if local == port)
