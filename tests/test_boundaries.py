"""The table of modules that may use a dangerous function. Ruff's banned-api is the quick check, this the exact one.

A module that needs such a function calls a module of the table. To add one to the table, give a reason.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.places import IN_CHECKOUT, IPC, ROOT, SUPERVISOR

#: A function or module, and the modules that may use it; `supervisor.cli*` is a package with all its modules.
ALLOWED = {
    "sqlite3": "ipc.store.sqlite.file*",
    "sqlite_utils": "ipc.store.sqlite.file*",
    "socket": "ipc.bus.server ipc.bus.client ipc.bus.connection supervisor.worker supervisor.pool.spawner"
    " supervisor.fork_server supervisor.pool.control_line supervisor.pool.fork_server_client supervisor.pool.workers"
    " supervisor.pool.supervisor_line"
    " supervisor.system.systemd supervisor.execution* supervisor.cli.roles",
    "subprocess": "supervisor.system.children supervisor.integrations.on_batch supervisor.pool.fork_server_client"
    " ipc.api.control supervisor.cli.screen.pager",
    "multiprocessing": "",
    "os.fork": "supervisor.system.children",
    "os.kill": "supervisor.system.children supervisor.execution* ipc.machine.identity ipc.machine.watchdog"
    " ipc.failpoints",
    "os.killpg": "supervisor.system.children supervisor.execution*",
    "os.waitpid": "supervisor.execution*",
    "os.chdir": "supervisor.execution.runner.call_runner supervisor.execution.series supervisor.execution.spawn",
    "os.system": "",
    "signal.signal": "supervisor.system.signals supervisor.system.interruption supervisor.execution.runner*"
    " supervisor.cli.screen*",
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


MODULES = {_name(path, package.parent): path for package in (IPC, SUPERVISOR) for path in sorted(package.rglob("*.py"))}
#: The most lines of a file, modules of a folder (beside `__init__`), and files of the packages' own folders.
MAX_LINES, MAX_MODULES, MAX_FILES = 400, 15, 9

#: The folders with one file for each command.
UNLIMITED = {SUPERVISOR / "cli" / "commands"}

#: Names that belong to the engine of the store: its modules, transactions and statements.
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


def used_names(tree: ast.AST) -> set[str]:
    """Return the full names of the imports and builtins that a module uses, however it renamed them."""
    bound = dict(_imports(tree))
    known = {name: name for name in vars(builtins)} | bound
    uses = (_dotted(node).partition(".") for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name))
    return set(bound.values()) | {known[first] + dot + rest for first, dot, rest in uses if first in known}


def strings(tree: ast.AST) -> set[str]:
    """Return every string in a module."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


@cache
def names_in(module: str) -> set[str]:
    return used_names(tree_of(module))


@cache
def strings_in(module: str) -> set[str]:
    return strings(tree_of(module))


def _uses(names: set[str], target: str) -> bool:
    return any(name == target or name.startswith(f"{target}.") for name in names)


def test_function_is_used_only_in_allowed_modules():
    uses = [(name, target) for name in MODULES for target in ALLOWED if _uses(names_in(name), target)]
    assert [(name, target) for name, target in uses if not _is_allowed(name, target)] == []


def _is_allowed(module: str, target: str) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in ALLOWED[target].split())


def test_no_file_is_longer_than_400_lines():
    paths = [path for package in (IPC, SUPERVISOR) for path in package.rglob("*.py")]
    assert [path.name for path in paths if len(path.read_text().splitlines()) > MAX_LINES] == []


