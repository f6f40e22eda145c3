"""What strace saw of a home's files, and what of it outlives a power loss.

The model is POSIX, strictly: of a file's content only that is safe which was written before an fsync or fdatasync of it
began and which that sync returned from; of a name (made, renamed, unlinked) only what was there when an fsync of its
folder
began. Everything else is dropped, or, in the second kind of loss, kept or dropped write by write, by chance.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: The calls that change files or make changes safe. One that is not understood ends the replay with an error.
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
    """One system call: between which lines of the record it was made, and what it was."""

    begun: int
    ended: int
    name: str
    text: str

    @property
    def result(self) -> int:
        """What it returned; −1 for an error."""
        found = re.match(r"(-?\d+)", self.text.rpartition(" = ")[2])
        return int(found[1]) if found else -1

    @property
    def strings(self) -> list[bytes]:
        """Its arguments in quotes."""
        return [_unhex(one) for one in _STRING.findall(self.text)]

    @property
    def place(self) -> str:
        """The file of its first descriptor; "" where that has no name any more."""
        found = _PLACE.search(self.text)
        return "" if found is None or found[2] else _unhex(found[1]).decode(errors="replace")

    @property
    def returned_place(self) -> str:
        """The file of the descriptor that it returned."""
        found = _PLACE.search(self.text.rpartition(" = ")[2])
        return "" if found is None else _unhex(found[1]).decode(errors="replace")

    @property
    def last_number(self) -> int:
        """Its last argument, where that is a number."""
        arguments = self.text.rpartition(") = ")[0] or self.text.rpartition(")  ")[0]
        return int(re.split(r"[ ,(]+", arguments.rstrip(" )"))[-1])


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def steps(record: Path) -> Iterator[Step]:
    """The calls of a record, in the order in which they returned."""
    open_calls: dict[str, tuple[int, str]] = {}
    with record.open(errors="replace") as file:
        for number, line in enumerate(file):
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
        """Make it."""
        end = self.offset + len(self.data or b"")
        if self.data is None:
            del content[self.offset :]
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if self.data is not None:
            content[self.offset : end] = self.data


@dataclass
class Node:
    """A file: what is safe of it, and what has been done to it since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    size: int = 0

    def change(self, at: int, offset: int, data: bytes | None) -> None:
        """Note a change."""
        self.pending.append(Change(at, offset, data))
        self.size = offset if data is None else max(self.size, offset + len(data))

    def sync(self, before: int) -> None:
        """All that was done before is safe now."""
        for change in self.pending:
            if change.at < before:
                change.apply(self.safe)
        self.pending = [change for change in self.pending if change.at >= before]

    def left(self, chance: random.Random | None) -> bytes:
        """What a loss leaves: what is safe and, by chance, some of the rest."""
        content = bytearray(self.safe)
        for change in self.pending if chance is not None else ():
            if chance is not None and chance.random() < 0.5:
                change.apply(content)
        return bytes(content)


class Disk:
    """A home's files, as the system shows them and as they are safe."""

    def __init__(self, home: Path) -> None:
        """Begin with what is there: it has been safe for long."""
        self._home = str(home)
        self.names: dict[str, Node] = {}
        self.safe_names: dict[str, Node] = {}
        for path in home.rglob("*"):
            if path.is_file() and not self._is_scratch(str(path)):
                self.names[str(path)] = Node(bytearray(path.read_bytes()), [], path.stat().st_size)
        self.safe_names = dict(self.names)
        self.syncs = 0

    def _is_scratch(self, path: str) -> bool:
        """What no loss can touch, since it means nothing after one: shared memory, locks, pipes, sockets."""
        return path.endswith(("-shm", ".lock", ".wake", ".sock", ".log")) or ".sock" in path or "/bus.new" in path

    def _ours(self, path: str) -> bool:
        return path.startswith(self._home + "/") and not self._is_scratch(path)

    def take(self, step: Step) -> None:
        """Do what a call did."""
        if step.result < 0:
            return
        handler = getattr(self, f"_do_{step.name}", None)
        if handler is not None:
            handler(step)
        elif any(self._ours(path) for path in (step.place, *(one.decode(errors="replace") for one in step.strings))):
            raise SystemExit(f"power-loss does not understand {step.name}({step.text[:200]}")

    def _do_openat(self, step: Step) -> None:
        path = step.returned_place
        if not self._ours(path) or Path(path).is_dir():
            return
        if "O_CREAT" in step.text and path not in self.names:
            self.names[path] = Node()
        if "O_TRUNC" in step.text and path in self.names:
            self.names[path].change(step.ended, 0, None)

    def _do_pwrite64(self, step: Step) -> None:
        self._write(step, step.last_number)

    def _do_write(self, step: Step) -> None:
        if self._ours(step.place):
            self._write(step, self.names[step.place].size)

    def _write(self, step: Step, offset: int) -> None:
        if self._ours(step.place):
            self.names[step.place].change(step.ended, offset, step.strings[0][: step.result])

    def _do_sendfile(self, step: Step) -> None:
        if self._ours(step.place):
            source = _PLACE.findall(step.text)[1][0]
            data = Path(_unhex(source).decode()).read_bytes()[: step.result]
            self.names[step.place].change(step.ended, self.names[step.place].size, data)

    def _do_ftruncate(self, step: Step) -> None:
        if self._ours(step.place):
            self.names[step.place].change(step.ended, step.last_number, None)

    def _do_fallocate(self, step: Step) -> None:
        """Holes are punched only into the middle of long outputs, whose ends are what counts."""

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
        """Folders are made once, when a home is: they count as old."""

    def _do_mmap(self, step: Step) -> None:
        if "MAP_SHARED" in step.text and "PROT_WRITE" in step.text and self._ours(step.place):
            raise SystemExit(f"{step.place} is written through memory: this record does not show it")

    def left(self, chance: random.Random | None) -> dict[str, bytes]:
        """The files after a loss: the strict one, or one where chance kept some of what was not safe."""
        names = self.safe_names if chance is None else {**self.safe_names, **self.names}
        return {name: node.left(chance) for name, node in names.items()}
