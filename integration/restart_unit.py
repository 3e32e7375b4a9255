"""What `restart_inside` is written with: the unit, its processes, the program, the load beside them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

EGRESS, GATEWAY, ORIGIN, ECHO = 15001, 18080, 19001, 19002
CONFIG = Path("/etc/egressd/egressd.yaml")
PROGRAM = Path("/usr/bin/egressd")
STATUS = Path("/run/egressd/supervisor.json")
PATIENCE_S = 90.0
DRAIN_S = 4
PROGRAM_TEXT = """#!/opt/python/bin/python3
import os, sys
sys.path[:0] = ["/opt/egressd", "/opt/packages"]
{more}
from egressd.cli.main import main
main(prog_name="egressd")
"""
CONFIG_TEXT = f"""\
node: {{labels: {{app: edge}}}}
workers: 2
listeners: [{{name: egress, address: 127.0.0.1, port: {EGRESS}}}]
gateways: {{address: 127.0.0.1}}
resources: [/etc/egressd/resources]
accessLog: {{path: ""}}
limits: {{drainTimeout: {DRAIN_S}s}}
"""
RESOURCES = f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s}}
spec:
  hosts: [s.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {ORIGIN}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: t}}
spec:
  hosts: [t.example]
  ports: [{{number: 9000, name: tcp, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp: {ECHO}}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: g}}
spec:
  selector: {{app: edge}}
  servers: [{{port: {{number: {GATEWAY}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: v}}
spec: {{hosts: [s.example], gateways: [g], http: [{{route: [{{destination: {{host: s.example}}}}]}}]}}
"""
OTHER = "import egressd; egressd.__version__ = '9.9.9'"
IMPORT_ERROR = "import a_module_that_is_not_there"
CRASHES = "import egressd.node.worker as w; w.run_worker = lambda *a: os._exit(9)"
HANGS = "import time, egressd.node.worker as w; w.run_worker = lambda *a: time.sleep(3600)"


def say(*words: object) -> None:
    """A line of the log that the test reads."""
    print(*words, flush=True)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """A command's outcome, with the time that it took in the log."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    took = f"{time.monotonic() - began:.1f} s"
    say(
        "  $",
        " ".join(command),
        f"-> {done.returncode} in {took}",
        (done.stdout + done.stderr).strip(),
    )
    return done


def eventually(check: Callable[[], bool], what: str) -> bool:
    """Wait until it holds."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(0.05)
    say("  NEVER:", what)
    return False


def show(name: str) -> str:
    """A property of the unit."""
    done = subprocess.run(
        ["systemctl", "show", "egressd", "-p", name, "--value"], capture_output=True, check=False
    )
    return done.stdout.decode().strip()


def main_pid() -> int:
    """What systemd takes for the main process."""
    return int(show("MainPID") or 0)


def status() -> dict[str, object]:
    """What the supervisor says of itself."""
    try:
        found: dict[str, object] = json.loads(STATUS.read_text())
    except (OSError, ValueError):
        return {}
    return found


def processes() -> dict[int, str]:
    """Every process of the unit, with its name."""
    found = {}
    group = Path("/sys/fs/cgroup/system.slice/egressd.service/cgroup.procs")
    for pid in group.read_text().split() if group.exists() else []:
        try:
            found[int(pid)] = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
    return found


def workers() -> set[int]:
    """Process ids of all workers, those that drain included."""
    return {pid for pid, name in processes().items() if name.startswith("egressd-w")}


def serves(other_than: int = 0) -> bool:
    """Whether one supervisor, not `other_than`, is ready, and the manager's main process."""
    found = status()
    pid = found.get("pid")
    return found.get("state") == "ready" and pid == main_pid() != other_than


def install(more: str = "") -> None:
    """Put another program in the place of the one that runs."""
    beside = PROGRAM.with_name(".egressd.new")
    beside.write_text(PROGRAM_TEXT.format(more=more))
    beside.chmod(0o755)
    beside.replace(PROGRAM)


class Load:
    """The load process, and what it saw of each case."""

    def __init__(self) -> None:
        ports = [str(port) for port in (EGRESS, GATEWAY, ORIGIN, ECHO)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "integration.restart_load", *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def mark(self, name: str) -> None:
        """End a phase, and print it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        say("load", self._process.stdout.readline().strip())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
