"""The scenes in which processes are killed: each is a piece of a home's life, until everything in it has ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import uuid
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from scripts.trials.crash.home import JOB, TIMEOUT
from scripts.trials.crash.scene_run import SceneRun
from scripts.trials.crash.series_scenes import SERIES_SCENES
from scripts.trials.crash.steps import CANCELLED, DONE, go_down, kill_workers, missing_interpreter, succeed
from tests.helpers.invariants import Violation
from tests.helpers.processes import is_alive
from tests.helpers.rpc import Refused

#: How often a subscriber is started at most: it is killed once.
SUBSCRIBERS = 4

Scene = Callable[[SceneRun], None]


def completes(run: SceneRun) -> None:
    """Run two tasks of one group: the transaction that settles the first claims the second."""
    run.arm()
    for _ in range(2):
        run.launch(DONE, command=run.job("well"), concurrency_key="one")
    run.finish()


def fails(run: SceneRun) -> None:
    """Run a task with a file as its stdin that exits with 3."""
    run.arm()
    run.launch(("error", "exit"), command=run.job("fails"), stdin="x")
    run.finish()


def unstartable(run: SceneRun) -> None:
    """Launch a script whose interpreter does not exist: it ends without having run."""
    run.arm()
    run.launch(("error", "spawn"), command=[missing_interpreter(run)])
    run.finish()


def retries(run: SceneRun) -> None:
    """Run a task that fails once."""
    run.arm()
    run.launch(DONE, ("error", "exit"), command=run.job("flaky"), retries=1)
    run.finish()


def cancelled(run: SceneRun) -> None:
    """Cancel a process tree that ignores SIGTERM."""
    id = run.launch(CANCELLED, command=run.job("tree"))
    run.until_runs(id)
    run.arm()
    done = run.command("cancel", id)
    if done.code not in (0, 5):
        raise Violation("I2", f"cancel: {done}")
    if done.code == 0 and run.task(id).status != "cancelled":
        raise Violation("I2", f"cancel reported success, and the task is {run.task(id).status}")
    run.finish()


def pending_cancelled(run: SceneRun) -> None:
    """Cancel a task that waits behind another, before it starts."""
    first = run.launch(DONE, command=run.job("holds"))
    run.until_runs(first)
    run.arm()
    id = run.launch(CANCELLED, command=run.job("well"))
    run.command("cancel", id)
    run.go.touch()
    run.finish()
    if run.runs(id):
        raise Violation("I2", f"{id} was cancelled before it started, and ran")


def timed_out(run: SceneRun) -> None:
    """Run a process tree that ignores SIGTERM until its timeout."""
    run.arm()
    run.launch(("error", "timeout"), command=run.job("tree"), timeout_ms=150)
    run.finish()


def leaves_children(run: SceneRun) -> None:
    """Run a command that succeeds and leaves a daemon, which is ended."""
    run.arm()
    run.launch(DONE, command=run.job("leaves"))
    run.finish()


def external(run: SceneRun) -> None:
    """Complete external tasks from the command line and over the socket; one times out."""
    run.arm()
    by_command = run.launch(DONE, agent="external", concurrency_key="by-command")
    by_socket = run.launch(DONE, agent="external", concurrency_key="by-socket")
    run.launch(("error", "timeout"), agent="external", concurrency_key="late", timeout_ms=100)
    for id in (by_command, by_socket):
        run.home.until(lambda id=id: run.task(id).status != "pending", f"{id} to be claimed")
    succeed(run, "complete", by_command, "--result", "well")
    with suppress(Refused):  # it is completed already if the response was lost
        run.call("complete", id=by_socket, result="well")
    run.finish()


def callables(run: SceneRun) -> None:
    """Run two calls in one runner."""
    shutil.copyfile(JOB, run.home.project / "errands.py")
    run.arm()
    for _ in range(2):
        run.launch(DONE, call="errands:work", args=[str(run.effects)])
    run.finish()


def delayed(run: SceneRun) -> None:
    """Launch a task with a delay."""
    run.arm()
    run.launch(DONE, command=run.job("well"), delay_ms=100)
    run.finish()


def dependent(run: SceneRun) -> None:
    """Launch a task after one that succeeds, and one after one that fails."""
    run.arm()
    first = run.launch(DONE, command=run.job("well"), concurrency_key="a")
    run.launch(DONE, ("error", "dependency"), command=run.job("well"), concurrency_key="b", after=[first])
    bad = run.launch(("error", "exit"), command=run.job("fails"), concurrency_key="c")
    run.launch(("error", "dependency"), command=run.job("well"), concurrency_key="d", after=[bad])
    run.finish()


def adopted(run: SceneRun) -> None:
    """Kill the supervisor while a task runs. The next one may be killed during its start, and adopts the task."""
    id = run.launch(DONE, command=run.job("holds"))
    run.until_runs(id)
    run.arm()
    run.home.replace_supervisor()
    run.go.touch()
    run.launch(DONE, command=run.job("well"), concurrency_key="next")
    run.finish()


def restarted(run: SceneRun) -> None:
    """Restart the supervisor and its fork server while a task runs on."""
    id = run.launch(DONE, command=run.job("holds"))
    run.until_runs(id)
    run.arm()
    run.command("restart")
    run.home.wait_ready()
    run.go.touch()
    run.launch(DONE, command=run.job("well"), concurrency_key="next")
    run.finish()


def worker_dead(run: SceneRun) -> None:
    """Kill a worker while its process tree runs: the next task in its slot starts when the tree is gone."""
    id = run.launch(("error", "lost"), command=run.job("tree"))
    run.until_runs(id)
    run.launch(DONE, command=run.job("well"))
    run.arm()
    kill_workers(run)
    run.finish()


def both_dead(run: SceneRun) -> None:
    """Kill the supervisor and a worker while a process tree runs: the next supervisor rescues the task."""
    id = run.launch(("error", "lost"), command=run.job("tree"))
    run.until_runs(id)
    run.home.is_down.set()
    run.home.kill_supervisor()
    run.home.until(lambda: run.home.holder("supervisor") is None, "the death of the supervisor")
    kill_workers(run)
    run.arm()
    run.home.is_down.clear()
    run.finish()


def batch(run: SceneRun) -> None:
    """End three tasks of one parent: a full batch and one that waits for its window; then flush."""
    run.arm()
    for key in "abc":
        run.launch(DONE, command=run.job("well"), concurrency_key=key)
    run.command("flush", "--parent", run.order.token)
    run.finish()


def acknowledging(run: SceneRun) -> None:
    """Kill a subscriber that acknowledges; started again, it continues where it had acknowledged."""
    for key in "ab":
        run.launch(DONE, command=run.job("well"), concurrency_key=key)
    run.home.settle(run.allowed)
    expected = {event["seq"] for event in run.home.received if event["parentSessionId"] == run.order.token}
    run.arm()
    received: list[int] = []
    for _ in range(SUBSCRIBERS):
        received += receive_in_order(run, received, sorted(expected))
        if set(received) >= expected and cursor_of(run) >= max(expected):
            return run.finish()
    raise Violation("I7", f"{SUBSCRIBERS} subscribers received {received} of {sorted(expected)}")


def receive_in_order(run: SceneRun, before: list[int], expected: list[int]) -> list[int]:
    """Start one more subscriber, and return what it received: without a gap, from where it had acknowledged."""
    received = listen(run, expected[-1])
    if received and received != expected[expected.index(received[0]) :][: len(received)]:
        raise Violation("I7", f"the subscriber received {received} of {expected}")
    if received and received[0] > next((seq for seq in expected if seq > max([*before, 0])), received[0]):
        raise Violation("I7", f"after {before} the subscriber received {received} of {expected}")
    if cursor_of(run) > max([*before, *received, 0]):
        raise Violation("I7", f"acknowledged up to {cursor_of(run)}, received {before + received}")
    return received


def listen(run: SceneRun, last: int) -> list[int]:
    """Run `listen --ack` until it has acknowledged the last event or was killed, and return what it received."""
    words = ("listen", "--parent", run.order.token, "--consumer", "c", "--ack", "--json")
    with open(os.devnull, "r+") as nothing, tempfile.TemporaryFile("w+") as file:
        listener = run.home.start_command(nothing, file, nothing, *words)
        run.home.until(lambda: cursor_of(run) >= last or not is_alive(listener.pid), "the last acknowledgement")
        listener.kill()
        listener.wait(TIMEOUT)
        file.seek(0)
        return [json.loads(line)["seq"] for line in file]


def cursor_of(run: SceneRun) -> int:
    """Return the number of the last event that the subscriber has acknowledged."""
    rows = run.home.rows("SELECT seq FROM cursors WHERE parent = ? AND consumer = 'c'", run.order.token)
    return int(rows[0][0]) if rows else 0


def launching(run: SceneRun) -> None:
    """Launch by the command line and over the socket, again under the same id when the response was lost."""
    (run.home.project / "input").write_text("hello")
    run.arm()
    ids = [f"bg-{uuid.uuid4()}" for _ in range(3)]
    tasks = [
        {"id": id, "command": run.job("well"), "parentSessionId": run.order.token, "concurrencyKey": id}
        | {"env": {"CRASH_SLOT": id}}
        | ({} if place else {"stdinFile": str(run.home.project / "input")})
        for place, id in enumerate(ids)
    ]
    for id in ids:
        run.expect(id, DONE)
    done = run.command("launch", "--from-file", "-", stdin="\n".join(map(json.dumps, tasks[:2])))
    if done.stdout.split() != ids[:2]:
        raise Violation("I1", f"launch: {done}")
    run.call("launch", **tasks[2], cwd=str(run.home.project))
    run.finish()


def launching_without_id(run: SceneRun) -> None:
    """Launch without choosing the id: killed before it could print, the command launched one task or none."""
    run.arm()
    before = known_ids(run)
    done = run.command_once("launch", "--parent", run.order.token, "--", *run.job("well"))
    new = known_ids(run) - before
    if set(done.stdout.split()) - new or len(new) > 1 or (done.code == 0) > len(new):
        raise Violation("I1", f"launch printed {done.stdout!r} ({done.code}), and these tasks are new: {new}")
    for id in new:
        run.expect(id, DONE)
    run.finish()


def known_ids(run: SceneRun) -> set[str]:
    """Return the ids of all tasks."""
    return {row["id"] for row in run.home.rows("SELECT id FROM tasks")}


def first_start(run: SceneRun) -> None:
    """Start in an empty folder, and run the first task."""
    run.arm()
    run.home.is_down.clear()
    run.home.open()
    run.launch(DONE, command=run.job("well"))
    run.finish()


def down_now(run: SceneRun) -> None:
    """Go down at once while a process tree runs, and start again."""
    home = run.home
    id = run.launch(("error", "interrupted"), command=run.job("tree"))
    again = run.launch(DONE, ("error", "interrupted"), command=run.job("flaky"), retries=2, concurrency_key="again")
    run.interrupted.add(again)
    run.until_runs(id)
    run.arm()
    go_down(run, "--now")
    for role in ("supervisor", "flusher"):
        if home.holder(role) is not None:
            raise Violation("I6", f"down has returned, and the {role} is still there")
    if home.task_processes():
        raise Violation("I5", f"down --now left {home.task_processes()}")
    home.is_down.clear()
    home.wait_ready()
    run.expect(again, DONE, ("error", "interrupted"), ("error", "lost"), retries=2)
    run.finish()


def down_leaves_task(run: SceneRun) -> None:
    """Go down and leave a task to its worker, which settles it; the next supervisor's flusher reports it."""
    id = run.launch(DONE, command=run.job("holds"))
    run.until_runs(id)
    run.arm()
    go_down(run)
    run.go.touch()
    run.home.until(lambda: not run.home.workers(), "the worker to leave")
    run.home.is_down.clear()
    run.finish()


