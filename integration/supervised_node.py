"""A node whose children are small blocking servers: what the supervisor does, without a proxy.

Run as `python -m integration.supervised_node CONFIG`. The label `behaviour` of the bootstrap says
how workers misbehave. A worker answers each line: `who` with its index and pid, `held` only when it
drains, `stall` never again.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from egressd.node.bootstrap import Bootstrap, load_bootstrap
from egressd.node.inherited import Inherited
from egressd.node.supervisor import Entries, StartError, Supervisor


def note(bootstrap: Bootstrap, line: str) -> None:
    """Append to the list of events that tests read."""
    with open(f"{bootstrap.state_dir}/events", "a", encoding="ascii") as events:
        events.write(f"{line}\n")


class DummyWorker:
    """One blocking accept loop."""

    def __init__(self, bootstrap: Bootstrap, inherited: Inherited, index: int) -> None:
        self.bootstrap = bootstrap
        self.index = index
        self.selector = selectors.DefaultSelector()
        self.listeners = [sock for _, sock in inherited.listeners[index]]
        self.held: list[socket.socket] = []
        for sock in self.listeners:
            self.selector.register(sock, selectors.EVENT_READ, self.accept)

    def accept(self, listener: socket.socket) -> None:
        """Take one connection."""
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        self.selector.register(connection, selectors.EVENT_READ, self.answer)

    def answer(self, connection: socket.socket) -> None:
        """Obey one line."""
        line = connection.recv(100).strip()
        if line == b"who":
            label = self.bootstrap.node.labels.get("version", "")
            connection.sendall(f"worker {self.index} pid {os.getpid()} {label}\n".encode())
        elif line == b"held":
            self.held.append(connection)
            connection.sendall(b"holding\n")
        elif line == b"stall":
            time.sleep(3600)
        if not line:
            self.selector.unregister(connection)
            connection.close()

    def serve(self, ready: Callable[[], None], beat: Callable[[], None]) -> None:
        """Serve until SIGTERM; then answer what is held."""
        stopping: list[int] = []
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.signal(signal.SIGTERM, lambda number, frame: stopping.append(number))
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        self.selector.register(reader, selectors.EVENT_READ, lambda sock: sock.recv(100))
        ready()
        while not stopping:
            for key, _ in self.selector.select(0.1):
                key.data(key.fileobj)
            beat()
        for sock in self.listeners:
            sock.close()
        if self.bootstrap.node.labels.get("behaviour") == "never-drains":
            time.sleep(3600)
        for connection in self.held:
            connection.sendall(b"finished\n")


def run_worker(
    bootstrap: Bootstrap,
    inherited: Inherited,
    index: int,
    ready: Callable[[], None],
    beat: Callable[[], None],
) -> None:
    """Entry of a worker."""
    if bootstrap.node.labels.get("behaviour") == "crashes":
        sys.exit(3)
    DummyWorker(bootstrap, inherited, index).serve(ready, beat)
    note(bootstrap, f"worker {index} ended")


def run_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """Entry of the registry process."""
    assert inherited.admin is not None
    note(bootstrap, f"registry started {os.getpid()}")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
    note(bootstrap, "registry ended")


def main(config: Path) -> int:
    """Run until stopped."""
    bootstrap = load_bootstrap(config)

    def load() -> Bootstrap:
        if Path(bootstrap.state_dir, "broken").exists():
            raise ZeroDivisionError("a fault that nobody thought of")
        return load_bootstrap(config)

    try:
        supervisor = Supervisor(
            bootstrap,
            Entries(run_worker, run_registry),
            load,
            config_path=str(config),
        )
    except StartError as error:
        print(error, file=sys.stderr)
        return 3
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
