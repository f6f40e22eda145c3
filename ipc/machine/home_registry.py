"""The list of all state directories in which this user has started a supervisor.

Each has one file, named by its device and inode, with its path and the boot in which it was written. An entry counts
only while the folder at that path has that inode. Device numbers may change at a boot.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..failpoints import failpoint
from ..home import Home
from .identity import boot_id
from .state_folder import prepare_state_folder, state_folder

FOLDER = "homes"


def register(home: Home) -> None:
    """Record a home. If the user's state folder cannot be written, do nothing."""
    with suppress(OSError):
        status = home.folder.stat()
        path = prepare_state_folder(FOLDER) / f"{status.st_dev}-{status.st_ino}"
        content = os.fsencode(f"{home.folder}\n{boot_id()}\n")
        if not (path.is_file() and path.read_bytes() == content):
            _replace(path, content)


def registered() -> list[Home]:
    """Return the homes that still exist, in the order of their paths. Entries of other folders are deleted."""
    try:
        entries = sorted((state_folder() / FOLDER).iterdir())
    except OSError:
        return []
    homes = {home.folder: home for home in _existing(entries)}
    return [homes[folder] for folder in sorted(homes)]


def _existing(entries: list[Path]) -> Iterator[Home]:
    for entry in entries:
        if entry.suffix:  # an entry that a process is writing, or died while writing
            continue
        with suppress(OSError):
            home = _home_in(entry)
            if home is not None:
                yield home
            else:
                with failpoint("registry.unlink"):
                    entry.unlink(missing_ok=True)


def _home_in(entry: Path) -> Home | None:
    """Return the home of an entry, or None if its folder is gone or was replaced. Raises OSError."""
    device, _, inode = entry.name.partition("-")
    folder, _, boot = os.fsdecode(entry.read_bytes()).rstrip("\n").rpartition("\n")
    try:
        status = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    same_device = str(status.st_dev) == device or boot != boot_id()
    return Home(Path(folder)) if str(status.st_ino) == inode and same_device else None


def _replace(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_bytes(content)
    with failpoint("registry.rename"):
        os.rename(new, path)
