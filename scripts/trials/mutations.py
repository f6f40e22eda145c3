"""Applies each row of mutations.toml to a copy and runs its tests there: they must fail, or a bug goes unnoticed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.helpers.blackbox import ROOT, StalePatch, apply_patch

#: The module of a test that is named without one.
MODULE = "tests/acceptance/test_seed_failures.py"

#: The files and folders that a copy needs.
COPIED = ("ipc", "supervisor", "backburner", "tests", "tox.ini")

#: The number of rows at a time, and the seconds that the tests of one row may take.
WORKERS, TIMEOUT = 2, 60

#: The row that changes nothing: all tests must pass, or a failure means nothing.
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Row:
    """One bug to bring back, and the tests that must notice it."""

    name: str
    what: str
    tests: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]


def rows() -> list[Row]:
    """Return all rows; the unchanged one comes first, with every test."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    found = [
        Row(name, row["what"], tuple(row["tests"]), tuple(tuple(edit) for edit in row["edits"]))
        for name, row in document.items()
    ]
    every = dict.fromkeys(test for row in found for test in row.tests)
    return [Row(UNCHANGED, "nothing is changed: every test passes", tuple(every), ()), *found]


def path_of(test: str) -> str:
    """Return a test as pytest takes it, by the path of its module."""
    return test if "::" in test else f"{MODULE}::{test}"


def judge(row: Row) -> tuple[bool, str]:
    """Run a row; return whether the outcome is the right one, and the outcome."""
    with tempfile.TemporaryDirectory(prefix="bb-mutation-") as folder:
        tree = Path(folder).resolve()
        for name in COPIED:
            source = ROOT / name
            copy = partial(shutil.copytree, symlinks=True) if source.is_dir() else shutil.copy
            copy(source, tree / name)
        try:
            for edit in row.edits:
                apply_patch(tree, *edit)
        except StalePatch as error:
            return False, f"STALE: {error}"
        return verdict(row, *run(tree, row))


def run(tree: Path, row: Row) -> tuple[int, str]:
    """Return the tests' exit code and output. The copy comes first on every path, so that the original is not used."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "40", "--no-header"]
    tests = map(path_of, row.tests)
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*words, *tests], cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=TIMEOUT + 20 * (row.name == UNCHANGED) * len(row.tests), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def verdict(row: Row, code: int, output: str) -> tuple[bool, str]:
    """Return what the tests' exit code means for that row."""
    if row.name == UNCHANGED:
        return code == 0, "passed" if code == 0 else f"FAILED without any change:\n{output[-3000:]}"
    if code == 1 and re.search(r"\d+ failed", output):
        return True, "caught"
    return False, "SURVIVED" if code == 0 else f"BROKEN (exit code {code}):\n{output[-3000:]}"


def timed(row: Row) -> tuple[Row, bool, str, float]:
    """Run a row, and return the seconds that it took besides."""
    began = time.monotonic()
    try:
        passed, outcome = judge(row)
    except subprocess.TimeoutExpired:
        passed, outcome = False, f"HUNG for {TIMEOUT} s"
    return row, passed, outcome, time.monotonic() - began


def main(names: list[str]) -> int:
    """Run the named rows, or all; return 1 if the outcome of one is not the right one."""
    chosen = [row for row in rows() if not names or row.name in names]
    if unknown := set(names) - {row.name for row in chosen}:
        print(f"scripts/mutations: no such row: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    width = max(len(row.name) for row in chosen)
    bad = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for row, passed, outcome, took in pool.map(timed, chosen):
            bad += not passed
            print(f"{row.name:{width}}  {took:5.1f} s  {row.what}: {outcome}", flush=True)
    print(f"{len(chosen)} rows, {bad} with a wrong outcome")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
