"""The crash matrix: in each scene, each process is killed before and after each place where it does what others see.

First each scene is played once to see which moments are come to; every such moment, with the role that came to it, and
where it came to it several times the first and the last of them, is a cell. In a cell that process gets SIGKILL exactly
there; what an operator would start again is started again; then all must be over, and true.
"""

from __future__ import annotations

import argparse
import ast
import fnmatch
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from crash_house import MOST_DEATHS, House, Order, Play, Violation
from crash_scenes import FRESH, SCENES

ROOT = Path(__file__).resolve().parents[1]

#: Cells that one home sees, one after the other.
CHUNK = 24

#: How often a cell is played until its moment was come to: what is raced for is not come to each time.
TRIES = 3

#: Moments that no scene comes to, and why.
UNREACHABLE = {
    "holder.signal": "somebody must be stopped inside the write gate; tests/ipc/test_gate.py does that",
    "process.kill": "only where the system has no pidfd",
    "shortcut.link": "only for a home whose path is longer than a socket's may be",
    "systemd.send": "only under systemd; nothing is decided on it",
    "bus.refuse": "only with more clients than descriptors",
    "clear.input.unlink": "housekeeping, asked for by hand; repeated, it goes on",
    "clear.output.unlink": "as clear.input.unlink",
    "prune.unlink": "once an hour; repeated, it goes on",
    "client.async.send": "as client.send, in somebody else's process",
    "agents.ask": "only asks other programs for their versions",
    "usher.start": "the matrix's operator starts supervisors itself; the usher has left before one is up",
    "caller.start": "a library's way to the command line, whose moments are its own",
    "runner.spawn": "only for another interpreter; as task.spawn",
    "runner.kill": "only for a call that closed its line and lives on",
    "hook.tell": "only where an agent's client asks; tests/supervisor/parents/test_hooks.py kills it there",
    "mcp.send": "as hook.tell; tests/acceptance/test_tools.py kills the server that has not answered",
    **dict.fromkeys(
        ("setup.rename", "setup.unlink", "setup.forget", "setup.clean"), "files of a client's, not of a home's"
    ),
    "spawn.failed.unlink": "only for a command that cannot be started",
}


class Cell(NamedTuple):
    """Who is killed, where, and in which scene."""

    scene: str
    where: str
    nth: int

    @property
    def name(self) -> str:
        """As the command line takes it."""
        return f"{self.scene}/{self.where.replace(' ', '/')}/{self.nth}"


class Outcome(NamedTuple):
    """What came of a cell: `passed`, `missed` (nobody came there) or what was violated."""

    cell: Cell
    verdict: str
    seconds: float


def record(scene: str) -> list[Cell]:
    """Play a scene in peace; the cells that it has."""
    house = House()
    try:
        if scene not in FRESH:
            house.open()
        play = Play(house, Order("record"))
        SCENES[scene](play)
        counts = Counter(house.reached(play.order))
    finally:
        house.close()
    return [Cell(scene, where, nth) for where, count in counts.items() for nth in sorted({1, count})]


def play_chunk(cells: list[Cell]) -> list[Outcome]:
    """Play cells of one scene."""
    stage = Stage(cells[0].scene)
    try:
        return [stage.outcome(cell) for cell in cells]
    finally:
        stage.clear()


class Stage:
    """Where cells of one scene are played: in one home, as long as nothing is wrong with it."""

    def __init__(self, scene: str) -> None:
        """Nothing is started."""
        self._scene = scene
        self._house: House | None = None

    def outcome(self, cell: Cell) -> Outcome:
        """Play a cell; again, if nobody came to where he was to die."""
        began = time.monotonic()
        try:
            verdict = "passed" if any(self._play(cell, turn) for turn in range(TRIES)) else "missed"
        except Violation as error:
            verdict = self._told(str(error))
        except Exception:
            verdict = self._told(traceback.format_exc())
        return Outcome(cell, verdict, time.monotonic() - began)

    def clear(self) -> None:
        """End what there is; the next cell gets a new home."""
        if self._house is not None:
            self._house.close()
            self._house = None

    def _told(self, violation: str) -> str:
        log = self._house.portrait() if self._house else ""
        self.clear()
        return f"{violation}\n--- then:\n{log}"

    def _play(self, cell: Cell, turn: int) -> bool:
        """Whether somebody was killed: at the last time or, as not each turn comes there as often, one before."""
        if self._house is None:
            self._house = House()
            if self._scene not in FRESH:
                self._house.open()
        house = self._house
        if house.deaths >= MOST_DEATHS:
            house.freshen()
        order = Order(f"p{time.monotonic_ns()}", cell.where, max(1, cell.nth - turn))
        SCENES[cell.scene](Play(house, order))
        house.deaths += cell.where.startswith(("bb-flusher", "bb-nursery"))
        killed = house.killed(order)
        if self._scene in FRESH:
            self.clear()
        return killed


