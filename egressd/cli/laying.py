"""The steps of `egressd install`: each knows whether it is done, does itself, and can be taken back.

A step that is done does nothing, so a second install changes nothing, and one that was interrupted is
completed by the next.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MARK = "# Laid by `egressd install`"
"""How a file begins that a later install may replace without keeping what was there."""


class CannotLay(Exception):
    """A step cannot be done: says what, where, and the fix."""


class Step(Protocol):
    """One thing of an installed node."""

    def wanted(self) -> str:
        """What `take` would do, in words; "" = it is done. Raises `CannotLay`."""

    def take(self) -> None:
        """Do it. Raises OSError or `CannotLay`."""

    def undo(self) -> str:
        """Take it away; what was done, in words, "" = nothing. Raises OSError."""


@dataclass(frozen=True)
class Directory:
    """A directory, and its owner where that is not who installs. Undone only where it is empty."""

    path: Path
    mode: int
    owner: str = ""

    def wanted(self) -> str:
        if not self.path.is_dir():
            return f"make the directory {self.path}"
        if self.owner and self._owner_ids() != self._found_ids():
            return f"give {self.path} to {self.owner}"
        return ""

    def take(self) -> None:
        if not self.path.is_dir():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(self.mode)
            self.path.chmod(self.mode)  # whatever the umask is
        if self.owner:
            os.chown(self.path, *self._owner_ids())

    def undo(self) -> str:
        with suppress(OSError):
            self.path.rmdir()
            return f"removed {self.path}"
        return ""

    def _owner_ids(self) -> tuple[int, int]:
        try:
            return pwd.getpwnam(self.owner).pw_uid, grp.getgrnam(self.owner).gr_gid
        except KeyError:
            return -1, -1

    def _found_ids(self) -> tuple[int, int]:
        found = self.path.stat()
        return found.st_uid, found.st_gid


@dataclass(frozen=True)
class TextFile:
    """A file with a text. `is_first`: only where there is none; it is the operator's from then on."""

    path: Path
    text: str
    is_first: bool = False

    def wanted(self) -> str:
        found = self._found()
        if found is None:
            return f"write {self.path}"
        if self.is_first or found == self.text:
            return ""
        if self._is_ours(found):
            return f"replace {self.path}"
        return f"replace {self.path}, and keep what is there as {self._kept().name}"

    def take(self) -> None:
        found = self._found()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if found is not None and not self._is_ours(found):
            self.path.replace(self._kept())
        beside = self.path.with_name(f".{self.path.name}.new")
        beside.write_text(self.text)
        beside.chmod(0o644)
        beside.replace(self.path)

    def undo(self) -> str:
        found = self._found()
        if found is None or (self.is_first and found != self.text):
            return ""
        if found != self.text and not self._is_ours(found):
            return ""
        self.path.unlink()
        return f"removed {self.path}"

    def _found(self) -> str | None:
        try:
            return self.path.read_text(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CannotLay(f"{self.path}: {error.strerror}") from None

    def _is_ours(self, found: str) -> bool:
        return found.startswith(MARK) or not self.path.suffix.startswith((".service", ".socket"))

    def _kept(self) -> Path:
        return self.path.with_name(f"{self.path.name}.before")


@dataclass(frozen=True)
class Aside:
    """No file at a place where it would hide one that was laid; what is there is kept beside. A link
    stays: it is an operator's `systemctl mask`."""

    path: Path

    def wanted(self) -> str:
        if self.path.is_symlink() or not self.path.is_file():
            return ""
        return f"move {self.path} aside, which hides what was laid, as {self._kept().name}"

    def take(self) -> None:
        self.path.replace(self._kept())

    def undo(self) -> str:
        return ""

    def _kept(self) -> Path:
        return self.path.with_name(f"{self.path.name}.before")


@dataclass(frozen=True)
class Link:
    """The command on everybody's PATH. A file in its place that is no link is a package's."""

    path: Path
    target: Path

    def wanted(self) -> str:
        if self._is_right():
            return ""
        if self.path.is_symlink():
            return f"point {self.path} to {self.target} (was {os.readlink(self.path)})"
        if self.path.exists():
            raise CannotLay(
                f"{self.path} is there and is no link: another egressd is installed; remove it, or "
                "use its own `install`"
            )
        return f"link {self.path} to {self.target}"

    def take(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(self.target)
        beside.replace(self.path)

    def undo(self) -> str:
        if not self.path.is_symlink() or not self._is_right():
            return ""
        self.path.unlink()
        return f"removed {self.path}"

    def _is_right(self) -> bool:
        if self.path.is_symlink() and os.readlink(self.path) == str(self.target):
            return True
        return self.path.resolve() == self.target.resolve()


@dataclass(frozen=True)
class Act:
    """A command that changes the machine. `is_done` looks whether it is needed."""

    words: str
    command: tuple[str, ...]
    is_done: Callable[[], bool]
    undo_command: tuple[str, ...] = ()

    def wanted(self) -> str:
        return "" if self.is_done() else f"{self.words}: {' '.join(map(_quoted, self.command))}"

    def take(self) -> None:
        _run(self.command)

    def undo(self) -> str:
        if not self.undo_command or not self.is_done():
            return ""
        _run(self.undo_command)
        return " ".join(self.undo_command)


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def _run(command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CannotLay(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}"
        raise CannotLay(f"{' '.join(command)}: {said}")
