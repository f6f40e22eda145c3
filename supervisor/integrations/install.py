"""Changing the files of a client, and changing them back."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ipc.errors import InvalidInput, Permanent
from ...ipc.failpoints import failpoint
from ...ipc.validation import MapOf, Nullable, Record, Text
from .client_files import File

_BASE64 = Text(pattern="(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", expected="base64")
#: How each file was before it was changed (null: it was not there), and what it was changed to, by its digest.
_NOTES = MapOf(Record("note", {"before": Nullable(_BASE64), "after": Text()}, required=("before", "after")))


@dataclass(frozen=True)
class Change:
    """A file as it is (None: it is not there) and as it is to be."""

    path: Path
    before: bytes | None
    after: bytes | None

    def diff(self) -> str:
        """What changes, for people."""
        old, new = (b"" if text is None else text for text in (self.before, self.after))
        names = (str(self.path) if self.before is not None else os.devnull, str(self.path))
        lines = [text.decode(errors="replace").splitlines(keepends=True) for text in (old, new)]
        found = difflib.unified_diff(lines[0], lines[1], *names)
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)

    def make(self) -> None:
        """Have the file be so, whole or not at all; its mode stays, and links to it. Raises Permanent."""
        try:
            if self.after is None:
                with failpoint("setup.unlink"):
                    self.path.unlink(missing_ok=True)
            else:
                _replace(self.path, self.after)
        except OSError as error:
            raise Permanent(f"{self.path} cannot be changed: {error.strerror}.") from error


class Setup:
    """One client's files, and the memory of how they were."""

    def __init__(self, client: str, files: Sequence[File], state: Path) -> None:
        """`state` is the folder where the memory is kept."""
        self._files = files
        self._memory = Memory(state / f"install-{client}.json")

    def additions(self) -> list[Change]:
        """What is to be changed; nothing where all is there. Raises Permanent, where a file cannot be read."""
        return [change for file in self._files if (change := _addition(file)).before != change.after]

    def add(self, changes: Sequence[Change]) -> None:
        """Make the changes, remembering before each how its file was. Raises Permanent."""
        for change in changes:
            self._memory.remember(change, self._before_us(change))
            change.make()

    def removals(self) -> list[Change]:
        """What is changed back: a file that nobody changed since is as it was, byte for byte. Raises Permanent."""
        places = [(file, _real(path)) for file in self._files for path in (file.path, *file.elsewhere)]
        return [change for file, path in places if (change := self._removal(file, path)).before != change.after]

    def remove(self, changes: Sequence[Change]) -> None:
        """Change them back, and forget how they were. Raises Permanent."""
        for change in changes:
            change.make()
        self._memory.forget()

    def _before_us(self, change: Change) -> bytes | None:
        """How a file was before the first change of ours, or, where others changed it since, how it is without ours."""
        if change.before is None or not self._memory.has(change.path):
            return change.before
        known, then = self._memory.of(change.path, change.before)
        if known:
            return then
        (file,) = (file for file in self._files if _real(file.path) == change.path)
        return _edited(change.path, change.before, file.without_ours)

    def _removal(self, file: File, path: Path) -> Change:
        now = _read(path)
        if now is None:
            return Change(path, None, None)
        known, then = self._memory.of(path, now)
        if known:
            return Change(path, now, then)
        return Change(path, now, _edited(path, now, file.without_ours))


class Memory:
    """How the files of a client were before they were changed."""

    def __init__(self, path: Path) -> None:
        """Keep it in that file."""
        self._path = path

    def remember(self, change: Change, before: bytes | None) -> None:
        """Note a change that will be made, and how the file was before us (None: it was not there)."""
        notes = self._notes() | {
            str(change.path): {
                "before": None if before is None else base64.b64encode(before).decode(),
                "after": _digest(change.after or b""),
            }
        }
        _replace(self._path, json.dumps(notes, indent=2).encode())

    def has(self, path: Path) -> bool:
        """Whether a file was changed by us."""
        return str(path) in self._notes()

    def of(self, path: Path, now: bytes) -> tuple[bool, bytes | None]:
        """Whether a file is as we left it; and how it was before us (None: it was not there)."""
        note = self._notes().get(str(path))
        if note is None or note["after"] != _digest(now):
            return False, None
        return True, None if note["before"] is None else base64.b64decode(note["before"])

    def forget(self) -> None:
        """All is as it was."""
        with failpoint("setup.forget"):
            self._path.unlink(missing_ok=True)

    def _notes(self) -> dict[str, Any]:
        found = _read(self._path)
        try:
            notes: dict[str, Any] = {} if found is None else _NOTES.check(json.loads(found))
        except (ValueError, RecursionError, InvalidInput) as error:
            raise Permanent(
                f"{self._path} is damaged, so how the files were before is not known ({error}). Delete it: then --undo"
                " takes out what was added, and leaves the rest as it is now."
            ) from None
        return notes


def _addition(file: File) -> Change:
    path = _real(file.path)
    before = _read(path)
    after = _edited(path, before or b"", file.with_ours)
    return Change(path, before, after)


def _edited(path: Path, text: bytes, edit: Callable[[str], str]) -> bytes:
    end = _line_end(text)
    try:
        found = edit(text.decode().replace(end, "\n"))
    except (ValueError, RecursionError) as error:
        raise Permanent(f"{path} was left as it is: {error}.") from error
    return found.replace("\n", end).encode()


def _line_end(text: bytes) -> str:
    """How all lines end; where they end in different ways, every one stays as it is."""
    return "\r\n" if 0 < text.count(b"\r\n") == text.count(b"\n") else "\n"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Permanent(f"{path} cannot be read: {error.strerror}.") from error


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _replace(path: Path, text: bytes) -> None:
    """Write beside, sync, rename over."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o600
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        with failpoint("setup.rename"):
            os.replace(name, path)
    except BaseException:
        with failpoint("setup.clean"):
            os.unlink(name)
        raise


def state_folder(environ: dict[str, str], home: Path) -> Path:
    """Where programs keep what they remember of a user."""
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "backburner"


def diffs(changes: Sequence[Change]) -> Iterator[str]:
    """All changes, for people."""
    return (change.diff() for change in changes)