def test_no_folder_has_more_than_fifteen_modules():
    folders = {path.parent for package in (IPC, SUPERVISOR) for path in package.rglob("*.py")} - UNLIMITED
    counts = {str(folder): len([*folder.glob("[!_]*.py")]) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


@pytest.mark.parametrize("package", [IPC, SUPERVISOR], ids=lambda package: package.name)
def test_folder_of_a_package_has_at_most_nine_files(package: Path):
    assert len([path for path in package.iterdir() if path.is_file()]) <= MAX_FILES


def test_no_statement_is_written_in_python():
    assert [name for name in MODULES if any(map(SQL.search, strings_in(name)))] == []


def test_no_broad_exception_is_swallowed():
    assert [name for name in MODULES if any(map(_swallows, ast.walk(tree_of(name))))] == []


def _swallows(node: ast.AST) -> bool:
    broad = isinstance(node, ast.ExceptHandler) and (node.type is None or _dotted(node.type) in BROAD)
    return broad and all(isinstance(step, ast.Pass | ast.Continue) for step in node.body)


BROAD = ("Exception", "BaseException")


def test_statement_starts_with_a_comment():
    first_lines = {path.stem: path.read_text().splitlines()[0] for path in STATEMENTS}
    assert [name for name, line in first_lines.items() if not re.match(r"-- .*[.:]$", line)] == []


def test_statement_is_used_by_the_engine():
    used = set().union(*(strings_in(name) for name in MODULES if name.startswith("ipc.store.sqlite.")))
    assert [path.stem for path in STATEMENTS if path.stem not in used] == []


#: The functions that open the store, and the doctor's check of the storage.
ENGINE_USERS = {"ipc.store", "supervisor.doctor.storage"}
CLIENTS = [name for name in MODULES if not name.startswith("ipc.store.sqlite") and name not in ENGINE_USERS]


def test_client_of_the_store_does_not_name_the_engine():
    statements = {path.stem for path in STATEMENTS}
    found = {
        module: {name for name in names_in(module) if ENGINE.search(name)} | (strings_in(module) & statements)
        for module in CLIENTS
    }
    assert {module: names for module, names in found.items() if names} == {}


def test_text_of_the_supervisor_does_not_name_the_engine():
    paths = {path for path in SUPERVISOR.rglob("*.py") if "sqlite" in path.read_text().lower()}
    assert paths == {SUPERVISOR / "doctor" / "storage.py"}


#: The tests that run on every engine of the store, and their helpers.
STORE_TESTS = [
    *sorted((ROOT / "tests" / "ipc" / "store").glob("*.py")),
    ROOT / "tests" / "ipc" / "test_queue_model.py",
    *(ROOT / "tests" / "helpers" / f"{name}.py" for name in ("queue_db", "queue_process", "series", "instance")),
]


@pytest.mark.parametrize("path", STORE_TESTS, ids=lambda path: path.stem)
def test_test_of_the_store_does_not_name_the_engine(path: Path):
    names = used_names(ast.parse(path.read_text()))
    assert {name for name in names if ENGINE.search(name)} == set()


@pytest.mark.skipif(not IN_CHECKOUT, reason="the tests are the same beside the wheel")
def test_no_test_sleeps():
    tests = {path.name: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    suspects = {name: text for name, text in tests.items() if "sleep" in text}
    assert [name for name, text in suspects.items() if _uses(used_names(ast.parse(text)), "time.sleep")] == []


@pytest.mark.parametrize(
    ("code", "target"),
    [
        ("import time\ntime.sleep(1)", "time.sleep"),
        ("from time import sleep as nap", "time.sleep"),
        ("import os as system\nsystem.fork()", "os.fork"),
        ("import os.path\nos.fork()", "os.fork"),
        ("def f():\n    import sqlite3", "sqlite3"),
        ("print(1)", "print"),
    ],
)
def test_use_is_found_under_any_import(code: str, target: str):
    assert _uses(used_names(ast.parse(code)), target)


@pytest.mark.parametrize("code", ["socket = 1\nsocket += 1", "home.socket.name", "time.nap()"])
def test_similar_name_is_allowed(code: str):
    assert not any(_uses(used_names(ast.parse(code)), target) for target in ALLOWED)
