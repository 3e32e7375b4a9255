"""Where servers for tests come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.servers.fetch import CONSUL, FetchError, configured_mirror, program_of

TARGETS = """\
nodistro main https://packages.example/node/
bookworm-security main http://mirror.example/debian-security/
bookworm main http://mirror.example/debian/
"""


def test_the_mirror_is_the_one_of_the_running_release() -> None:
    assert configured_mirror(TARGETS, "bookworm") == "http://mirror.example/debian/"


def test_a_source_that_names_its_release_stable_serves_too() -> None:
    targets = TARGETS.replace("bookworm main", "stable main")
    assert configured_mirror(targets, "bookworm") == "http://mirror.example/debian/"


def test_without_a_mirror_the_error_says_so() -> None:
    with pytest.raises(FetchError, match="apt has no source for bookworm main"):
        configured_mirror("nodistro main https://packages.example/node/\n", "bookworm")


def test_the_environment_may_name_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESSD_TEST_CONSUL", "/bin/true")
    assert program_of(CONSUL) == Path("/bin/true")
    monkeypatch.setenv("EGRESSD_TEST_CONSUL", "/nowhere")
    with pytest.raises(FetchError, match="EGRESSD_TEST_CONSUL=/nowhere: not a program"):
        program_of(CONSUL)
