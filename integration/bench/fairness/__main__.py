"""`python -m integration.bench.fairness`: one line or two a scenario."""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from integration.bench.fairness.parts import Bystander, TreeNode, slow_origin
from integration.origins import service_entry

_LOAD_S = 4.0
_NAMES = 3000
_LINES = 5_000_000
_TUNNELS = 1000
_GETPIPE_SZ = 1032
_LATENCY = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)


def main() -> int:
    """Run the chosen scenarios."""
    parser = argparse.ArgumentParser(
        prog="python -m integration.bench.fairness", description=__doc__
    )
    parser.add_argument("--only", default="", help=f"comma-separated: {','.join(SCENARIOS)}")
    parser.add_argument("--tree", type=Path, default=TreeNode.tree, help="another checkout")
    options = parser.parse_args()
    TreeNode.tree = options.tree.resolve()
    for name, scenario in SCENARIOS.items():
        if not options.only or name in options.only.split(","):
            print(f"{name}: {scenario.__doc__}", flush=True)
            for line in scenario():
                print(f"    {line}", flush=True)
    return 0


@contextmanager
def _node(
    delay_s: float = 0.0, policy: str = "", prefix: tuple[str, ...] = (), more: str = ""
) -> Iterator[TreeNode]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="egressd-fair-")))
        origin = stack.enter_context(slow_origin(delay_s))
        listeners = [
            {"name": "egress", "address": "127.0.0.1", "port": 0},
            {"name": "tls", "address": "127.0.0.1", "port": 0, "protocol": "TLS"},
        ]
        resources = {"web.yaml": service_entry("web", origin) + policy}
        if more:
            resources["more.yaml"] = more.replace("ORIGIN", str(origin))
        node = TreeNode(
            directory, resources, workers=1, listeners=listeners, accessLog={"path": ""}
        )
        node.prefix = prefix
        yield stack.enter_context(node)


# -- one client against another --------------------------------------------------------------------


def _beside(act: Callable[[TreeNode], str], more: str = "") -> Iterator[str]:
    """What a bystander sees alone, and while `act` runs."""
    with _node(more=more) as node:
        with Bystander(node.port) as alone:
            time.sleep(2)
        yield f"bystander alone: {alone.latency()}"
        with Bystander(node.port) as beside:
            time.sleep(0.2)
            said = act(node)
        yield f"bystander beside it: {beside.latency()}; {said}"


def pipelining() -> Iterator[str]:
    """one client pipelines requests that the node itself answers"""
    return _beside(_pipeline)


def _pipeline(node: TreeNode) -> str:
    requests = b"GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n" * 200
    until, answered = time.monotonic() + _LOAD_S, 0
    with _connected(node.port) as sock:
        sock.setblocking(False)
        while time.monotonic() < until:
            with suppress(BlockingIOError):
                sock.send(requests)
            with suppress(BlockingIOError):
                answered += sock.recv(1 << 20).count(b"HTTP/1.1 ")
            time.sleep(0.0005)
    return f"{answered / _LOAD_S:,.0f} answers a second to the other"


def empty_lines() -> Iterator[str]:
    """10 MB of empty lines before a request"""
    return _beside(_empty_lines)


def _empty_lines(node: TreeNode) -> str:
    sent = 0
    data = b"\r\n" * 50_000
    with _connected(node.port) as sock:
        try:
            for _ in range(_LINES // 50_000):
                sock.sendall(data)
                sent += len(data)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n")
            answer = sock.recv(100)
        except OSError as error:
            answer = repr(error).encode()
    return f"{sent:,} bytes taken, answer {answer[:40]!r}"


def new_names() -> Iterator[str]:
    """3,000 host names that nobody asked for before, pipelined"""
    wildcard = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ["*.w.example"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: ORIGIN}}]
"""
    return _beside(_new_names, wildcard)


def _new_names(node: TreeNode) -> str:
    heads = (f"GET / HTTP/1.1\r\nHost: n{n}.w.example\r\n\r\n" for n in range(_NAMES))
    requests = "".join(heads).encode()
    begun, cpu, answered = time.monotonic(), node.worker_cpu_s(), 0
    with _connected(node.port) as sock:
        with suppress(OSError):
            sock.sendall(requests)
            while answered < _NAMES and (data := sock.recv(1 << 18)):
                answered += data.count(b"HTTP/1.1 ")
    took, cpu = time.monotonic() - begun, node.worker_cpu_s() - cpu
    return f"{answered} answers in {took:.1f} s, {cpu / _NAMES * 1e6:.0f} µs of CPU a name"


def client_hello() -> Iterator[str]:
    """a ClientHello in records of one byte"""
    return _beside(_hellos)


def _hellos(node: TreeNode) -> str:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="nobody.example").do_handshake()
    hello = outgoing.read()[5:]
    records = b"".join(b"\x16\x03\x01\x00\x01" + hello[at : at + 1] for at in range(len(hello)))
    port, begun, cpu, count = node.listener("tls"), time.monotonic(), node.worker_cpu_s(), 0
    while time.monotonic() - begun < _LOAD_S:
        with _connected(port) as sock, suppress(OSError):
            for at in range(0, len(records), 6):
                sock.sendall(records[at : at + 6])
            sock.recv(100)
        count += 1
    cpu = node.worker_cpu_s() - cpu
    return f"{count} of them: {cpu / _LOAD_S:.0%} of a core, {cpu / count * 1000:.1f} ms each"


# -- many clients ----------------------------------------------------------------------------------


def waiting_line() -> Iterator[str]:
    """500 keep-alive clients, an origin that takes 20 ms, maxConnections 40 and none"""
    if shutil.which("wrk") is None:
        yield "needs wrk"
        return
    for limit in (40, 0):
        policy = f"""\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec:
  host: web.example
  trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {limit}}}}}}}
