"""Replays the file operations that strace recorded, and keeps track of what would survive a power loss.

The model is POSIX, strictly. Content is safe if it was written before a sync of its file began, and that sync returned.
A name (created, renamed, unlinked) is safe if it existed when an fsync of its folder began. Everything else is dropped,
or, in the second kind of loss, kept or dropped by chance, write by write.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: The calls that change files or make changes safe. One that the replay does not know ends it with an error.
CALLS = (
    "openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,"
    "sync_file_range,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat,copy_file_range,sendfile,splice,"
    "mmap"
)

_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PLACE = re.compile(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})+)>(\(deleted\))?")
_UNFINISHED = "<unfinished ...>"


@dataclass
class Step:
    """One system call, with the lines of the record at which it began and ended."""

    begun: int
    ended: int
    name: str
    text: str

    @property
    def result(self) -> int:
        """Return what it returned, −1 for an error."""
        found = re.match(r"(-?\d+)", self.text.rpartition(" = ")[2])
        return int(found[1]) if found else -1

    @property
    def strings(self) -> list[bytes]:
        """Return its arguments in quotes."""
        return [_unhex(one) for one in _STRING.findall(self.text)]

    @property
    def place(self) -> str:
        """Return the file of its first descriptor, or "" if that has no name any more."""
        found = _PLACE.search(self.text)
        return "" if found is None or found[2] else _unhex(found[1]).decode(errors="replace")

    @property
    def returned_place(self) -> str:
        """Return the file of the descriptor that it returned."""
        found = _PLACE.search(self.text.rpartition(" = ")[2])
        return "" if found is None else _unhex(found[1]).decode(errors="replace")

    @property
    def last_number(self) -> int:
        """Return its last argument, which must be a number."""
        arguments = self.text.rpartition(") = ")[0] or self.text.rpartition(")  ")[0]
        return int(re.split(r"[ ,(]+", arguments.rstrip(" )"))[-1])


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def steps(record: Path) -> Iterator[Step]:
    """Yield the calls of a record in the order in which they returned."""
    open_calls: dict[str, tuple[int, str]] = {}
    with record.open(errors="replace") as file:
        for number, line in enumerate(file):
            if not line.endswith("\n"):  # strace was killed while it wrote this line
                return
            if begun := _BEGUN.match(line):
                pid, name, text = begun.groups()
                if _UNFINISHED in text:
                    open_calls[pid] = (number, text.replace(_UNFINISHED, ""))
                else:
                    yield Step(number, number, name, text)
            elif resumed := _RESUMED.match(line):
                pid, name, rest = resumed.groups()
                start, text = open_calls.pop(pid, (number, ""))
                yield Step(start, number, name, text + rest)


@dataclass
class Change:
    """One change of a file's content: bytes at an offset, or (None) a new length."""

    at: int
    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Make the change."""
        end = self.offset + len(self.data or b"")
        if self.data is None:
            del content[self.offset :]
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if self.data is not None:
            content[self.offset : end] = self.data


@dataclass
class Node:
    """A file: its safe content, and the changes since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    size: int = 0

    def change(self, at: int, offset: int, data: bytes | None) -> None:
        """Add a change."""
        self.pending.append(Change(at, offset, data))
        self.size = offset if data is None else max(self.size, offset + len(data))

    def sync(self, before: int) -> None:
        """Make the changes before that line of the record safe."""
        for change in self.pending:
            if change.at < before:
                change.apply(self.safe)
        self.pending = [change for change in self.pending if change.at >= before]

    def left(self, chance: random.Random | None) -> bytes:
        """Return the content after a loss: what is safe and, with `chance`, some of the rest."""
        content = bytearray(self.safe)
        for change in self.pending if chance is not None else ():
            if chance is not None and chance.random() < 0.5:
                change.apply(content)
        return bytes(content)