def backed_up(run: SceneRun) -> None:
    """Back up while a task runs: the file is complete, or there is none."""
    id = run.launch(DONE, command=run.job("holds"))
    run.until_runs(id)
    file = run.home.project / f"{run.order.token}.bak"
    run.arm()
    done = run.command_once("backup", str(file))
    run.home.order(None)
    if file.exists() and id not in ids_in(file):
        raise Violation("I1", f"backup: {done}, and {id} is not in it")
    if not file.exists() and done.code != -signal.SIGKILL:
        raise Violation("I1", f"backup: {done}, and there is no file")
    if run.command("backup", "--force", str(file)).code or id not in ids_in(file):
        raise Violation("I1", f"there is no backup with {id} in it")
    run.go.touch()
    run.finish()


def ids_in(file: Path) -> set[str]:
    """Return the ids of all tasks in a backup."""
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise Violation("I1", f"{file} is damaged")
        return {row[0] for row in connection.execute("SELECT id FROM tasks")}


def restored(run: SceneRun) -> None:
    """Restore a backup: the state is the old one or the restored one, never a mixture; no number is given twice."""
    home, file = run.home, run.home.project / f"{run.order.token}.bak"
    lost = run.launch(DONE, command=run.job("holds"))
    run.until_runs(lost)
    run.command("backup", str(file))
    gone = run.launch(DONE, command=run.job("well"), concurrency_key="gone")
    run.go.touch()
    home.settle(run.allowed)
    go_down(run)
    home.until(lambda: home.holder("forkserver") is None, "the fork server to leave")
    seq, claim = highest_numbers(run)
    restore_once_killed(run, gone, file)
    home.drop_rolled_back()
    del run.allowed[gone]
    run.expect(lost, ("error", "lost"))
    run.launch(DONE, command=run.job("well"), concurrency_key="gone")
    home.is_down.clear()
    run.finish()
    seqs = [event["seq"] for event in home.received if event["parentSessionId"] == run.order.token][1:]
    claims = claims_of(run, "gone")
    if min(seqs) <= seq or min(claims) <= claim:
        raise Violation("I7", f"event {seq} and claim {claim} were the last, then came events {seqs}, claims {claims}")


