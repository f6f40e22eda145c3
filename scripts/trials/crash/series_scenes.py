"""Scenes in which a worker runs short tasks in series and holds those behind the current one."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from scripts.trials.crash.home import JOB, TIMEOUT
from scripts.trials.crash.scene_run import SceneRun
from scripts.trials.crash.steps import CANCELLED, DONE, go_down, missing_interpreter, succeed
from tests.helpers.invariants import Violation
from tests.helpers.processes import is_alive, is_stopped, kill, send_signal

#: How often tasks are launched at most to find a worker that holds some.
HOLDING_TRIES = 3

#: The maximum number of tasks that may be lost if one worker is killed twice.
MAX_LOST = 2


def launch_commands(run: SceneRun, *kinds: str) -> list[str]:
    """Launch short commands that a worker runs in series."""
    return run.launch_many([{"command": run.short_job(kind), "retries": int(kind == "flaky")} for kind in kinds], DONE)


def launch_calls(run: SceneRun, *names: str) -> list[str]:
    """Launch short calls; the module stays unchanged, so that the runner can keep it."""
    module = run.home.project / "short_errands.py"
    if not module.exists():
        shutil.copyfile(JOB, module)
    args = {"hold": [str(run.effects), str(run.go)]}
    tasks = [
        {"call": f"short_errands:{name}", "args": args.get(name, [str(run.effects)]), "retries": int(name == "flake")}
        for name in names
    ]
    return run.launch_many(tasks, DONE)


def series_of_commands(run: SceneRun) -> None:
    """Run short commands in one slot: some fail, one is retried, one cannot be started, one has a long output."""
    run.arm()
    kinds = "well silent well well well fails well flaky large well silent".split()
    ids = launch_commands(run, *kinds)
    run.expect(ids[kinds.index("fails")], ("error", "exit"))
    run.launch(("error", "spawn"), command=[missing_interpreter(run)])
    run.finish()


def series_of_calls(run: SceneRun) -> None:
    """Run short calls in one slot: one fails, one is retried, one has a long output."""
    run.arm()
    names = "work work work work work fail work flake work shout work work".split()
    run.expect(launch_calls(run, *names)[names.index("fail")], ("error", "failed"))
    run.finish()


def long_journal(run: SceneRun) -> None:
    """Run commands whose outputs fill the journal, which is started over."""
    run.arm()
    launch_commands(run, *["medium"] * 40)
    run.finish()


def long_command(run: SceneRun) -> None:
    """Run a long command among short ones: it is watched by itself, and those behind it return to the queue."""
    run.arm()
    _until_returned(run, launch_commands(run, *"well well well well well holds well well well".split())[5])


def long_call(run: SceneRun) -> None:
    """Run a long call among short ones."""
    run.arm()
    _until_returned(run, launch_calls(run, *"work work work work work hold work work work".split())[5])


def _until_returned(run: SceneRun, long: str) -> None:
    run.until_runs(long)
    run.home.until(lambda: not held_tasks(run), "the tasks behind it to return to the queue")
    run.go.touch()
    run.finish()


def lingering_call(run: SceneRun) -> None:
    """Run a call among others that leaves a thread: the next ones get another runner."""
    run.arm()
    launch_calls(run, *"work work linger work work".split())
    run.finish()


def leaves_in_series(run: SceneRun) -> None:
    """Run a short command among others that leaves a process, which is ended."""
    run.arm()
    launch_commands(run, *"well well well well leaves well well".split())
    run.finish()


def kept_open(run: SceneRun) -> None:
    """Keep the output of a short command open in another process: the next command gets another file."""
    run.arm()
    _, held = hold(run)
    opened = [os.open(path, os.O_WRONLY) for path in (run.home.home / "output").glob("command-*.std*")]
    resume(held)
    run.finish()
    for descriptor in opened:
        os.close(descriptor)


def held_cancelled(run: SceneRun) -> None:
    """Cancel a task that a worker holds: it never starts."""
    run.arm()
    ids, held = hold(run)
    id = ids[-1] if held is None else held.ids[-1]
    run.expect(id, CANCELLED, ("cancelled", "interrupted"), DONE)  # a worker stopped in a transaction is continued
    with continued_on_request(run, held):
        done = run.command("cancel", id)
    if done.code not in (0, 5):
        raise Violation("I2", f"cancel: {done}")
    if done.code == 0 and run.task(id).status != "cancelled":
        raise Violation("I2", f"cancel reported success, and the task is {run.task(id).status}")
    run.finish()


def held_silent(run: SceneRun) -> None:
    """Cancel a task that a stopped worker holds: the supervisor kills the worker, and the task is cancelled."""
    run.arm()
    ids, held = hold(run)
    for id in ids:
        run.expect(id, DONE, *[CANCELLED, ("cancelled", "interrupted")] * (id == ids[-1]), ("error", "lost"))
    succeed(run, "cancel", ids[-1])
    resume(held)
    run.finish()
    check_lost(run, ids)


def held_paused(run: SceneRun) -> None:
    """Pause a group while a worker holds tasks of it: once `pause` has returned, none of them starts."""
    run.arm()
    ids, held = hold(run)
    with continued_on_request(run, held):
        done = run.command("pause", "command")
    if done.code:
        raise Violation("I4", f"pause: {done}")
    waiting = pending(run, ids)
    run.home.settle([run.launch(DONE, command=run.short_job("well"), concurrency_key="other")])
    if pending(run, ids) != waiting:
        raise Violation("I4", f"the group was paused, and {waiting} became {pending(run, ids)}")
    run.command("resume", "command")
    run.finish()


def held_down(run: SceneRun) -> None:
    """Go down while a stopped worker holds tasks: continued, it returns them, and they run after the next start."""
    run.arm()
    _, held = hold(run)
    go_down(run)
    resume(held)
    run.home.until(lambda: not run.home.workers(), "the worker to leave")
    run.home.is_down.clear()
    run.finish()


def held_lost(run: SceneRun) -> None:
    """Kill a worker that holds tasks: those that ended are settled by its journal, those not started run later."""
    ids, held = hold(run, runs_command)
    for id in ids:
        run.expect(id, DONE, ("error", "lost"))
    run.arm()
    if held is not None:
        kill(held.worker)
    run.finish()
    check_lost(run, ids)


def held_and_all_dead(run: SceneRun) -> None:
    """Kill a worker that holds tasks and the supervisor: the next supervisor settles by the journal."""
    ids, held = hold(run, runs_command)
    for id in ids:
        run.expect(id, DONE, ("error", "lost"))
    run.home.is_down.set()
    run.home.kill_supervisor()
    run.home.until(lambda: run.home.holder("supervisor") is None, "the death of the supervisor")
    if held is not None:
        kill(held.worker)
    (run.home.home / "output" / "worker-0.journal").touch()
    run.arm()
    run.home.is_down.clear()
    run.finish()
    check_lost(run, ids)


class HoldingWorker(NamedTuple):
    """A stopped worker, and the tasks that it holds, in order."""

    worker: int
    journal: Path
    ids: list[str]


def hold(
    run: SceneRun, is_wanted: Callable[[HoldingWorker], bool] = lambda held: True
) -> tuple[list[str], HoldingWorker | None]:
    """Launch short commands until a worker that is wanted holds some, and stop it; return the tasks, and the worker.

    On a machine that is so busy that no command is short, workers take them one by one: then there is no such worker.
    """
    ids: list[str] = []
    for _ in range(HOLDING_TRIES):
        ids += launch_commands(run, *["well"] * 12)
        held = stop_holder(run, ids, is_wanted)
        if held is not None:
            return ids, held
    return ids, None


def runs_command(held: HoldingWorker) -> bool:
    """Return True if a stopped worker has noted the start of a command, and not its end."""
    with suppress(FileNotFoundError):  # the worker is dead
        return held.journal.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].startswith(b"s ")
    return False


def stop_holder(run: SceneRun, ids: list[str], is_wanted: Callable[[HoldingWorker], bool]) -> HoldingWorker | None:
    """Stop a worker that is wanted while it holds tasks; None if all tasks ended before one was found."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and pending(run, ids):
        for row in held_tasks(run)[:1]:
            pid = row["pid"]
            send_signal(pid, signal.SIGSTOP)
            run.home.until(lambda pid=pid: is_stopped(pid) or not is_alive(pid), "the worker to stop")
            journal = run.home.home / "output" / f"worker-{row['number']}.journal"
            held = HoldingWorker(pid, journal, [one["id"] for one in held_tasks(run)])
            if held.ids and is_wanted(held):
                return held
            resume(held)
    return None


