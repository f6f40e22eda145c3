"""Every call whose effect other processes can see has a failpoint, at which the process can be killed."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
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

#: The same for methods of any object.
METHODS = frozenset(
    "send sendall sendto sendmsg unlink rename rmdir symlink_to hardlink_to write_text write_bytes"
    " backup send_signal terminate kill".split()
)

#: The statements that end a transaction.
ENDS = ("COMMIT",)

#: Calls without a failpoint, by module and function, and the reason.
EXCEPTIONS = {
    "ipc.store.importer Importer._store_input write_bytes": "a file with a new name, that only the commit makes known",
    "ipc.machine.home_registry _replace write_bytes": "a file with a new name, that only the rename makes known",
    "supervisor.services.managers _write write_text": "a file with a new name, that only the rename makes known",
    "ipc.bus.connection Call._finish send": "goes to Connection.send; the bytes leave in _write",
    "ipc.store.sqlite.file.database Database.read COMMIT": "ends a reading: nothing is written",
    "ipc.failpoints Watch.reached os.kill": "the kill of a failpoint",
    "ipc.failpoints _append os.write": "the records of the watch",
    "supervisor.system.children _start subprocess.Popen": "its caller has the failpoint: agents.ask",
    "supervisor.system.children _first_line kill": "a foreign program that was asked for its version",
    "supervisor.cli.screen.pager _show subprocess.Popen": "the pager, which only shows what is there",
    "supervisor.pool.fork_server_client ForkServerClient._send send": "goes to ControlLine.send",
    "supervisor.fork_server ForkServer._report send": "goes to ControlLine.send",
    "supervisor.execution.runner.wire send_hello socket.send_fds": "its caller has the failpoint: runner.hello",
    "supervisor.execution.runner.wire send_hello sendall": "the same message, if it was sent in part",
    "supervisor.execution.journal Journal._append os.*": "its callers have the failpoints: journal.start, journal.end",
    "supervisor.execution.attempt CallAttempt.start send": "goes to Runner.send",
    "supervisor.execution.series CallSeries._send send": "goes to Runner.send",
    "ipc.store.sqlite.file.group_commit GroupCommit._set os.pwrite": "saves a sync; each commit has a failpoint",
}


class Site(NamedTuple):
    """A call that other processes can see, with its location and the failpoint around it."""

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
    """Return the failpoint that is the innermost context of a `with`, or None."""
    call = node.items[-1].context_expr
    if not (isinstance(call, ast.Call) and _dotted(call.func) == "failpoint"):
        return None
    (name,) = call.args
    assert isinstance(name, ast.Constant), "a failpoint's name is a literal"
    return str(name.value)


def sites(tree: ast.AST, module: str, function: str = "", around: str | None = None) -> Iterator[Site]:
    """Yield the calls in a piece of source that other processes can see."""
    for node in ast.iter_child_nodes(tree):
        inner, name = function, around
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner, name = f"{function}.{node.name}".lstrip("."), None
        elif isinstance(node, ast.With | ast.AsyncWith):
            name = _named(node) or around
        elif isinstance(node, ast.Call) and (verb := _verb(node)) is not None:
            yield Site(f"{module} {inner}", verb, node.lineno, around)
        yield from sites(node, module, inner, name)


def _source() -> Iterator[tuple[str, ast.Module]]:
    for package in (IPC, SUPERVISOR):
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text())


@cache
def source() -> dict[str, ast.Module]:
    """Return the parsed modules of both packages by their names."""
    return dict(_source())


@cache
def all_sites() -> list[Site]:
    """Return the calls of all modules."""
    return [site for module, tree in source().items() for site in sites(tree, module)]


def _exception(site: Site) -> str | None:
    """Return the exception that matches a call, or None."""
    return next((name for name in EXCEPTIONS if fnmatchcase(f"{site.where} {site.verb}", name)), None)


def test_every_call_that_other_processes_can_see_has_a_failpoint():
    bare = [f"{site.where}:{site.line} {site.verb}" for site in all_sites() if not (site.failpoint or _exception(site))]
    assert bare == []


def test_every_exception_matches_a_call_without_a_failpoint():
    assert {_exception(site) for site in all_sites() if not site.failpoint} >= EXCEPTIONS.keys()


def test_failpoint_has_a_unique_name_and_one_statement():
    names = Counter(
        name
        for tree in source().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.With | ast.AsyncWith) and (name := _named(node))
    )
    assert [name for name, count in names.items() if count > 1] == []
    blocks = [
        node
        for tree in source().values()
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
def test_call_without_a_failpoint_is_found(code: str, verb: str):
    assert [(site.verb, site.failpoint) for site in sites(ast.parse(code), "m")] == [(verb, None)]


def test_failpoint_does_not_cover_a_function_defined_in_it():
    code = "with failpoint('x'):\n    def later(): os.fork()"
    assert [site.failpoint for site in sites(ast.parse(code), "m")] == [None]


def test_failpoint_does_nothing_unless_it_is_watched():
    assert failpoint("a") is failpoint("b")


SCRIPT = """
import os
from backburner.ipc.failpoints import failpoint
def act():
    with failpoint("act"):
        print("acted", flush=True)
for turn in range(3):
    act()
"""


@pytest.mark.parametrize(
    ("edge", "nth", "times"), [("before", 1, 0), ("after", 1, 1), ("before", 3, 2), ("after", 4, 3)]
)
def test_watched_process_dies_at_the_ordered_failpoint(tmp_path: Path, edge: str, nth: int, times: int):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    where = f"command act@<module> {edge}"
    (tmp_path / "order").write_text(f'{{"token": "t", "kill": "{where}", "nth": {nth}}}')
    environment = {**os.environ, WATCH: str(tmp_path), "PYTHONPATH": str(IMPORT_ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "acted\n" * times
    assert done.returncode == (-signal.SIGKILL if nth <= 3 else 0)
    assert (tmp_path / "t.killed").exists() == (nth <= 3)
    assert (tmp_path / "t.reached").read_text().splitlines()[0] == "command act@<module> before"
