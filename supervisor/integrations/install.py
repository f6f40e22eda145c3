"""Change the files of a client, and restore them."""

from __future__ import annotations

import base64
import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ipc.errors import InvalidInput, Permanent
from ...ipc.failpoints import failpoint
from ...ipc.validation import ListOf, MapOf, Nullable, Record, Text
from .client_files import File

_BASE64 = Text(pattern="(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", expected="base64")
#: By path, the file before the first change (null if it did not exist), its digest after the last change, and the
#: folders that were created for it, outermost first.
_COPIES = MapOf(
    Record(
        "copy",
        {"before": Nullable(_BASE64), "after": Text(), "folders": ListOf(Text())},
        required=("before", "after"),
    )
)


@dataclass(frozen=True)
class Change:
    """The bytes of a file before and after a change. None means that the file does not exist."""

    path: Path
    before: bytes | None
    after: bytes | None

    def diff(self) -> str:
        """Return the change as a unified diff."""
        old, new = (
            (text or b"").decode(errors="replace").splitlines(keepends=True) for text in (self.before, self.after)
        )
        before = os.devnull if self.before is None else str(self.path)
        lines = difflib.unified_diff(old, new, before, str(self.path))
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def make(self) -> None:
        """Change the file atomically. Its mode and links to it are kept. Raises Permanent."""
        try:
            if self.after is None:
                with failpoint("setup.unlink"):
                    self.path.unlink(missing_ok=True)
            else:
                _replace(self.path, self.after)
        except OSError as error:
            raise Permanent(f"cannot change {self.path}: {error.strerror}") from error


class Setup:
    """The files of one client, and copies of the originals."""

    def __init__(self, client: str, files: Sequence[File], state: Path) -> None:
        """Keep the copies in the folder `state`."""
        self._files = files
        self._copies = KeptCopies(state / f"install-{client}.json")

    def additions(self) -> list[Change]:
        """Return the changes that add the missing entries. Raises Permanent."""
        return [change for file in self._files if (change := _addition(file)).before != change.after]

    def add(self, changes: Sequence[Change]) -> None:
        """Make the changes, after keeping a copy of each file. Raises Permanent."""
        for change in changes:
            self._copies.keep(change, self._original(change))
            change.make()

    def removals(self) -> list[Change]:
        """Return the changes that remove our entries. Raises Permanent.

        A file that has not changed since `add` gets its kept copy back, byte for byte.
        """
        paths = [(file, _real(path)) for file in self._files for path in (file.path, *file.elsewhere)]
        return [change for file, path in paths if (change := self._removal(file, path)).before != change.after]

    def remove(self, changes: Sequence[Change]) -> None:
        """Make the changes, and delete the folders that `add` created and that are empty, and the kept copies.

        Without changes, this ends a removal that was interrupted. Raises Permanent.
        """
        for change in changes:
            change.make()
        folders = self._copies.folders()
        _remove_empty(folders)
        self._copies.delete()
        _remove_empty(folders)  # those of the copies

    def _original(self, change: Change) -> bytes | None:
        """Return the file before our first change. If it has changed since then, return it without our entries."""
        if change.before is None or not self._copies.has(change.path):
            return change.before
        (file,) = (file for file in self._files if _real(file.path) == change.path)
        return self._removal(file, change.path).after

    def _removal(self, file: File, path: Path) -> Change:
        now = _read(path)
        if now is None or self._copies.is_unchanged(path, now):
            return Change(path, now, None if now is None else self._copies.before(path))
        return Change(path, now, _edited(path, now, file.without_ours))


class KeptCopies:
    """Copies of a client's files, made before the files were changed."""

    def __init__(self, path: Path) -> None:
        """Store the copies in the file `path`."""
        self._path = path

    def keep(self, change: Change, before: bytes | None) -> None:
        """Keep a copy of a file that is about to be changed."""
        known = self._all()
        created = [*known.get(str(change.path), {}).get("folders", [])]
        created += [folder for folder in _missing(change.path, self._path) if folder not in created]
        copies = known | {
            str(change.path): {
                "before": None if before is None else base64.b64encode(before).decode(),
                "after": _digest(change.after or b""),
                "folders": created,
            }
        }
        _replace(self._path, json.dumps(copies, indent=2).encode())

    def has(self, path: Path) -> bool:
        """Return True if there is a copy of the file."""
        return str(path) in self._all()

    def is_unchanged(self, path: Path, now: bytes) -> bool:
        """Return True if the file has not changed since our last change."""
        return self.has(path) and self._all()[str(path)]["after"] == _digest(now)

    def before(self, path: Path) -> bytes | None:
        """Return the copy of the file, or None if it did not exist."""
        before = self._all()[str(path)]["before"]
        return None if before is None else base64.b64decode(before)

    def folders(self) -> list[str]:
        """Return the folders that were created, innermost first."""
        folders = {folder for copy in self._all().values() for folder in copy.get("folders", [])}
        return sorted(folders, key=len, reverse=True)

    def delete(self) -> None:
        """Delete all copies."""
        with failpoint("setup.forget"):
            self._path.unlink(missing_ok=True)

    def _all(self) -> dict[str, Any]:
        data = _read(self._path)
        try:
            return {} if data is None else _COPIES.check(json.loads(data))
        except (ValueError, RecursionError, InvalidInput) as error:
            raise Permanent(
                f"{self._path} is damaged, so the original files are unknown ({error}). Delete it: then --undo removes"
                " the entries of backburner and keeps everything else as it is now"
            ) from None


def state_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Return the user's folder for the state of programs."""
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "backburner"


def _addition(file: File) -> Change:
    path = _real(file.path)
    before = _read(path)
    return Change(path, before, _edited(path, before or b"", file.with_ours))


def _edited(path: Path, text: bytes, edit: Callable[[str], str]) -> bytes:
    crlf = 0 < text.count(b"\r\n") == text.count(b"\n")
    try:
        edited = edit(text.decode().replace("\r\n", "\n") if crlf else text.decode())
    except (ValueError, RecursionError) as error:
        raise Permanent(f"cannot edit {path}, which is unchanged: {error}") from error
    return (edited.replace("\n", "\r\n") if crlf else edited).encode()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Permanent(f"cannot read {path}: {error.strerror}") from error


def _missing(*files: Path) -> list[str]:
    """Return the folders that have to be created for files, outermost first."""
    folders = [folder for file in files for folder in reversed(file.parents) if not folder.exists()]
    return [str(folder) for folder in folders]


def _remove_empty(folders: Sequence[str]) -> None:
    for folder in folders:
        with suppress(OSError), failpoint("setup.rmdir"):  # it has other files, or is gone
            os.rmdir(folder)


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _replace(path: Path, text: bytes) -> None:
    """Write a temporary file, sync it and rename it over the path."""
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