def cells_of(scenes: Iterable[str], jobs: int) -> list[Cell]:
    """All cells of these scenes, in a fixed order."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return sorted({cell for cells in pool.map(record, scenes) for cell in cells})


def chunks(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Cells in pieces of one scene each."""
    for scene in dict.fromkeys(cell.scene for cell in cells):
        mine = [cell for cell in cells if cell.scene == scene]
        yield from (mine[start : start + CHUNK] for start in range(0, len(mine), CHUNK))


def moments() -> set[str]:
    """The names of all moments, from the source."""
    return {
        str(node.args[0].value)
        for package in ("ipc", "supervisor")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "moment"
        and isinstance(node.args[0], ast.Constant)
    }


def tell_unreachable(cells: list[Cell]) -> bool:
    """List the moments that no scene came to; whether each has its reason."""
    reached = {cell.where.split(" ")[1].partition("@")[0] for cell in cells}
    missing = sorted(moments() - reached)
    print(f"\n{len(reached)} moments of {len(moments())} are come to; not come to:")
    for name in missing:
        print(f"  {name}: {UNREACHABLE.get(name, 'NO REASON KNOWN')}")
    return set(missing) <= UNREACHABLE.keys()


def run(cells: list[Cell], jobs: int, verbose: bool) -> list[Outcome]:
    """Play all; each is told of as it ends."""
    outcomes: list[Outcome] = []
    work = list(chunks(cells))
    random.shuffle(work)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(play_chunk, chunk) for chunk in work]):
            for outcome in future.result():
                outcomes.append(outcome)
                if verbose or outcome.verdict not in ("passed", "missed"):
                    print(f"{outcome.cell.name} [{outcome.seconds:.1f} s]: {outcome.verdict}", flush=True)
    return outcomes


def main() -> int:
    """0 if all is true in every cell."""
    options = _options()
    began = time.monotonic()
    scenes = [name for name in SCENES if not options.scene or name in options.scene]
    cells = cells_of(scenes, options.jobs)
    print(f"{len(cells)} cells in {len(scenes)} scenes, recorded in {time.monotonic() - began:.0f} s", flush=True)
    explained = bool(options.scene) or tell_unreachable(cells)
    chosen = _chosen(cells, options) * options.repeat
    if options.list:
        print(*(cell.name for cell in chosen), sep="\n")
        return 0
    outcomes = run(chosen, options.jobs, options.verbose or bool(options.cell))
    return _report(outcomes, time.monotonic() - began) if explained else 1


def _report(outcomes: list[Outcome], seconds: float) -> int:
    missed = [outcome.cell.name for outcome in outcomes if outcome.verdict == "missed"]
    failed = [outcome.cell.name for outcome in outcomes if outcome.verdict not in ("passed", "missed")]
    print(f"\n{len(missed)} cells were not come to again (a race that went otherwise):", *missed, sep="\n  ")
    for scene, count in sorted(Counter(outcome.cell.scene for outcome in outcomes).items()):
        bad = sum(name.startswith(f"{scene}/") for name in failed)
        print(f"{scene:20} {count:4} cells, {bad} failed")
    passed = len(outcomes) - len(missed) - len(failed)
    print(f"\n{len(outcomes)} cells: {passed} passed, {len(missed)} missed, {len(failed)} failed, in {seconds:.0f} s")
    print(*failed, sep="\n")
    return 1 if failed else 0


def _chosen(cells: list[Cell], options: argparse.Namespace) -> list[Cell]:
    if options.cell:
        return [cell for cell in cells if any(fnmatch.fnmatchcase(cell.name, name) for name in options.cell)]
    if options.third:
        part, of = map(int, options.third.split("/"))
        return cells[part - 1 :: of]
    return cells


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="crash-matrix", description=__doc__)
    parser.add_argument("--third", metavar="K/3", help="every third cell, beginning with the Kth")
    parser.add_argument("--all", action="store_true", help="every cell (the default)")
    parser.add_argument("--cell", action="append", metavar="NAME", help="cells of that name, which may be a pattern")
    parser.add_argument("--scene", action="append", choices=[*SCENES], help="only this scene; may be repeated")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="homes at a time (4)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play each chosen cell so often")
    parser.add_argument("--list", action="store_true", help="only list the cells")
    parser.add_argument("--verbose", action="store_true", help="tell of every cell")
    return parser.parse_args()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