def held_tasks(run: SceneRun) -> list[sqlite3.Row]:
    """Return the tasks that workers hold, with their workers."""
    query = "SELECT t.id, p.pid, p.number FROM tasks t JOIN processes p ON p.number = t.owner WHERE t.held IS NOT NULL"
    return run.home.rows(f"{query} ORDER BY t.held")


def resume(held: HoldingWorker | None) -> None:
    """Continue a stopped worker, if there is one."""
    if held is not None:
        send_signal(held.worker, signal.SIGCONT)


@contextmanager
def continued_on_request(run: SceneRun, held: HoldingWorker | None) -> Iterator[None]:
    """Continue a stopped worker as soon as another process requests what it holds."""
    requested = "SELECT 1 FROM tasks WHERE requested IS NOT NULL"

    def wait() -> None:
        run.home.until(lambda: run.home.rows(requested) or not held_tasks(run), "a request")
        resume(held)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        yield
        waiting.result()


def pending(run: SceneRun, ids: list[str]) -> list[str]:
    """Return those tasks that have not started, by the database."""
    rows = {row["id"] for row in run.home.rows("SELECT id FROM tasks WHERE status = 'pending'")}
    return [id for id in ids if id in rows]


def check_lost(run: SceneRun, ids: list[str]) -> None:
    """Raise Violation if too many tasks are lost."""
    lost = [id for id in ids if run.task(id).error_kind == "lost"]
    if len(lost) > MAX_LOST:
        raise Violation("I2", f"{lost} are lost")


SERIES_SCENES = (
    series_of_commands,
    series_of_calls,
    long_journal,
    long_command,
    long_call,
    lingering_call,
    leaves_in_series,
    kept_open,
    held_cancelled,
    held_silent,
    held_paused,
    held_down,
    held_lost,
    held_and_all_dead,
)
