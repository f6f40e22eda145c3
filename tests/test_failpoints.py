"""Every place where a process does what others see has a name, at which it can be killed; no new one is forgotten."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

from backburner.ipc.failpoints import WATCH, failpoint
from tests.helpers.places import IMPORT_ROOT, IPC, SUPERVISOR

#: Functions by which a process starts, signals, sends, renames, unlinks or writes in place.
FUNCTIONS = frozenset(
    "os.fork os.forkpty os.posix_spawn os.posix_spawnp os.execv os.execve os.kill os.killpg os.unlink os.remove"
    " os.rmdir os.rename os.replace os.link os.symlink os.mkfifo os.write os.pwrite os.truncate os.ftruncate"
    " os.sendfile"
    " signal.pidfd_send_signal socket.send_fds subprocess.Popen subprocess.run shutil.copyfile shutil.copy shutil.move"
    " shutil.rmtree".split()
)

#: The same as methods, of whatever object.
METHODS = frozenset(
    "send sendall sendto sendmsg unlink rename rmdir symlink_to hardlink_to write_text write_bytes"
    " backup send_signal terminate kill".split()
)

#: The statements that end a transaction.
ENDS = ("COMMIT",)

#: Places without a failpoint, by module and function, and why that is right.
EXCEPTIONS = {
    "ipc.store.importer Importer._copy write_bytes": "a file with a new name, that only the commit makes known",
    "ipc.bus.connection Call._finish send": "goes to Connection.send, whose bytes leave in _write",
    "ipc.store.sqlite.file.database Database.read COMMIT": "ends a reading: nothing is written",
    "ipc.failpoints Watch.reached os.kill": "the killing itself",
    "ipc.failpoints _append os.write": "the watch's own notes",
    "supervisor.system.children _ask subprocess.Popen": "its caller has the failpoint: agents.ask",
    "supervisor.system.children _first_line kill": "a program of somebody else's that was asked for its version",
    "supervisor.pool.fork_server_client ForkServerClient._send send": "goes to ControlLine.send",
    "supervisor.fork_server ForkServer._report send": "goes to ControlLine.send",
    "supervisor.execution.runner.wire send_hello socket.send_fds": "its caller has the failpoint: runner.hello",
    "supervisor.execution.runner.wire send_hello sendall": "the same message, if it was sent in part",
    "supervisor.execution.journal Journal._append os.*": "its callers have the failpoints: journal.start, journal.end",
    "supervisor.execution.attempt CallAttempt.start send": "goes to Runner.send",
    "supervisor.execution.series CallSeries._send send": "goes to Runner.send",
    "ipc.store.sqlite.file.group_commit GroupCommit._set os.pwrite": "saves a sync; each commit has a failpoint",
}


class Place(NamedTuple):
    """A call that others see: where it stands, and the failpoint around it alone."""

    where: str
    verb: str
    line: int
    failpoint: str | None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _verb(call: ast.Call) -> str | None:
    name = _dotted(call.func)
    if name in FUNCTIONS:
        return name
    last = name.rpartition(".")[2]
    if last == "execute" and call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value in ENDS:
        return str(call.args[0].value)
    if name.endswith("_writer.write"):  # asyncio sends at once what it can
        return "write"
    return last if "." in name and last in METHODS else None


def _named(node: ast.With | ast.AsyncWith) -> str | None:
    """The failpoint that a `with` is about, as the innermost of its contexts."""
    call = node.items[-1].context_expr
    if not (isinstance(call, ast.Call) and _dotted(call.func) == "failpoint"):
        return None
    (name,) = call.args
    assert isinstance(name, ast.Constant), "a failpoint's name is written out"
    return str(name.value)


def places(tree: ast.AST, module: str, function: str = "", around: str | None = None) -> Iterator[Place]:
    """The places in a piece of source, with what stands around them."""
    for node in ast.iter_child_nodes(tree):
        inner, name = function, around
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner, name = f"{function}.{node.name}".lstrip("."), None
        elif isinstance(node, ast.With | ast.AsyncWith):
            name = _named(node) or around
        elif isinstance(node, ast.Call) and (verb := _verb(node)) is not None:
            yield Place(f"{module} {inner}", verb, node.lineno, around)
        yield from places(node, module, inner, name)


def _source() -> Iterator[tuple[str, ast.Module]]:
    for package in (IPC, SUPERVISOR):
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text())


SOURCE = dict(_source())
PLACES = [place for module, tree in SOURCE.items() for place in places(tree, module)]


def _excuse(place: Place) -> str | None:
    """The exception that a place is."""
    return next((name for name in EXCEPTIONS if fnmatchcase(f"{place.where} {place.verb}", name)), None)


def test_every_place_that_others_see_has_a_moment():
    bare = [f"{place.where}:{place.line} {place.verb}" for place in PLACES if not (place.failpoint or _excuse(place))]
    assert bare == []


def test_every_exception_is_about_a_place_that_is_there():
    assert {_excuse(place) for place in PLACES if not place.failpoint} >= EXCEPTIONS.keys()


def test_a_moment_is_about_one_place_and_has_a_name_of_its_own():
    names = Counter(
        name
        for tree in SOURCE.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.With | ast.AsyncWith) and (name := _named(node))
    )
    assert [name for name, count in names.items() if count > 1] == []
    blocks = [
        node
        for tree in SOURCE.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.With | ast.AsyncWith) and _named(node) and len(node.body) > 1
    ]
    assert [_named(node) for node in blocks] == []


@pytest.mark.parametrize(
    ("code", "verb"),
    [
        ("os.kill(1, 9)", "os.kill"),
        ("self.path.unlink(missing_ok=True)", "unlink"),
        ("connection.execute('COMMIT')", "COMMIT"),
        ("with suppress(OSError): channel.send(b'')", "send"),
    ],
)
def test_a_bare_place_is_found(code: str, verb: str):
    assert [(place.verb, place.failpoint) for place in places(ast.parse(code), "m")] == [(verb, None)]


def test_a_function_within_a_moment_does_not_happen_then():
    code = "with failpoint('x'):\n    def later(): os.fork()"
    assert [place.failpoint for place in places(ast.parse(code), "m")] == [None]


def test_without_a_watch_a_moment_is_nothing_at_all():
    assert failpoint("a") is failpoint("b")


SUICIDE = """
import os
from backburner.ipc.failpoints import failpoint
def act():
    with failpoint("act"):
        print("acts", flush=True)
for turn in range(3):
    act()
"""


@pytest.mark.parametrize(
    ("edge", "nth", "acted"), [("before", 1, 0), ("after", 1, 1), ("before", 3, 2), ("after", 4, 3)]
)
def test_a_watched_process_dies_where_it_was_ordered(tmp_path: Path, edge: str, nth: int, acted: int):
    script = tmp_path / "script.py"
    script.write_text(SUICIDE)
    where = f"command act@<module> {edge}"
    (tmp_path / "order").write_text(f'{{"token": "t", "kill": "{where}", "nth": {nth}}}')
    environment = {**os.environ, WATCH: str(tmp_path), "PYTHONPATH": str(IMPORT_ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "acts\n" * acted
    assert done.returncode == (-signal.SIGKILL if nth <= 3 else 0)
    assert (tmp_path / "t.killed").exists() == (nth <= 3)
    assert (tmp_path / "t.reached").read_text().splitlines()[0] == "command act@<module> before"
