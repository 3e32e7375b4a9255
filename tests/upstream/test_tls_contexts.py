"""Client contexts: keyed by files and flags, loaded beside the loop, renewed when files change."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from egressd.net import Deadline, Fiber
from egressd.upstream import tls_contexts
from egressd.upstream.spec import TlsSpec
from egressd.upstream.tls import (
    ContextKey,
    Stamp,
    TlsConfigError,
    client_context,
    context_key,
    is_settled,
)
from egressd.upstream.tls_contexts import ContextCache, ContextEntry
from tests.net.driver import Loop, it

__all__ = ["it"]

SIMPLE = TlsSpec("SIMPLE", "a.example")


class Loader:
    """Loads when the test says so; a load that is under way waits as one in a thread does."""

    def __init__(self, it: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[ContextKey] = []
        self._open = False
        self._waiting: list[Fiber] = []
        monkeypatch.setattr(it.loop, "call", self._call)

    def let(self) -> None:
        self._open = True
        for fiber in self._waiting:
            fiber.wake()

    def hold(self) -> None:
        self._open = False

    async def _call(self, fiber: Fiber, load: Callable[..., object], key: ContextKey) -> object:
        self.asked.append(key)
        self._waiting.append(fiber)
        while not self._open:
            await fiber.wait()
        return client_context(key)


@pytest.fixture
def loader(it: Loop, monkeypatch: pytest.MonkeyPatch) -> Loader:
    return Loader(it, monkeypatch)


class Asker:
    """A fiber that asks the cache."""

    def __init__(
        self, it: Loop, cache: ContextCache, spec: TlsSpec, deadline: float = float("inf")
    ) -> None:
        self.entry: ContextEntry | None = None
        self.error: Exception | None = None

        async def run(fiber: Fiber) -> None:
            fiber.set_deadline(deadline)
            try:
                self.entry = await cache.get(fiber, spec, 10.0)
            except (TlsConfigError, Deadline) as error:
                self.error = error
            assert fiber.deadline == deadline

        self.fiber = it.loop.spawn(run)
        it.run()


def test_names_share_the_context_of_their_files(it: Loop, loader: Loader) -> None:
    cache = ContextCache(it.loop)
    loader.let()
    entries = [
        Asker(it, cache, replace(SIMPLE, sni=f"n{number}.w.example")).entry for number in range(150)
    ]
    assert len(loader.asked) == len(cache) == len(set(map(id, entries))) == 1


@pytest.mark.parametrize(
    "other",
    [
        replace(SIMPLE, ca_file="/ca"),
        replace(SIMPLE, crl_file="/crl"),
        replace(SIMPLE, certificate_file="/c", key_file="/k"),
        replace(SIMPLE, alpn=("istio",)),
        replace(SIMPLE, insecure_skip_verify=True),
        replace(SIMPLE, sni=""),  # no name to verify
        replace(SIMPLE, verify_host=False),
        replace(SIMPLE, subject_alt_names=("spiffe://x",)),  # verified behind the handshake
    ],
)
def test_what_is_verified_differently_shares_no_context(other: TlsSpec) -> None:
    assert context_key(other) != context_key(SIMPLE)


def test_flags_of_the_context_verify_as_the_setting_says() -> None:
    strict = client_context(context_key(SIMPLE))
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    mesh = client_context(context_key(replace(SIMPLE, verify_host=False)))
    assert (mesh.verify_mode, mesh.check_hostname) == (ssl.CERT_REQUIRED, False)
    blind = client_context(context_key(replace(SIMPLE, insecure_skip_verify=True)))
    assert (blind.verify_mode, blind.check_hostname) == (ssl.CERT_NONE, False)


def test_all_who_ask_meanwhile_wait_for_one_load(it: Loop, loader: Loader) -> None:
    cache = ContextCache(it.loop)
    askers = [Asker(it, cache, SIMPLE) for _ in range(5)]
    assert len(loader.asked) == 1
    assert not any(asker.entry for asker in askers)
    loader.let()
    it.run()
    assert len({id(asker.entry) for asker in askers}) == 1
    assert askers[0].entry is not None


def test_who_waits_has_its_own_deadline_and_the_load_goes_on(it: Loop, loader: Loader) -> None:
    cache = ContextCache(it.loop)
    hurried = Asker(it, cache, SIMPLE, deadline=it.now + 1)
    patient = Asker(it, cache, SIMPLE)
    it.advance(2)
    assert isinstance(hurried.error, Deadline)
    loader.let()
    it.run()
    assert patient.entry is not None


def test_a_load_that_takes_too_long_is_an_error_of_the_setting(it: Loop, loader: Loader) -> None:
    asker = Asker(it, ContextCache(it.loop), SIMPLE)
    it.advance(11)
    assert isinstance(asker.error, TlsConfigError)


def test_a_client_that_leaves_while_it_waits_leaves_the_load_alone(
    it: Loop, loader: Loader
) -> None:
    cache = ContextCache(it.loop)
    gone, stays = Asker(it, cache, SIMPLE), Asker(it, cache, SIMPLE)
    gone.fiber.cancel()
    it.run()
    assert gone.fiber.done
    loader.let()
    it.run()
    assert stays.entry is not None


def test_a_failure_stands_for_a_second_and_is_tried_again(
    it: Loop, loader: Loader, tmp_path: Path
) -> None:
    cache = ContextCache(it.loop)
    loader.let()
    spec = replace(SIMPLE, ca_file=str(tmp_path / "ca.pem"))
    assert "no such file" in str(Asker(it, cache, spec).error).lower()
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    assert Asker(it, cache, spec).error is not None
    it.advance(1.1)
    assert Asker(it, cache, spec).entry is not None


def test_changed_files_are_loaded_beside_the_context_in_force(
    it: Loop, loader: Loader, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    cache = ContextCache(it.loop)
    loader.let()
    spec = replace(SIMPLE, ca_file=str(file))
    first = Asker(it, cache, spec).entry
    loader.hold()
    trustme.CA().cert_pem.write_to_path(file)
    os.utime(file, ns=(1, 1))
    assert Asker(it, cache, spec).entry is first  # not looked at yet
    it.advance(1.1)
    for _ in range(3):
        assert Asker(it, cache, spec).entry is first  # being loaded, once
    assert len(loader.asked) == 2
    loader.let()
    it.run()
    second = Asker(it, cache, spec).entry
    assert second is not None and second is not first


def test_broken_new_files_leave_the_context_in_force(
    it: Loop, loader: Loader, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    cache = ContextCache(it.loop)
    loader.let()
    spec = replace(SIMPLE, ca_file=str(file))
    first = Asker(it, cache, spec).entry
    assert first is not None
    file.write_text("not yet")
    os.utime(file, ns=(1, 1))
    it.advance(1.1)
    assert Asker(it, cache, spec).entry is first
    it.run()
    assert str(file) in first.error
    file.unlink()
    it.advance(1.1)
    assert Asker(it, cache, spec).entry is first
    trustme.CA().cert_pem.write_to_path(file)
    os.utime(file, ns=(2, 2))
    it.advance(1.1)
    assert Asker(it, cache, spec).entry is first
    it.run()
    last = Asker(it, cache, spec).entry
    assert last is not None and last is not first and not last.error


def test_files_that_are_being_written_are_left_alone(
    it: Loop, loader: Loader, tmp_path: Path
) -> None:
    """Half of a bundle is a bundle."""
    file = tmp_path / "ca.pem"
    authorities = [trustme.CA().cert_pem.bytes() for _ in range(4)]
    file.write_bytes(authorities[0])
    cache = ContextCache(it.loop)
    loader.let()
    spec = replace(SIMPLE, ca_file=str(file))
    first = Asker(it, cache, spec).entry
    for count in (1, 2, 3):
        file.write_bytes(b"".join(authorities[:count]))
        os.utime(file, ns=(2**62, 2**62 + count))  # whatever the clock says
        it.advance(1.1)
        assert Asker(it, cache, spec).entry is first
    assert len(loader.asked) == 1
    it.advance(1.1)
    Asker(it, cache, spec)
    it.run()
    assert Asker(it, cache, spec).entry is not first


@pytest.mark.parametrize(
    ("stamp", "seen", "settled"),
    [((("a", 99, 1, 1),), (("a", 99, 1, 1),), True), ((("a", 99, 1, 1),), (), False),
     ((("a", 98, 1, 1),), (), True), ((("a", 98, 1, 1), ("b", 99, 1, 1)), (), False),
     ((("a", 500, 1, 1),), (), False)],
)  # fmt: skip
def test_when_files_are_settled(stamp: Stamp, seen: Stamp, settled: bool) -> None:
    in_ns = tuple((name, at * 10**9, inode, size) for name, at, inode, size in stamp)
    seen_ns = tuple((name, at * 10**9, inode, size) for name, at, inode, size in seen)
    assert is_settled(in_ns, seen_ns, 99.5) is settled


def test_the_context_unused_for_longest_is_forgotten(
    it: Loop, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_contexts, "MOST_CONTEXTS", 2)
    cache = ContextCache(it.loop)
    loader.let()
    kept = Asker(it, cache, SIMPLE).entry
    for alpn in ("a", "b", "c"):
        it.advance(2)
        assert Asker(it, cache, SIMPLE).entry is kept
        it.advance(0.5)
        Asker(it, cache, replace(SIMPLE, alpn=(alpn,)))
        assert len(cache) <= 2
    assert Asker(it, cache, SIMPLE).entry is kept
