"""Makes the transcripts in README.md and docs/ by running their commands, each document in a temporary project.

`<!-- transcript -->` blocks hold commands (`$ …`), which are run one after another, each in a terminal.
`<!-- conversation -->` blocks hold messages over the socket, `<!-- file: PATH -->` blocks the content of a file.
Ids, times, process numbers and folders differ from run to run and are replaced by fixed ones. A block whose program is
not installed is left unchanged.
"""

from __future__ import annotations

import difflib
import json
import os
import pty
import random
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

from backburner.ipc.api.control import program

ROOT = Path(__file__).resolve().parents[2]

#: The columns of the terminal that the commands see.
COLUMNS = 110
#: Seconds after which a command or an answer is given up.
TIMEOUT = 30.0
#: What stands for the project folder, for all times, and for the first process.
FOLDER, DATE, HOUR, FIRST_PID = "/home/me/project", "2026-01-31T09:30:00.000Z", "09:30:00", 4711

BLOCK = re.compile(r"(<!-- (transcript|conversation|file: \S+) -->\n```\w*\n)(.*?)```\n", re.DOTALL)
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

#: Does what `nc -U` does, where that is not installed.
NETCAT = """
import os, select, socket, sys
bus = socket.socket(socket.AF_UNIX)
bus.connect(sys.argv[1])
while True:
    ready = select.select([0, bus], [], [])[0]
    if 0 in ready:
        if not (data := os.read(0, 65536)):
            break
        bus.sendall(data)
    if bus in ready:
        if not (data := bus.recv(65536)):
            break
        os.write(1, data)
"""


