"""The table of modules that may use a dangerous function. Ruff's banned-api is the quick check, this the exact one.

A module that needs such a function calls a module of the table. To add one to the table, give a reason.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.helpers.places import IN_CHECKOUT, IPC, ROOT, SUPERVISOR

#: A verb, and the modules that may say it; `supervisor.cli*` is a package with all that is in it.
ROOMS = {
    "sqlite3": "ipc.store.sqlite.file*",
    "sqlite_utils": "ipc.store.sqlite.file*",
    "socket": "ipc.bus.server ipc.bus.client ipc.bus.connection supervisor.worker supervisor.pool.spawner"
    " supervisor.fork_server supervisor.pool.control_line supervisor.pool.fork_server_client supervisor.pool.workers"
    " supervisor.pool.supervisor_line"
    " supervisor.system.systemd supervisor.execution* supervisor.cli.roles",
    "subprocess": "supervisor.system.children supervisor.integrations.on_batch supervisor.pool.fork_server_client"
    " ipc.api.control",
    "multiprocessing": "",
    "os.fork": "supervisor.system.children",
    "os.kill": "supervisor.execution* ipc.machine.identity ipc.machine.watchdog ipc.failpoints",
    "os.killpg": "supervisor.system.children supervisor.execution*",
    "os.waitpid": "supervisor.execution*",
    "os.chdir": "supervisor.execution.runner.call_runner supervisor.execution.series supervisor.execution.spawn",
    "os.system": "",
    "signal.signal": "supervisor.system.signals supervisor.execution.runner*",
    "signal.set_wakeup_fd": "supervisor.system.signals supervisor.execution.runner*",
    "time.sleep": "",
    "time.time": "ipc.clock",
    "time.time_ns": "ipc.clock supervisor.execution.runner.system",  # the runner stands alone
    "time.monotonic": "ipc.clock",
    "pickle": "",
    "click": "supervisor.cli*",
    "print": "supervisor.cli*",
    "sys.exit": "supervisor.cli*",
}

SQL = re.compile(r"\b(SELECT\s.+\sFROM|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM)\s", re.DOTALL)


def _name(path: Path, top: Path) -> str:
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {
    _name(path, package.parent): ast.parse(path.read_text())
    for package in (IPC, SUPERVISOR)
    for path in sorted(package.rglob("*.py"))
}
#: What only the engine of the store is about: its modules, its transactions, its statements.
ENGINE = re.compile(r"store\.sqlite|sqlite|\bTransaction\b|\.(fetch_\w+|run_many|iterate)$", re.IGNORECASE)

STATEMENTS = sorted((IPC / "store" / "sqlite" / "sql").rglob("*.sql"))


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each name that an import binds, and the full name of its object."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            tops = [(alias.asname, alias.name.partition(".")[0], alias.name) for alias in node.names]
            yield from ((renamed, name) if renamed else (top, top) for renamed, top, name in tops)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((alias.asname or alias.name, f"{module}.{alias.name}") for alias in node.names)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def said(tree: ast.AST) -> set[str]:
    """The imports and builtins that a module speaks of, by their full names, however it renamed them."""
    bound = dict(_imports(tree))
    known = {name: name for name in vars(builtins)} | bound
    spoken = (_dotted(node).partition(".") for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name))
    return set(bound.values()) | {known[first] + dot + rest for first, dot, rest in spoken if first in known}


def strings(tree: ast.AST) -> set[str]:
    """Every string in a module."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _says(tree: ast.AST, verb: str) -> bool:
    return any(name == verb or name.startswith(f"{verb}.") for name in said(tree))


@pytest.mark.parametrize("verb", ROOMS)
def test_a_verb_is_said_only_in_its_room(verb: str):
    rooms = ROOMS[verb].split()
    speakers = [name for name, tree in MODULES.items() if _says(tree, verb)]
    assert [name for name in speakers if not any(fnmatchcase(name, room) for room in rooms)] == []


def test_no_statement_is_written_in_python():
    assert [name for name, tree in MODULES.items() if any(map(SQL.search, strings(tree)))] == []


def test_no_exception_is_swallowed_whole():
    assert [name for name, tree in MODULES.items() if any(map(_swallows, ast.walk(tree)))] == []


def _swallows(node: ast.AST) -> bool:
    broad = isinstance(node, ast.ExceptHandler) and (node.type is None or _dotted(node.type) in BROAD)
    return broad and all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)


BROAD = ("Exception", "BaseException")


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_a_statement_says_in_its_first_line_what_it_promises(path: Path):
    assert re.match(r"-- .*[.:]$", path.read_text().splitlines()[0])


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_statement_is_used_in_the_engine_alone(path: Path):
    callers = {name for name, tree in MODULES.items() if path.stem in strings(tree) and name != "ipc.failpoints"}
    assert any(name.startswith("ipc.store.sqlite.") for name in callers), sorted(callers)


def test_supervisor_knows_nothing_of_the_engine():
    """Only the doctor's check of the storage may, and the command that salvages the engine's file."""
    allowed = {"supervisor.doctor.storage", "supervisor.cli.commands.salvage"}
    others = {name: tree for name, tree in MODULES.items() if name.startswith("supervisor.") and name not in allowed}
    found = [f"{name}: {text}" for name, tree in others.items() for text in said(tree) if ENGINE.search(text)]
    assert found == []


@pytest.mark.skipif(not IN_CHECKOUT, reason="the tests are the same beside the wheel")
def test_no_test_sleeps():
    tests = {path.name: ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("*.py")}
    assert [name for name, tree in tests.items() if _says(tree, "time.sleep")] == []


@pytest.mark.parametrize(
    ("code", "verb"),
    [
        ("import time\ntime.sleep(1)", "time.sleep"),
        ("from time import sleep as nap", "time.sleep"),
        ("import os as system\nsystem.fork()", "os.fork"),
        ("import os.path\nos.fork()", "os.fork"),
        ("def f():\n    import sqlite3", "sqlite3"),
        ("print(1)", "print"),
    ],
)
def test_the_wall_hears_a_verb_however_it_is_said(code: str, verb: str):
    assert _says(ast.parse(code), verb)


@pytest.mark.parametrize("code", ["socket = 1\nsocket += 1", "home.socket.name", "time.nap()"])
def test_the_wall_takes_no_other_word_for_a_verb(code: str):
    assert not any(_says(ast.parse(code), verb) for verb in ROOMS)