class Disk:
    """The files of a state directory, as the system shows them and as they are safe."""

    def __init__(self, home: Path) -> None:
        """Begin with the files that exist: they are safe."""
        self._home = str(home)
        self.names: dict[str, Node] = {}
        self.safe_names: dict[str, Node] = {}
        for path in home.rglob("*"):
            if path.is_file() and not self._is_scratch(str(path)):
                self.names[str(path)] = Node(bytearray(path.read_bytes()), [], path.stat().st_size)
        self.safe_names = dict(self.names)
        self.syncs = 0

    def _is_scratch(self, path: str) -> bool:
        """Return True for files that mean nothing after a loss: shared memory, locks, pipes, sockets."""
        return path.endswith(("-shm", ".lock", ".wake", ".sock", ".log")) or ".sock" in path or "/bus.new" in path

    def is_ours(self, path: str) -> bool:
        """Return True if a loss may change this file."""
        return path.startswith(self._home + "/") and not self._is_scratch(path)

    def take(self, step: Step) -> None:
        """Replay a call."""
        if step.result < 0:
            return
        handler = getattr(self, f"_do_{step.name}", None)
        if handler is not None:
            handler(step)
        elif any(self.is_ours(path) for path in (step.place, *(one.decode(errors="replace") for one in step.strings))):
            raise SystemExit(f"power-loss cannot replay {step.name}({step.text[:200]}")

    def _do_openat(self, step: Step) -> None:
        path = step.returned_place
        if not self.is_ours(path) or Path(path).is_dir():
            return
        if "O_CREAT" in step.text and path not in self.names:
            self.names[path] = Node()
        if "O_TRUNC" in step.text and path in self.names:
            self.names[path].change(step.ended, 0, None)

    def _do_pwrite64(self, step: Step) -> None:
        self._write(step, step.last_number)

    def _do_write(self, step: Step) -> None:
        if self.is_ours(step.place):
            self._write(step, self.names[step.place].size)

    def _write(self, step: Step, offset: int) -> None:
        if self.is_ours(step.place):
            self.names[step.place].change(step.ended, offset, step.strings[0][: step.result])

    def _do_sendfile(self, step: Step) -> None:
        if self.is_ours(step.place):
            source = _PLACE.findall(step.text)[1][0]
            data = Path(_unhex(source).decode()).read_bytes()[: step.result]
            self.names[step.place].change(step.ended, self.names[step.place].size, data)

    def _do_ftruncate(self, step: Step) -> None:
        if self.is_ours(step.place):
            self.names[step.place].change(step.ended, step.last_number, None)

    def _do_fallocate(self, step: Step) -> None:
        """Holes are punched only into the middle of long outputs, of which only the ends are checked."""

    def _do_fdatasync(self, step: Step) -> None:
        self._do_fsync(step)

    def _do_fsync(self, step: Step) -> None:
        path = step.place
        self.syncs += 1
        if path in self.names:
            self.names[path].sync(step.begun)
        elif path == self._home or path.startswith(self._home + "/"):
            self._sync_folder(path)

    def _sync_folder(self, folder: str) -> None:
        here = [name for name in {*self.names, *self.safe_names} if str(Path(name).parent) == folder]
        for name in here:
            if name in self.names:
                self.safe_names[name] = self.names[name]
            else:
                del self.safe_names[name]

    def _do_unlink(self, step: Step) -> None:
        self.names.pop(step.strings[0].decode(errors="replace"), None)

    def _do_unlinkat(self, step: Step) -> None:
        self._do_unlink(step)

    def _do_rename(self, step: Step) -> None:
        was, becomes = (one.decode(errors="replace") for one in step.strings[:2])
        if was in self.names:
            self.names[becomes] = self.names.pop(was)

    def _do_mkdir(self, step: Step) -> None:
        """Folders are created once, with the state directory: they count as old."""

    def _do_mmap(self, step: Step) -> None:
        if "MAP_SHARED" in step.text and "PROT_WRITE" in step.text and self.is_ours(step.place):
            raise SystemExit(f"{step.place} is written through memory, which strace does not record")

    def left(self, chance: random.Random | None) -> dict[str, bytes]:
        """Return the files after a loss, by relative paths; `chance` keeps some of what is not safe."""
        names = self.safe_names if chance is None else {**self.safe_names, **self.names}
        return {name.removeprefix(f"{self._home}/"): node.left(chance) for name, node in names.items()}
