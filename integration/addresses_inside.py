"""Run inside a network namespace of its own: where names lead when every address is this machine.

Each of `ADDRESSES` is on the loopback interface, an origin answers at all of them, and a name server
says that the name `n<number>.wild.test` is there. Prints two lists of statuses: of a node with the
default `limits.deniedAddresses`, and of one that denies nothing; and how often the origin was reached.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

from integration.node import Node, eventually
from integration.servers.dns import NameServer

PORT = 8099
ADDRESSES = (
    *("127.0.0.1", "169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    *("::1", "fec0::1", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe"),
    *("64:ff9b::7f00:1", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::1", "2001:0:a9fe:a9fe::1"),
    *("fd00::5efe:7f00:1", "::7f00:2", "::ffff:0:7f00:1"),
)
REACHABLE = ("10.9.9.9", "fd00::9", "64:ff9b::a09:909", "2002:a09:909::1")
"""Private ones, which are not denied."""
WILD = f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wild}}
spec:
  hosts: ["*.wild.test"]
  ports: [{{number: {PORT}, name: http, protocol: HTTP}}]
  resolution: NONE
"""


class Origin:
    """Answers at every address; `count` connections came."""

    def __init__(self) -> None:
        self.count = 0
        self._server = socket.create_server(
            ("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            sock, _ = self._server.accept()
            with sock:
                self.count += 1
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def main(directory: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (*ADDRESSES, *REACHABLE):
        if address not in ("127.0.0.1", "::1"):
            prefix = "/128" if ":" in address else "/32"
            add = ["ip", "address", "add", address + prefix, "dev", "lo"]
            subprocess.run([*add, *(["nodad"] if ":" in address else [])], check=True)
    table = {
        f"n{number}.wild.test": [f"AAAA {address}" if ":" in address else address]
        for number, address in enumerate((*ADDRESSES, *REACHABLE))
    }
    origin = Origin()
    with NameServer(table) as names:
        found = {
            "default": ask(directory / "default", names, list(table), origin, {}),
            "none": ask(directory / "none", names, list(table), origin, {"deniedAddresses": []}),
        }
    print(json.dumps(found))


def ask(
    directory: Path, names: NameServer, hosts: list[str], origin: Origin, limits: dict[str, object]
) -> dict[str, object]:
    """What a node with these limits answers for each host."""
    dns = {"nameservers": [names.address]}
    with Node(directory, {"wild.yaml": WILD}, workers=1, dns=dns, limits=limits) as node:
        eventually(lambda: "wild" in node.cli("registry", "list").stdout)
        before = origin.count
        statuses = [node.get(f"{host}:{PORT}")[0] for host in hosts]
        return {"statuses": statuses, "connections": origin.count - before}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
