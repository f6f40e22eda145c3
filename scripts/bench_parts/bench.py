"""Measures backburner beside the raw limits of the machine and beside other queues, in turns, in one run.

    scripts/bench                     everything, with the other systems in .bench/; an hour
    scripts/bench calls latency       some sections
    scripts/bench --quick             only the raw limits, in two minutes, for CI

It prints a table, draws a picture and writes all figures to a file. Ratios are taken within a round, between
contestants that had their turns one after another; the median of the rounds is compared with the goal. A figure never
makes it fail, because the machine may be busy.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

from scripts.bench_parts.harness import Measured, Section, Size, Spread, Verdict, measure
from scripts.docs.chart import Chart

SECTIONS = ("commands", "calls", "full", "launches", "latency", "idle", "memory", "processes", "growth", "crowd")

#: The folder with the other systems and the last results.
FOLDER = Path(__file__).resolve().parents[2] / ".bench"

#: Sections that --quick leaves out.
LONG = ("growth", "crowd")

#: A load average beyond which other work disturbs what is measured.
BUSY = 2.0


def main() -> int:
    """Measure, print and draw."""
    options = _options()
    FOLDER.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything that was started is ended
    size = Size(options.quick, options.rounds or (3 if options.quick else 5), not (options.quick or options.no_peers))
    print(_machine())
    found = []
    for name in options.sections or [one for one in SECTIONS if not options.quick or one not in LONG]:
        section: Section = importlib.import_module(f"scripts.bench_parts.{name}").SECTION
        print(f"\n{section.name}: {section.title}", file=sys.stderr, flush=True)
        found.append(measure(section, size))
        _print(found[-1])
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")
    _draw([verdict for one in found for verdict in one.verdicts()], options.png)
    options.json.write_text(json.dumps([one.to_json() for one in found], indent=1))
    print(f"drawn in {options.png}, all figures in {options.json}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="under two minutes, without other systems")
    parser.add_argument("--no-peers", action="store_true", help="only backburner and the raw limits")
    parser.add_argument("--rounds", type=int, help="turns of each contestant (5; quick: 3)")
    parser.add_argument("--png", type=Path, default=FOLDER / "bench.png", help="the file for the picture")
    parser.add_argument("--json", type=Path, default=FOLDER / "bench.json", help="the file for all figures")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; choose from {', '.join(SECTIONS)}")
    return options


def _machine() -> str:
    python, sqlite = platform.python_version(), sqlite3.sqlite_version
    busy = " (busy: above 2 the ratios mean little)" if os.getloadavg()[0] > BUSY else ""
    load = f"load at the start: {os.getloadavg()[0]:.1f}{busy}"
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {python}, SQLite {sqlite}; {load}"


def _print(one: Measured) -> None:
    print(f"\n## {one.section.title}")
    for name, values in one.figures.items():
        print(f"  {name:44} {_triple(Spread.of(values))}")
    for verdict in one.verdicts():
        print(f"  {_line(verdict)}")
    for name, settings in one.settings.items():
        print(f"  {name}: {settings}") if settings else None
    for name, reason in one.absent.items():
        print(f"  {name}: not measured: {reason}")
    sys.stdout.flush()


def _line(verdict: Verdict) -> str:
    goal = verdict.goal
    against = f" against {_triple(verdict.against)}" if verdict.against else ""
    ratio = f": ratio {_triple(verdict.ratio)}" if verdict.against else ""
    outcome = "met" if verdict.met else "NOT MET"
    return f"=> {goal.what}: {_triple(verdict.ours)}{against}{ratio}, goal {goal.words()}: {outcome}"


def _triple(spread: Spread) -> str:
    return "/".join(f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" for value in spread)


def _draw(verdicts: Iterable[Verdict], path: Path) -> None:
    chart = Chart()
    for verdict in verdicts:
        words = f"{verdict.goal.what}: {_triple(verdict.ratio)} goal {verdict.goal.words()}"
        chart.bar(words, verdict.ratio.middle, verdict.goal.bound, verdict.met)
    chart.save(path)


if __name__ == "__main__":
    sys.exit(main())
