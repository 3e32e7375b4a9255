"""Fetches real servers from the Debian mirror that this machine is configured for.

    python -m integration.servers.fetch

Packages are downloaded with sources and state of their own and unpacked with `dpkg -x` below
`.servers/` of the checkout: nothing is installed, and what is unpacked already needs no network.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[2] / ".servers"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
COMMAND_TIMEOUT_S = 300


class FetchError(Exception):
    """A server could not be fetched. The message says what failed and how to go on without it."""


@dataclass(frozen=True)
class DebianServer:
    """A program that a Debian suite carries."""

    name: str
    package: str
    suite: str
    program: str  # path inside the unpacked package
    libraries: tuple[str, ...] = ()  # packages of the suite that a bare machine may lack

    @property
    def override(self) -> str:
        """The environment variable that names a program to use instead of a fetched one."""
        return f"EGRESSD_TEST_{self.name.upper()}"


CONSUL = DebianServer(name="consul", package="consul", suite="bullseye", program="usr/bin/consul")
DNSMASQ = DebianServer(
    name="dnsmasq",
    package="dnsmasq-base",
    suite="bookworm",
    program="usr/sbin/dnsmasq",
    libraries=(
        "libdbus-1-3",
        "libgmp10",
        "libhogweed6",
        "libidn2-0",
        "libjansson4",
        "libmnl0",
        "libnetfilter-conntrack3",
        "libnettle8",
        "libnfnetlink0",
        "libnftables1",
        "libnftnl11",
        "libunistring2",
        "libxtables12",
    ),
)
SERVERS = (CONSUL, DNSMASQ)


def program_of(server: DebianServer, cache: Path = CACHE) -> Path:
    """The server's program: the one the environment names, the cached one, or a fetched one.

    Raises `FetchError`.
    """
    named = os.environ.get(server.override)
    if named:
        if not os.access(named, os.X_OK):
            raise FetchError(f"{server.override}={named}: not a program")
        return Path(named)
    unpacked = cache / server.name
    program = unpacked / server.program
    if program.exists():
        return program
    with _locked(cache):
        if not program.exists():
            _unpack(server, unpacked)
    return program


def environment_of(server: DebianServer, cache: Path = CACHE) -> dict[str, str]:
    """The environment that the server's program finds its libraries in."""
    folders = (cache / server.name).glob("**/lib/*-linux-gnu*")
    own = ":".join(str(folder) for folder in sorted(folders))
    return {**os.environ, "LD_LIBRARY_PATH": own} if own and server.libraries else {**os.environ}


def configured_mirror(index_targets: str, codename: str) -> str:
    """The mirror of the running system's own release, from `apt-get indextargets` lines of
    "release component uri". A source may also call its release "stable".

    Raises `FetchError` when there is none.
    """
    rows = [line.split(" ") for line in index_targets.splitlines()]
    for names in ((codename,), ("stable", "oldstable", "oldoldstable", "testing")):
        for release, component, uri in rows:
            if release in names and component == "main":
                return uri
    raise FetchError(f"apt has no source for {codename} main")


def _unpack(server: DebianServer, target: Path) -> None:
    try:
        mirror = configured_mirror(_index_targets(), _codename())
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            tree = Path(scratch) / "tree"
            for deb in _download(server, mirror, Path(scratch)):
                _run(["dpkg", "-x", str(deb), str(tree)])
            if not (tree / server.program).exists():
                raise FetchError(f"package {server.package} has no {server.program}")
            shutil.rmtree(target, ignore_errors=True)
            tree.rename(target)
    except FetchError as error:
        raise FetchError(
            f"cannot fetch {server.name}: {error}. "
            f"Set {server.override} to a {server.name} program to use that one."
        ) from error


def _download(server: DebianServer, mirror: str, scratch: Path) -> list[Path]:
    """The package files, downloaded with apt directories below `scratch` only."""
    for name in ("state/lists/partial", "cache/archives/partial", "debs"):
        (scratch / name).mkdir(parents=True)
    (scratch / "status").touch()
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    sources = scratch / "sources.list"
    sources.write_text(f"deb {signed}{mirror} {server.suite} main\n")
    apt = ["apt-get", "-qq"]
    for option in (
        f"Dir::Etc::SourceList={sources}",
        "Dir::Etc::SourceParts=-",
        f"Dir::State={scratch}/state",
        f"Dir::State::status={scratch}/status",
        f"Dir::Cache={scratch}/cache",
        "Acquire::Check-Valid-Until=false",  # an old suite's Release file is past its date
        "Acquire::Languages=none",
        "Acquire::Retries=3",
        f"APT::Sandbox::User={os.environ.get('USER', 'root')}",
    ):
        apt += ["-o", option]
    _run([*apt, "update"])
    packages = (server.package, *server.libraries)
    _run([*apt, "download", *packages], cwd=scratch / "debs")
    debs = list((scratch / "debs").glob("*.deb"))
    if len(debs) != len(packages):
        raise FetchError(f"apt downloaded {len(debs)} of {', '.join(packages)} of {server.suite}")
    return debs


def _index_targets() -> str:
    shape = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    only_sources = "--no-release-info"  # there may have been no `apt-get update` yet
    command = ["apt-get", "indextargets", only_sources, "--format", shape]
    return _run([*command, "Created-By: Packages"])


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise FetchError("this system names no VERSION_CODENAME in /etc/os-release")


def _run(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no message"]
        raise FetchError(f"{command[0]} {command[-1]} ended with {done.returncode}: {said[-1]}")
    return done.stdout


@contextlib.contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Test runs of one checkout may fetch at the same time: one of them does it."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Fetch every server; 1 when one of them cannot be had."""
    status = 0
    for server in SERVERS:
        try:
            print(f"{server.name}: {program_of(server)}")
        except FetchError as error:
            print(f"{server.name}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