"""
        with _node(0.02, policy if limit else "") as node:
            node.get("web.example")
            cpu = node.worker_cpu_s()
            done = subprocess.run(
                ["wrk", "-t1", "-c500", "-d8s", "--latency", "--timeout", "20s",
                 "-H", "Host: web.example", f"http://127.0.0.1:{node.port}/"],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
            cpu = node.worker_cpu_s() - cpu
        found = re.search(r"(\d+) requests in", done)
        requests = int(found[1]) if found else 0
        latency = {p: f"{value} {unit}" for p, value, unit in _LATENCY.findall(done)}
        errors = re.search(r"Non-2xx.*|Socket errors.*", done)
        yield (
            f"maxConnections {limit or 'none'}: {requests / 8:,.0f}/s, p50 {latency.get('50')}, "
            f"p99 {latency.get('99')}, {cpu / max(1, requests) * 1e6:.0f} µs of CPU a request"
            f"{'; ' + errors[0] if errors else ''}"
        )


def tunnels() -> Iterator[str]:
    """1,000 CONNECT tunnels of a node without privileges: its pipes, and 256 KiB both ways"""
    prefix = ()
    if os.geteuid() == 0:
        prefix = ("setpriv", "--bounding-set=-sys_resource,-sys_admin")
    with ExitStack() as stack:
        echo = stack.enter_context(_echo_origin())
        more = f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo}}
spec:
  hosts: [echo.example]
  ports: [{{number: {echo}, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
"""
        node = stack.enter_context(_node(prefix=prefix, more=more))
        start = (
            f"CONNECT echo.example:{echo} HTTP/1.1\r\nHost: echo.example:{echo}\r\n\r\n".encode()
        )
        times = []
        for _ in range(_TUNNELS):
            sock = stack.enter_context(_connected(node.port))
            sock.sendall(start)
            answer = sock.recv(1000)
            if b" 200 " not in answer:
                yield f"tunnel {len(times)}: {answer[:80]!r}"
                return
            begun = time.perf_counter()
            _echo_through(sock, bytes(256 << 10))
            times.append((time.perf_counter() - begun) * 1000)
        sizes = _pipe_sizes(node.worker)
        yield f"pipes: {', '.join(f'{n} of {size >> 10} KiB' for size, n in sorted(sizes.items()))}"
        first, last = sorted(times[:30])[15], sorted(times[-30:])[15]
        yield f"median of the first 30 tunnels {first:.2f} ms, of the last 30 {last:.2f} ms"


@contextmanager
def _echo_origin() -> Iterator[int]:
    script = (
        "import asyncio, socket, sys\n"
        "async def echo(r, w):\n"
        "    while d := await r.read(65536): w.write(d)\n"
        "    w.close()\n"
        "async def main():\n"
        "    s = socket.socket(fileno=int(sys.argv[1]))\n"
        "    await (await asyncio.start_server(echo, sock=s)).serve_forever()\n"
        "asyncio.run(main())\n"
    )
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        fd = listener.fileno()
        process = subprocess.Popen([sys.executable, "-c", script, str(fd)], pass_fds=[fd])
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.kill()
            process.wait()


def _echo_through(sock: socket.socket, data: bytes) -> None:
    for at in range(0, len(data), 32 << 10):
        part = data[at : at + (32 << 10)]
        sock.sendall(part)
        left = len(part)
        while left:
            left -= len(sock.recv(left))


def _pipe_sizes(pid: int) -> Counter[int]:
    """Pipe buffers of a process by size, each pipe once."""
    sizes: dict[str, int] = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{entry}"
        with suppress(OSError):
            target = os.readlink(path)
            if target.startswith("pipe:") and target not in sizes:
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                sizes[target] = fcntl.fcntl(fd, _GETPIPE_SZ)
                os.close(fd)
    return Counter(sizes.values())


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 60)


SCENARIOS: dict[str, Callable[[], Iterator[str]]] = {
    "pipelining": pipelining,
    "empty-lines": empty_lines,
    "new-names": new_names,
    "client-hello": client_hello,
    "waiting-line": waiting_line,
    "tunnels": tunnels,
}

if __name__ == "__main__":
    sys.exit(main())