def restore_once_killed(run: SceneRun, gone: str, file: Path) -> None:
    """Restore a backup that has one task less; if the command was killed, do it again."""
    before = known_ids(run)
    run.arm()
    done = run.command_once("restore", "--yes", str(file))
    run.home.order(None)
    if known_ids(run) not in (before, before - {gone}):
        raise Violation("I1", f"restore: {done}, there were {before}, now {known_ids(run)}")
    if done.code == -signal.SIGKILL:
        done = run.command("restore", "--yes", str(file))
    if done.code or known_ids(run) != before - {gone}:
        raise Violation("I1", f"restore: {done}, there were {before}, now {known_ids(run)}")


def highest_numbers(run: SceneRun) -> tuple[int, int]:
    """Return the numbers of the last event and the last claim."""
    seq, claim = run.home.rows("SELECT (SELECT max(seq) FROM events), (SELECT max(claim) FROM tasks)")[0]
    return seq, claim


def claims_of(run: SceneRun, key: str) -> list[int]:
    """Return the claims of this run's tasks of a key."""
    rows = run.home.rows("SELECT claim FROM tasks WHERE key = ? AND parent = ?", key, run.order.token)
    return [row["claim"] for row in rows]


SCENES: dict[str, Scene] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        completes,
        fails,
        unstartable,
        retries,
        cancelled,
        pending_cancelled,
        timed_out,
        leaves_children,
        external,
        callables,
        *SERIES_SCENES,
        delayed,
        dependent,
        adopted,
        restarted,
        worker_dead,
        both_dead,
        batch,
        acknowledging,
        launching,
        launching_without_id,
        first_start,
        down_now,
        down_leaves_task,
        backed_up,
        restored,
    )
}

#: Scenes that begin with an empty folder.
FRESH = frozenset({"first-start"})