class Normaliser:
    """Replaces everything that differs from run to run by something fixed."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self._ids: dict[str, str] = {}
        self._pids: dict[str, int] = {}

    def command(self, command: str) -> str:
        """Return a command that can be run: ids of the document are replaced by those of this run."""
        for own, shown in self._ids.items():
            command = command.replace(shown, own).replace(shown[:8], own[:8])
        return command

    def add(self, ids: list[str]) -> None:
        """Assign fixed ids to these, in this order."""
        for own in ids:
            if own not in self._ids:
                chance = random.Random(len(self._ids))
                self._ids[own] = str(uuid.UUID(int=chance.getrandbits(128), version=4))

    def normalise(self, text: str) -> str:
        """Return a text that is the same in every run."""
        text = text.replace(str(self.project), FOLDER)
        self.add(re.findall(UUID, text))
        for own, shown in self._ids.items():
            text = re.sub(rf"\b{own[:8]}(?:{own[8:]})?\b", lambda found, new=shown: new[: len(found[0])], text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", DATE, text)
        text = re.sub(r"\b\d\d:\d\d:\d\d\b", HOUR, text)
        text = re.sub(r"(?m)^(size +)[\d.]+ .B$", r"\g<1>283 kB", text)
        text = re.sub(r'(\bpid "?|"pid": ?)(\d+)', lambda found: found[1] + self.pid(found[2]), text)
        return "\n".join(self._aligned(text.split("\n")))

    def pid(self, own: str) -> str:
        """Return the number that stands for a process."""
        return str(self._pids.setdefault(own, FIRST_PID + len(self._pids)))

    def _aligned(self, lines: list[str]) -> Iterator[str]:
        """Yield the lines; in tables, cells are normalised, and columns as wide as they need to be."""
        while lines:
            end = 1
            if re.fullmatch(r"[A-Z]+(?: [A-Z]+)*(?: {2,}[A-Z]+(?: [A-Z]+)*)+", lines[0]):
                end = next((place for place, line in enumerate(lines) if not line), len(lines))
                lines[:end] = self._table(lines[:end])
            yield from lines[:end]
            del lines[:end]

    def _table(self, lines: list[str]) -> list[str]:
        starts = [found.start() for found in re.finditer(r"(?:^|(?<= {2}))[A-Z]", lines[0])]
        ends = [*starts[1:], None]
        rows = [[line[a:b].strip() for a, b in zip(starts, ends, strict=True)] for line in lines]
        kept = [place for place, head in enumerate(rows[0]) if head != "WAITED"]  # it is there if the machine is slow
        rows, starts = [[row[place] for place in kept] for row in rows], [starts[place] for place in kept]
        rows[1:] = [[self._cell(*pair) for pair in zip(rows[0], row, strict=True)] for row in rows[1:]]
        widths = [max(len(row[place]) for row in rows) for place in range(len(starts))]
        padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
        return ["  ".join(row).rstrip() for row in padded]

    def _cell(self, head: str, text: str) -> str:
        if head == "WORKER":
            return self.pid(text)
        return re.sub(r"^\d+ s$", "2 s", re.sub(r"^\d+ ms$", "12 ms", text)) if head == "TOOK" else text


class Sandbox:
    """A temporary project in which commands are run."""

    def __init__(self, project: Path) -> None:
        """Let commands find the `backburner` and `python` of this script."""
        self.project = project
        self.normaliser = Normaliser(project)
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        self.environment = kept | {
            "PATH": os.pathsep.join([str(project / "bin"), os.environ["PATH"]]),
            "XDG_CONFIG_HOME": str(project / "xdg"),
            "XDG_STATE_HOME": str(project / "xdg-state"),
            "TERM": "xterm",
            "NO_COLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }

    def run(self, command: str) -> str:
        """Run a command, and return what a terminal shows."""
        master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        words = ["bash", "-c", self.normaliser.command(command)]
        streams: dict[str, Any] = {"stdin": slave, "stdout": slave, "stderr": slave}
        process = subprocess.Popen(words, cwd=self.project, env=self.environment, start_new_session=True, **streams)
        os.close(slave)
        try:
            text = _read_all(master)
            process.wait(TIMEOUT)
        finally:
            process.kill()
            os.close(master)
        self._add_tasks(text)
        return self.normaliser.normalise(_as_seen(text))

    def converse(self) -> str:
        """Subscribe, launch, receive and acknowledge over the socket."""
        self.run("backburner flush")  # so that no other batch is formed meanwhile
        path = ".backburner/bus.sock"
        words = ["nc", "-U", path] if shutil.which("nc") else [sys.executable, "-c", NETCAT, path]
        with subprocess.Popen(
            words, cwd=self.project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment
        ) as netcat:
            conversation = Conversation(netcat)
            conversation.run()
            netcat.kill()
        return self.normaliser.normalise(f"$ nc -U {path}\n" + "".join(conversation.lines))

    def _add_tasks(self, text: str) -> None:
        """Assign fixed IDs to tasks in the order of their launch, whatever is shown first.

        A task that has a slot starts before the next command, as if a person typed it.
        """
        if re.search(r"\b[0-9a-f]{8}\b", text):
            until = time.monotonic() + TIMEOUT
            while any(map(_starts_soon, tasks := self._tasks())) and time.monotonic() < until:
                continue
            self.normaliser.add([task["id"].removeprefix("bg-") for task in reversed(tasks)])

    def _tasks(self) -> list[dict[str, Any]]:
        words = program("--home", str(self.project / ".backburner"), "list", "--json")
        listed = subprocess.run(words, capture_output=True, check=True, env=self.environment, timeout=TIMEOUT)
        tasks: list[dict[str, Any]] = json.loads(listed.stdout)
        return tasks


def _starts_soon(task: dict[str, Any]) -> bool:
    return task["status"] == "pending" and task["waitingFor"] is None


class Conversation:
    """The lines that are typed into `nc`, and those that arrive."""

    def __init__(self, netcat: subprocess.Popen[bytes]) -> None:
        self._netcat = netcat
        self._last: dict[str, Any] = {}
        self.lines: list[str] = []

    def run(self) -> None:
        """Hold the whole conversation."""
        self.send(1, "subscribe", {"parentSessionId": "ses-2"})
        self.receive_until(lambda message: message.get("id") == 1)
        self.send(2, "launch", {"command": ["echo", "hi"], "model": "opus", "parentSessionId": "ses-2"})
        self.receive_until(lambda message: message.get("method") == "background_tasks_batch")
        self.send(3, "ack", {"parentSessionId": "ses-2", "seq": self._last["params"]["seq"]})
        self.receive_until(lambda message: message.get("id") == 3)
        self.send(4, "launch", {"comand": ["echo", "hi"]})
        self.receive_until(lambda message: message.get("id") == 4)

    def send(self, number: int, method: str, params: dict[str, Any]) -> None:
        """Send a request."""
        line = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n"
        assert self._netcat.stdin is not None
        self._netcat.stdin.write(line.encode())
        self._netcat.stdin.flush()
        self.lines.append(f"→ {line}")

    def receive_until(self, last: Callable[[dict[str, Any]], bool]) -> None:
        """Receive messages up to the one that `last` accepts."""
        assert self._netcat.stdout is not None
        while not (self._last and last(self._last)):
            if not select.select([self._netcat.stdout], [], [], TIMEOUT)[0]:
                raise TimeoutError(f"no message arrived within {TIMEOUT} s after {self.lines[-1]}")
            line = _read_line(self._netcat.stdout.fileno())
            self._last = json.loads(line)
            self.lines.append(f"← {_shortened(self._last)}\n")


def _read_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(descriptor, 1)
        if not data:
            raise EOFError("the server closed the connection")
        line += data
    return line


def _shortened(message: dict[str, Any]) -> str:
    """Return a message with an ellipsis in place of its long parts."""
    result, params = message.get("result", {}), message.get("params", {})
    if "tasks" in params:
        message = {**message, "params": {**params, "tasks": ["…"]}}
    if "concurrencyKey" in result:
        message = {**message, "result": {"id": result["id"], "concurrencyKey": result["concurrencyKey"], "…": "…"}}
    return json.dumps(message, ensure_ascii=False).replace('"…": "…"', "…").replace('"…"', "…")


def _read_all(master: int) -> str:
    """Return what is written to a terminal until its last user has closed it."""
    data = bytearray()
    while True:
        if not select.select([master], [], [], TIMEOUT)[0]:
            raise TimeoutError(f"no message arrived within {TIMEOUT} s after {bytes(data[-200:])!r}")
        try:
            piece = os.read(master, 65536)
        except OSError:  # on Linux this is how a terminal ends
            piece = b""
        if not piece:
            return data.decode()
        data += piece


def _as_seen(text: str) -> str:
    """Return what the screen shows in the end."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r\n", "\n"))
    return "\n".join(line.rpartition("\r")[2].rstrip() for line in text.split("\n"))


