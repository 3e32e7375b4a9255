"""Files that change while the adapter runs: certificates, tokens."""

from __future__ import annotations

import os
from pathlib import Path

from adapters.http.answer import HttpError
from egressd.api.secret import Secret


class WatchedFiles:
    """Files that are read again when one of them changed."""

    def __init__(self, *paths: str) -> None:
        self._paths = [path for path in paths if path]
        self._seen: list[tuple[int, int, int]] | None = None

    def changed(self) -> bool:
        """Whether a file differs from the last call; True the first time. Raises OSError."""
        now = [(s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._paths)]
        seen, self._seen = self._seen, now
        return seen != now


class Credential:
    """A token or password: given, or in a file that is read again when it changes; else none."""

    def __init__(self, value: Secret, file: str, what: str) -> None:
        """`what` is the secret's name in messages: "token"."""
        self._value = value
        self._file = file
        self._what = what
        self._watched = WatchedFiles(file)

    def read(self) -> Secret:
        """The secret to send now; an empty one = there is none. A file that cannot be read is an error,
        never "no secret": an anonymous answer would look like an empty source. Raises `HttpError`."""
        if self._file:
            try:
                if self._watched.changed():
                    self._value = Secret(Path(self._file).read_text().strip())
            except (OSError, UnicodeDecodeError) as error:
                self._watched = WatchedFiles(self._file)
                said = error.strerror if isinstance(error, OSError) else "not UTF-8"
                raise HttpError(f"{self._what} file {self._file}: {said}") from error
            if not self._value:
                self._watched = WatchedFiles(self._file)
                raise HttpError(
                    f"{self._what} file {self._file}: found nothing, expected a {self._what}"
                )
        text = self._value.reveal()
        if not (text.isascii() and text.isprintable() and text == text.strip()):
            raise HttpError(
                f"the {self._what}: found control or foreign characters, or spaces around it, "
                "expected ASCII"
            )
        return self._value
