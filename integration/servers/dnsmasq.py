"""A real name server for tests: dnsmasq, authoritative for the names that it is given.

    with Dnsmasq(tmp_path, hosts={"api.test": ["10.0.0.1"]}) as server:
        server.set_hosts({...})    # read again at once

Names below .test that it does not know do not exist (NXDOMAIN); others are REFUSED.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import dns.exception
import dns.message
import dns.query

from integration.servers.consul import free_ports
from integration.servers.fetch import DNSMASQ, environment_of, program_of

READY_TIMEOUT_S = 30.0


class DnsmasqError(Exception):
    """The server did not start."""


class Dnsmasq:
    """One server on a free loopback port, kept over `restart`. Ended at the end of `with`."""

    def __init__(
        self,
        directory: Path,
        hosts: Mapping[str, Sequence[str]],
        *,
        config: Sequence[str] = (),
        ttl_s: int = 1,
        port: int = 0,
    ) -> None:
        """`hosts` maps names to addresses; `config` has further lines of dnsmasq.conf, such as
        "srv-host=_http._tcp.web.test,a.test,8080,10,5" and "cname=alias.test,api.test"."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._hosts = directory / "hosts"
        self._config = list(config)
        self._ttl_s = ttl_s
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        self._write(hosts)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def set_hosts(self, hosts: Mapping[str, Sequence[str]]) -> None:
        """Other names from now on."""
        self._write(hosts)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def set_config(self, config: Sequence[str]) -> None:
        """Other lines of configuration, which takes a restart."""
        self._config = list(config)
        self.restart()

    def start(self) -> None:
        """Start, and wait until it answers."""
        config = self._directory / "dnsmasq.conf"
        fixed = [
            f"port={self.port}",
            "listen-address=127.0.0.1",
            "bind-interfaces",
            "no-resolv",
            "no-hosts",
            "local=/test/",
            "cache-size=0",
            "edns-packet-max=1232",
            f"addn-hosts={self._hosts}",
            f"local-ttl={self._ttl_s}",
            f"log-facility={self._directory / 'dnsmasq.log'}",
            "pid-file=",
        ]
        if os.geteuid() == 0:
            fixed += ["user=root", "group=root"]
        config.write_text("\n".join([*fixed, *self._config, ""]))
        self._process = subprocess.Popen(
            [program_of(DNSMASQ), "--keep-in-foreground", f"--conf-file={config}"],
            stdin=subprocess.DEVNULL,
            stderr=(self._directory / "stderr").open("wb"),
            env=environment_of(DNSMASQ),
        )
        try:
            self._wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """It takes questions and answers none, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _write(self, hosts: Mapping[str, Sequence[str]]) -> None:
        lines = [f"{address} {name}" for name, them in hosts.items() for address in them]
        beside = self._hosts.with_suffix(".new")
        beside.write_text("\n".join([*lines, ""]))
        beside.replace(self._hosts)

    def _wait_ready(self) -> None:
        assert self._process is not None
        query = dns.message.make_query("ready.test", "A")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                said = (self._directory / "stderr").read_text(errors="replace")[-500:]
                raise DnsmasqError(f"dnsmasq ended with {self._process.returncode}: {said}")
            try:
                dns.query.udp(query, "127.0.0.1", timeout=0.2, port=self.port)
                return
            except (dns.exception.DNSException, OSError):
                time.sleep(0.05)
        raise DnsmasqError(f"dnsmasq did not answer within {READY_TIMEOUT_S:g} s")