def content(kind: str, block: str, sandbox: Sandbox) -> str:
    """Return the current content of a block."""
    if kind.startswith("file: "):
        return (ROOT / kind.removeprefix("file: ")).read_text()
    if kind == "conversation":
        return sandbox.converse()
    commands = [line for line in block.splitlines() if line.startswith("$ ")]
    if not all(shutil.which(command.split()[1], path=sandbox.environment["PATH"]) for command in commands):
        return block
    return "".join(f"{command}\n{sandbox.run(command[2:])}" for command in commands)


@contextmanager
def created_sandbox() -> Iterator[Sandbox]:
    """Create a project with the examples, and end everything that was started in it."""
    project = Path(tempfile.mkdtemp(prefix="bb-", dir="/tmp")).resolve()
    (project / ".git").mkdir()
    shutil.copytree(ROOT / "examples", project / "examples")
    _provide(project / "bin", "backburner", program())
    _provide(project / "bin", "python", [sys.executable])
    try:
        yield Sandbox(project)
    finally:
        down = program("--home", str(project / ".backburner"), "down", "--now")
        subprocess.run(down, capture_output=True, check=False, timeout=TIMEOUT)
        shutil.rmtree(project)


def _provide(folder: Path, name: str, command: list[str]) -> None:
    """Create a command."""
    import shlex

    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    (folder / name).chmod(0o755)


def updated(text: str) -> str:
    """Return a document with all its blocks made by running them."""
    with created_sandbox() as sandbox:

        def block(found: re.Match[str]) -> str:
            return f"{found[1]}{content(found[2], found[3], sandbox)}```\n"

        return BLOCK.sub(block, text)


def main(arguments: list[str]) -> int:
    """Return the exit code: with `--check` 1 if a document differs from what its commands print."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    transcribed = [path for path in paths if BLOCK.search(path.read_text())]
    return max([_update(path, "--check" in arguments) for path in transcribed])


def _update(path: Path, only_check: bool) -> int:
    old = path.read_text()
    new = updated(old)
    if not only_check:
        path.write_text(new)
        return 0
    names = (str(path), f"{path} as scripts/transcript makes it")
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), *names))
    return int(old != new)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
