"""Closing a TCP listener without losing a connection.

What stands in a listener's accept queue when it closes is reset, and between the last `accept` and the
close more may come. So new handshakes are stopped first, and those under way are let finish. A client
whose SYN was dropped sends it again after a second (RFC 6298 2.1) and is refused then, or served by
whoever has the port by that time.
"""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_SYN_ONLY = (  # classic BPF; the packet begins with the TCP header
    (0x30, 0, 0, 13),  # load the flags
    (0x54, 0, 0, 0x12),  # and SYN|ACK
    (0x15, 0, 1, 0x02),  # SYN without ACK?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)

GRACE_S = 0.3
"""How long a handshake that has begun gets to finish: a round trip and more."""


def stop_handshakes(listener: socket.socket) -> bool:
    """Let no new handshake begin, in no process that has the socket. Other than TCP is left alone.

    False: the kernel does not let this process filter a TCP socket; who connects in the last moment
    before the close may then be reset. Linux asked for no privilege for a socket filter until, on TCP
    sockets, newer kernels (seen on 6.18) ask for CAP_NET_ADMIN.
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return True
    program = b"".join(struct.pack("HBBI", *line) for line in _SYN_ONLY)
    held = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(_SYN_ONLY), ctypes.addressof(held))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
    except OSError:
        return False
    return True
