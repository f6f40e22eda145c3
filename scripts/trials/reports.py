"""Try small inputs on which programs of this kind fail, and print a table of the results.

    scripts/trials/reports                 all areas
    scripts/trials/reports outcomes        the rows of one area
    scripts/trials/reports --only PATTERN  the rows whose name or promise contains this text

A row that fails is tried once more in a new sandbox, because a busy machine may have disturbed it. The exit code is 1
if a row fails twice.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from scripts.trials import report_rows
from scripts.trials.report_rows import ROWS, Row, Sandbox

#: Areas that are tried at the same time.
_TOGETHER = 3


@dataclass(frozen=True)
class Result:
    """How a row ended. `problem` is None if the result was right."""

    area: str
    row: Row
    seconds: float
    problem: str | None
    repeated: bool = False


@contextmanager
def sandbox(area: str) -> Iterator[Sandbox]:
    """Yield a sandbox, and kill what runs in it afterwards."""
    made = Sandbox.create(area)
    try:
        yield made
    finally:
        made.remove()


def try_area(area: str, pattern: str) -> list[Result]:
    """Try all rows of an area, one after the other."""
    with sandbox(area) as shared:
        chosen = [row for row in ROWS[area] if pattern in f"{row.name} {row.promise}"]
        if not all(row.own for row in chosen):
            shared.up()
        return [try_row(area, row, shared) for row in chosen]


def try_row(area: str, row: Row, shared: Sandbox) -> Result:
    """Try a row, and once more in a new sandbox if it fails."""
    begun = time.monotonic()
    problem = try_alone(area, row) if row.own else problem_of(row, shared)
    repeated = problem is not None
    if repeated:
        print(f"{row.name}: tried once more after:\n{problem}", file=sys.stderr, flush=True)
        problem = try_alone(area, row)
    return Result(area, row, time.monotonic() - begun, problem, repeated)


def try_alone(area: str, row: Row) -> str | None:
    """Try a row in a new sandbox."""
    with sandbox(area) as alone:
        return problem_of(row, alone if row.own else alone.up())


def problem_of(row: Row, where: Sandbox) -> str | None:
    """Return why a row failed, or None."""
    try:
        row.check(where)
    except Exception:
        return traceback.format_exc(limit=-3)
    return None


def report(results: list[Result]) -> int:
    """Print the table and the problems, and return the exit code."""
    width = max(len(result.row.name) for result in results)
    for result in results:
        word = "WRONG" if result.problem else "right" + (" (2nd try)" if result.repeated else "")
        print(f"{result.area:<12} {result.row.name:<{width}}  {result.seconds:5.1f} s  {word:<6} {result.row.promise}")
    wrong = [result for result in results if result.problem]
    for result in wrong:
        print(f"\n{result.area}: {result.row.name}\n{result.problem}")
    print(f"\n{len(results)} rows, {len(wrong)} wrong")
    return 1 if wrong else 0


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="reports", description="Try small inputs that are known to fail elsewhere.")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(ROWS)} (all)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows that contain this text")
    options = parser.parse_args(words)
    if unknown := set(options.areas) - set(ROWS):
        parser.error(f"no such area: {', '.join(sorted(unknown))}")
    return options


def main() -> int:
    """Return 0 if all rows are right."""
    for module in pkgutil.iter_modules(report_rows.__path__):
        importlib.import_module(f"{report_rows.__name__}.{module.name}")
    options = parse(sys.argv[1:])
    with ThreadPoolExecutor(_TOGETHER) as pool:
        tried = [pool.submit(try_area, area, options.only) for area in options.areas or ROWS]
        return report(list(chain.from_iterable(one.result() for one in tried)))


if __name__ == "__main__":
    sys.exit(main())
