"""Applies each row of mutations.toml to a copy and runs its tests there: they must fail, or nobody notices the bug."""

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

ROOT = Path(__file__).resolve().parents[2]
#: The module of a test that is named without one.
MODULE = "tests/acceptance/test_seed_failures.py"

#: What a copy needs.
COPIED = ("ipc", "supervisor", "backburner", "tests", "tox.ini")

#: Rows at a time, and the seconds that the tests of one row may take.
WORKERS, PATIENCE = 2, 60

#: The row that changes nothing: all tests must pass, or a failure says nothing.
UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Row:
    """One bug to bring back, and the tests that must catch it."""

    name: str
    what: str
    tests: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]


class Stale(Exception):
    """A row's patch no longer fits the code."""


def rows() -> list[Row]:
    """All rows; the unchanged one first, with every test."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    found = [
        Row(name, row["what"], tuple(row["tests"]), tuple(tuple(edit) for edit in row["edits"]))
        for name, row in document.items()
    ]
    every = dict.fromkeys(test for row in found for test in row.tests)
    return [Row(UNCHANGED, "nothing is changed: every test passes", tuple(every), ()), *found]


def patch(tree: Path, row: Row) -> None:
    """Apply a row's edits. Raises Stale where one does not fit exactly once."""
    for name, old, new in row.edits:
        path = tree / name
        text = path.read_text() if path.exists() else ""
        if (times := text.count(old)) != 1:
            raise Stale(f"{name} holds {old.strip()!r} {times} times, not once")
        path.write_text(text.replace(old, new))


def judge(row: Row) -> tuple[bool, str]:
    """Run a row; whether it came out as it must, and what came out."""
    with tempfile.TemporaryDirectory(prefix="bb-mutation-") as folder:
        tree = Path(folder).resolve()
        for name in COPIED:
            source = ROOT / name
            copy = partial(shutil.copytree, symlinks=True) if source.is_dir() else shutil.copy
            copy(source, tree / name)
        try:
            patch(tree, row)
        except Stale as error:
            return False, f"STALE: {error}"
        return verdict(row, *run(tree, row))


def run(tree: Path, row: Row) -> tuple[int, str]:
    """The exit code and the words of the tests. The copy comes first on every path: the original is not imported."""
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "40", "--no-header"]
    picked = [test if "::" in test else f"{MODULE}::{test}" for test in row.tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*words, *picked], cwd=tree, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE + 20 * (row.name == UNCHANGED) * len(row.tests), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def verdict(row: Row, code: int, words: str) -> tuple[bool, str]:
    """What the tests' end means for that row."""
    if row.name == UNCHANGED:
        return code == 0, "passed" if code == 0 else f"FAILED without any change:\n{words[-3000:]}"
    if code == 1 and re.search(r"\d+ failed", words):
        return True, "caught"
    return False, "SURVIVED" if code == 0 else f"BROKEN (exit code {code}):\n{words[-3000:]}"


def timed(row: Row) -> tuple[Row, bool, str, float]:
    """Run a row, with the seconds it took."""
    begun = time.monotonic()
    try:
        well, how = judge(row)
    except subprocess.TimeoutExpired:
        well, how = False, f"HUNG for {PATIENCE} s"
    return row, well, how, time.monotonic() - begun


def main(names: list[str]) -> int:
    """Run the rows that are named, or all; 1 if one did not come out as it must."""
    chosen = [row for row in rows() if not names or row.name in names]
    if unknown := set(names) - {row.name for row in chosen}:
        print(f"scripts/mutations: there is no row {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    width = max(len(row.name) for row in chosen)
    bad = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for row, well, how, took in pool.map(timed, chosen):
            bad += not well
            print(f"{row.name:{width}}  {took:5.1f} s  {row.what}: {how}", flush=True)
    print(f"{len(chosen)} rows, {bad} not as they must be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
