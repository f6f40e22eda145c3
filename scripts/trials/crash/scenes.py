"""The scenes in which processes are killed: each plays a piece of a home's life, up to where all is over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from backburner.ipc.errors import BackburnerError
from scripts.trials.crash.home import JOB, PATIENCE, Play, Violation, comm, is_dead, until

#: So many times a subscriber comes again at most: it is killed once.
LISTENERS = 4

#: So many times tasks are launched to find a worker that holds some.
HOLDING_TRIES = 3

DONE = ("completed", None)
CANCELLED = ("cancelled", None)

#: A scene and, where it needs a home of its own, that it does.
Scene = Callable[[Play], None]


def completes(play: Play) -> None:
    """Two tasks of one group: the transaction that settles the first claims the second."""
    play.arm()
    for _ in range(2):
        play.launch(DONE, command=play.job("well"), concurrencyKey="one")
    play.finish()


def fails(play: Play) -> None:
    """A task that exits with 3, with a file to read from."""
    play.arm()
    play.launch(("error", "exit"), command=play.job("fails"), stdin="x")
    play.finish()


def unstartable(play: Play) -> None:
    """A script whose interpreter is not there: it ends without having run."""
    script = play.house.project / "script"
    script.write_text("#!/nowhere\n")
    script.chmod(0o700)
    play.arm()
    play.launch(("error", "spawn"), command=[str(script)])
    play.finish()


def retries(play: Play) -> None:
    """A task that fails once."""
    play.arm()
    play.launch(DONE, ("error", "exit"), command=play.job("flaky"), retries=1)
    play.finish()


def cancelled(play: Play) -> None:
    """A tree that does not want to go is cancelled by somebody at the command line."""
    id = play.launch(CANCELLED, command=play.job("tree"))
    play.until_runs(id)
    play.arm()
    done = play.command("cancel", id)
    if done.code not in (0, 5):
        raise Violation(f"cancel: {done.code} {done.stderr}")
    if done.code == 0 and play.task(id).status != "cancelled":
        raise Violation(f"cancel said that it is done, the task is {play.task(id).status}")
    play.finish()


def pending_cancelled(play: Play) -> None:
    """One that waits behind another is cancelled before it starts."""
    first = play.launch(DONE, command=play.job("holds"))
    play.until_runs(first)
    play.arm()
    id = play.launch(CANCELLED, command=play.job("well"))
    play.command("cancel", id)
    play.go.touch()
    play.finish()
    if play.runs(id):
        raise Violation(f"{id} was cancelled before it started, and ran")


def timed_out(play: Play) -> None:
    """A tree that does not want to go runs out of time."""
    play.arm()
    play.launch(("error", "timeout"), command=play.job("tree"), timeoutMs=150)
    play.finish()


def leaves_children(play: Play) -> None:
    """A command that exits well and leaves a daemon behind, which is ended."""
    play.arm()
    play.launch(DONE, command=play.job("leaves"))
    play.finish()


def external(play: Play) -> None:
    """Work done outside: one is completed from the command line, one over the bus, one runs out of time."""
    play.arm()
    by_hand = play.launch(DONE, agent="external", concurrencyKey="by-hand")
    by_bus = play.launch(DONE, agent="external", concurrencyKey="by-bus")
    play.launch(("error", "timeout"), agent="external", concurrencyKey="late", timeoutMs=100)
    for id in (by_hand, by_bus):
        until(lambda id=id: play.task(id).status != "pending", "it to be claimed", play.house.portrait)
    done = play.command("complete", by_hand, "--result", "well")
    if done.code not in (0, 5):
        raise Violation(f"complete: {done.code} {done.stderr}")
    with suppress(BackburnerError):  # it is done already: the answer was lost
        play.ask("complete", id=by_bus, result="well")
    play.finish()


def callables(play: Play) -> None:
    """Two calls in one runner."""
    shutil.copyfile(JOB, play.house.project / "errands.py")
    play.arm()
    for _ in range(2):
        play.launch(DONE, call="errands:work", args=[str(play.effects)])
    play.finish()


def series(play: Play, *kinds: str) -> list[str]:
    """Launch short commands that a worker runs in series; each may end as its kind does."""
    return play.launch_many(
        [{"command": play.short_job(kind), "retries": int(kind == "flaky")} for kind in kinds], DONE
    )


def series_of_commands(play: Play) -> None:
    """Twelve short commands in one slot: some fail, one is tried again, one cannot be started, one writes much."""
    script = play.house.project / "script"
    script.write_text("#!/nowhere\n")
    script.chmod(0o700)
    play.arm()
    kinds = "well silent well well well fails well flaky large well silent".split()
    ids = series(play, *kinds)
    play.expect(ids[kinds.index("fails")], ("error", "exit"))
    play.launch(("error", "spawn"), command=[str(script)])
    play.finish()


def calls(play: Play, *names: str) -> list[str]:
    """Launch short calls; the module stays the same, so that the runner can keep it."""
    module = play.house.project / "short_errands.py"
    if not module.exists():
        shutil.copyfile(JOB, module)
    args = {"hold": [str(play.effects), str(play.go)]}
    common = [
        {"call": f"short_errands:{name}", "args": args.get(name, [str(play.effects)]), "retries": int(name == "flake")}
        for name in names
    ]
    return play.launch_many(common, DONE)


def series_of_calls(play: Play) -> None:
    """Twelve short calls in one slot: one fails, one is tried again, one prints much."""
    play.arm()
    names = "work work work work work fail work flake work shout work work".split()
    play.expect(calls(play, *names)[names.index("fail")], ("error", "failed"))
    play.finish()


def long_journal(play: Play) -> None:
    """Commands whose outputs fill the journal: it is started over."""
    play.arm()
    series(play, *["medium"] * 40)
    play.finish()


def long_command(play: Play) -> None:
    """A long command among short ones: it is watched by itself, and those behind it go back to the queue."""
    play.arm()
    ids = series(play, *"well well well well well holds well well well".split())
    play.until_runs(ids[5])
    until(lambda: not held_tasks(play), "the tasks behind it to go back", play.house.portrait)
    play.go.touch()
    play.finish()


def long_call(play: Play) -> None:
    """A long call among short ones."""
    play.arm()
    ids = calls(play, *"work work work work work hold work work work".split())
    play.until_runs(ids[5])
    until(lambda: not held_tasks(play), "the tasks behind it to go back", play.house.portrait)
    play.go.touch()
    play.finish()


def lingering_call(play: Play) -> None:
    """A call among others leaves a thread behind: the next ones get another worker."""
    play.arm()
    calls(play, *"work work linger work work".split())
    play.finish()


def leaves_in_series(play: Play) -> None:
    """A short command among others leaves a process behind, which is ended."""
    play.arm()
    series(play, *"well well well well leaves well well".split())
    play.finish()


def kept_open(play: Play) -> None:
    """A process that is not the task's has the output of a short command open: the next one gets another file."""
    play.arm()
    _, held = hold(play)
    opened = [os.open(path, os.O_WRONLY) for path in (play.house.home.folder / "output").glob("command-*.std*")]
    if held is not None:
        resume(held)
    play.finish()
    for descriptor in opened:
        os.close(descriptor)


def held_cancelled(play: Play) -> None:
    """A task that a worker holds is cancelled: it never starts."""
    play.arm()
    ids, held = hold(play)
    id = ids[-1] if held is None else held.ids[-1]
    play.expect(id, CANCELLED, ("cancelled", "interrupted"), DONE)  # a worker stopped in a transaction is continued
    with continued_on_request(play, held):
        done = play.command("cancel", id)
    if done.code not in (0, 5):
        raise Violation(f"cancel: {done.code} {done.stderr}")
    if done.code == 0 and play.task(id).status != "cancelled":
        raise Violation(f"cancel reported success, and the task is {play.task(id).status}")
    play.finish()


def held_silent(play: Play) -> None:
    """A stopped worker holds a task that is cancelled: the supervisor kills it, and the cancellation comes about."""
    play.arm()
    ids, held = hold(play)
    for id in ids:
        play.expect(id, DONE, *[CANCELLED, ("cancelled", "interrupted")] * (id == ids[-1]), ("error", "lost"))
    done = play.command("cancel", ids[-1])
    if done.code not in (0, 5):
        raise Violation(f"cancel: {done.code} {done.stderr}")
    if held is not None:
        resume(held)
    play.finish()
    check_lost(play, ids, 2)


def held_paused(play: Play) -> None:
    """A group is paused while a worker holds tasks of it: once `pause` has returned, none of them starts."""
    play.arm()
    ids, held = hold(play)
    with continued_on_request(play, held):
        done = play.command("pause", "command")
    if done.code:
        raise Violation(f"pause: {done.code} {done.stderr}")
    waiting = pending(play, ids)
    play.house.settle([play.launch(DONE, command=play.short_job("well"), concurrencyKey="other")])
    if pending(play, ids) != waiting:
        raise Violation(f"the group was paused, and {waiting} became {pending(play, ids)}")
    play.command("resume", "command")
    play.finish()


def held_down(play: Play) -> None:
    """A home goes down while a worker holds tasks: it gives them back when it goes on, and the next home runs them."""
    play.arm()
    _, held = hold(play)
    go_down(play)
    if held is not None:
        resume(held)
    until(lambda: not play.house.workers(), "the worker to leave", play.house.portrait)
    play.house.down.clear()
    play.finish()


def held_lost(play: Play) -> None:
    """A worker that holds tasks dies: what has ended is settled by its journal, what was not started runs later."""
    ids, held = hold(play, runs_command)
    for id in ids:
        play.expect(id, DONE, ("error", "lost"))
    play.arm()
    if held is not None:
        kill(held.worker)
    play.finish()
    check_lost(play, ids, 2)


def held_and_all_dead(play: Play) -> None:
    """A worker that holds tasks and the supervisor die: the next supervisor settles by the journal."""
    ids, held = hold(play, runs_command)
    for id in ids:
        play.expect(id, DONE, ("error", "lost"))
    play.house.down.set()
    play.house.kill_supervisor()
    until(lambda: play.house.role("supervisor") is None, "the death of the supervisor", play.house.portrait)
    if held is not None:
        kill(held.worker)
    (play.house.home.folder / "output" / "worker-0.journal").touch()
    play.arm()
    play.house.down.clear()
    play.finish()
    check_lost(play, ids, 2)


class HoldingWorker(NamedTuple):
    """A stopped worker, and the tasks that it holds, in order."""

    worker: int
    journal: Path
    ids: list[str]


def hold(
    play: Play, is_wanted: Callable[[HoldingWorker], bool] = lambda held: True
) -> tuple[list[str], HoldingWorker | None]:
    """Launch short commands until a worker that is wanted holds some, and stop it; return the tasks, and the worker.

    A machine that is so busy that no command is short has workers take them one by one: then there is no such worker.
    """
    ids: list[str] = []
    for _ in range(HOLDING_TRIES):
        ids += series(play, *["well"] * 12)
        held = stop_holder(play, ids, is_wanted)
        if held is not None:
            return ids, held
    return ids, None


def runs_command(held: HoldingWorker) -> bool:
    """Return True if a stopped worker has noted the start of a command, and not its end."""
    with suppress(FileNotFoundError):  # the worker is dead
        return held.journal.read_bytes().rstrip(b"\n").rpartition(b"\n")[2].startswith(b"s ")
    return False


def stop_holder(play: Play, ids: list[str], is_wanted: Callable[[HoldingWorker], bool]) -> HoldingWorker | None:
    """Stop a worker that is wanted while it holds tasks; None if all of them ended before one was met."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and pending(play, ids):
        for row in held_tasks(play)[:1]:
            with suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGSTOP)
            until(lambda row=row: is_stopped(row["pid"]) or is_dead(row["pid"]), "the worker to stop")
            journal = play.house.home.folder / "output" / f"worker-{row['number']}.journal"
            held = HoldingWorker(row["pid"], journal, [one["id"] for one in held_tasks(play)])
            if held.ids and is_wanted(held):
                return held
            resume(held)
    return None


def held_tasks(play: Play) -> list[sqlite3.Row]:
    """Return the tasks that workers hold, with their workers."""
    query = "SELECT t.id, p.pid, p.number FROM tasks t JOIN processes p ON p.number = t.owner WHERE t.held IS NOT NULL"
    return play.house.rows(f"{query} ORDER BY t.held")


def is_stopped(pid: int) -> bool:
    """Return True if a process was stopped by a signal."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
    return False


def resume(held: HoldingWorker) -> None:
    """Continue a stopped worker."""
    with suppress(ProcessLookupError):
        os.kill(held.worker, signal.SIGCONT)


@contextmanager
def continued_on_request(play: Play, held: HoldingWorker | None) -> Iterator[None]:
    """Continue a stopped worker as soon as another process asks for what it holds."""
    requested = "SELECT 1 FROM tasks WHERE requested IS NOT NULL"

    def wait() -> None:
        until(lambda: play.house.rows(requested) or not held_tasks(play), "a request", play.house.portrait)
        if held is not None:
            resume(held)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        yield
        waiting.result()


def pending(play: Play, ids: list[str]) -> list[str]:
    """Return those tasks that have not started, as the database has it."""
    rows = {row["id"] for row in play.house.rows("SELECT id FROM tasks WHERE status = 'pending'")}
    return [id for id in ids if id in rows]


def check_lost(play: Play, ids: list[str], most: int) -> None:
    """No more than so many tasks are lost. Raises Violation."""
    lost = [id for id in ids if play.task(id).error_kind == "lost"]
    if len(lost) > most:
        raise Violation(f"{lost} are lost")


def delayed(play: Play) -> None:
    """A task that is not to start at once."""
    play.arm()
    play.launch(DONE, command=play.job("well"), delayMs=100)
    play.finish()


def dependent(play: Play) -> None:
    """A chain, and one that comes after what fails."""
    play.arm()
    first = play.launch(DONE, command=play.job("well"), concurrencyKey="a")
    play.launch(DONE, ("error", "dependency"), command=play.job("well"), concurrencyKey="b", after=[first])
    bad = play.launch(("error", "exit"), command=play.job("fails"), concurrencyKey="c")
    play.launch(("error", "dependency"), command=play.job("well"), concurrencyKey="d", after=[bad])
    play.finish()


def adopted(play: Play) -> None:
    """The supervisor dies while a task runs; the next one, whose whole start counts, adopts it."""
    id = play.launch(DONE, command=play.job("holds"))
    play.until_runs(id)
    play.arm()
    play.house.freshen()
    play.go.touch()
    play.launch(DONE, command=play.job("well"), concurrencyKey="next")
    play.finish()


def restarted(play: Play) -> None:
    """The supervisor hands over to a new one, with a fork server of its own, while a task runs on."""
    id = play.launch(DONE, command=play.job("holds"))
    play.until_runs(id)
    play.arm()
    done = play.command("restart")
    if "Traceback" in done.stderr:
        raise Violation(f"restart: {done.code} {done.stderr}")
    play.house.wait_ready()
    play.go.touch()
    play.launch(DONE, command=play.job("well"), concurrencyKey="next")
    play.finish()


def buried(play: Play) -> None:
    """A worker dies while its tree runs: the next in its slot starts when nobody is left."""
    id = play.launch(("error", "lost"), command=play.job("tree"))
    play.until_runs(id)
    play.launch(DONE, command=play.job("well"))
    play.arm()
    kill_workers(play)
    play.finish()


def both_dead(play: Play) -> None:
    """Supervisor and worker die while a tree runs: the next supervisor buries it."""
    id = play.launch(("error", "lost"), command=play.job("tree"))
    play.until_runs(id)
    play.house.down.set()
    play.house.kill_supervisor()
    until(lambda: play.house.role("supervisor") is None, "the death of the supervisor", play.house.portrait)
    kill_workers(play)
    play.arm()
    play.house.down.clear()
    play.finish()


def batch(play: Play) -> None:
    """Three ends of one parent: a full batch and one that waits for its window; then a flush."""
    play.arm()
    for key in "abc":
        play.launch(DONE, command=play.job("well"), concurrencyKey=key)
    play.command("flush", "--parent", play.order.token)
    play.finish()


def acknowledging(play: Play) -> None:
    """A subscriber that acknowledges; killed, it comes again and goes on where it had acknowledged."""
    for key in "ab":
        play.launch(DONE, command=play.job("well"), concurrencyKey=key)
    play.house.settle(play.allowed)
    wanted = {event["seq"] for event in play.house.heard if event["parentSessionId"] == play.order.token}
    play.arm()
    told: list[int] = []
    for _ in range(LISTENERS):
        told += heard_in_order(play, told, sorted(wanted))
        if set(told) >= wanted and cursor_of(play) >= max(wanted):
            return play.finish()
    raise Violation(f"I7: {LISTENERS} listeners were told {told} of {sorted(wanted)}")


def heard_in_order(play: Play, told: list[int], wanted: list[int]) -> list[int]:
    """What one more listener is told: without a gap, from where it was acknowledged."""
    got = listen(play, wanted[-1])
    if got and got != wanted[wanted.index(got[0]) :][: len(got)]:
        raise Violation(f"I7: the subscriber was told {got} of {wanted}")
    if got and got[0] > next((seq for seq in wanted if seq > max([*told, 0])), got[0]):
        raise Violation(f"I7: after {told} the subscriber was told {got} of {wanted}")
    if cursor_of(play) > max([*told, *got, 0]):
        raise Violation(f"I7: acknowledged up to {cursor_of(play)}, told {told + got}")
    return got


def listen(play: Play, last: int) -> list[int]:
    """What one run of `listen --ack` is told, until it has acknowledged the last or was killed."""
    words = ("listen", "--parent", play.order.token, "--consumer", "c", "--ack", "--json")
    with open(os.devnull, "r+") as nothing, tempfile.TemporaryFile("w+") as file:
        listener = play.house.start(nothing, file, nothing, *words)
        until(lambda: cursor_of(play) >= last or is_dead(listener.pid), "the last acknowledgement", play.house.portrait)
        listener.kill()
        listener.wait(PATIENCE)
        file.seek(0)
        return [json.loads(line)["seq"] for line in file]


def cursor_of(play: Play) -> int:
    """Up to where the subscriber has acknowledged."""
    rows = play.house.rows("SELECT seq FROM cursors WHERE parent = ? AND consumer = 'c'", play.order.token)
    return int(rows[0][0]) if rows else 0


def launching(play: Play) -> None:
    """Launches by the command line and over the bus, each asked for again, under its id, when the answer was lost."""
    (play.house.project / "input").write_text("hello")
    play.arm()
    ids = [f"bg-{uuid.uuid4()}" for _ in range(3)]
    tasks = [
        {"id": id, "command": play.job("well"), "parentSessionId": play.order.token, "concurrencyKey": id}
        | {"env": {"CRASH_SLOT": id}}
        | ({} if place else {"stdinFile": str(play.house.project / "input")})
        for place, id in enumerate(ids)
    ]
    for id in ids:
        play.expect(id, DONE)
    done = play.command("launch", "--from-file", "-", stdin="\n".join(map(json.dumps, tasks[:2])))
    if done.stdout.split() != ids[:2]:
        raise Violation(f"launch: {done.code} {done.stdout} {done.stderr}")
    play.ask("launch", **tasks[2], cwd=str(play.house.project))
    play.finish()


def unnamed(play: Play) -> None:
    """A launch without an id of the launcher's: killed before it could tell, it made one task or none."""
    play.arm()
    before = known(play)
    done = play.command_once("launch", "--parent", play.order.token, "--", *play.job("well"))
    new = known(play) - before
    if set(done.stdout.split()) - new or len(new) > 1 or (done.code == 0) > len(new):
        raise Violation(f"I1: launch said {done.stdout!r} ({done.code}), there is {new}")
    for id in new:
        play.expect(id, DONE)
    play.finish()


def known(play: Play) -> set[str]:
    """The ids of all tasks there are."""
    return {row["id"] for row in play.house.rows("SELECT id FROM tasks")}


def rising(play: Play) -> None:
    """A home comes to life: from an empty folder to the end of its first task."""
    play.arm()
    play.house.down.clear()
    play.house.open()
    play.launch(DONE, command=play.job("well"))
    play.finish()


def falling(play: Play) -> None:
    """A home goes down at once while a tree runs, and comes up again."""
    house = play.house
    id = play.launch(("error", "interrupted"), command=play.job("tree"))
    again = play.launch(DONE, ("error", "interrupted"), command=play.job("flaky"), retries=2, concurrencyKey="again")
    play.interrupted.add(again)
    play.until_runs(id)
    play.arm()
    go_down(play, "--now")
    for role in ("supervisor", "flusher"):
        if house.role(role) is not None:
            raise Violation(f"down returned, the {role} is there")
    if house.tasks_processes():
        raise Violation(f"I5: down --now left {house.tasks_processes()}")
    house.down.clear()
    house.wait_ready()
    play.expect(again, DONE, ("error", "interrupted"), ("error", "lost"), retries=2)
    play.finish()


def left_alone(play: Play) -> None:
    """A home goes down and leaves a task to its worker, which settles it; the next one tells."""
    id = play.launch(DONE, command=play.job("holds"))
    play.until_runs(id)
    play.arm()
    go_down(play)
    play.go.touch()
    until(lambda: not play.house.workers(), "the worker to leave", play.house.portrait)
    play.house.down.clear()
    play.finish()


def backed_up(play: Play) -> None:
    """A home is copied while a task runs: the file is there whole, or not at all."""
    id = play.launch(DONE, command=play.job("holds"))
    play.until_runs(id)
    file = play.house.project / f"{play.order.token}.bak"
    play.arm()
    done = play.command_once("backup", str(file))
    play.house.order(None)
    if file.exists() and id not in ids_in(file):
        raise Violation(f"backup: {done}, {id} is not in it")
    if not file.exists() and done.code != -signal.SIGKILL:
        raise Violation(f"backup: {done}")
    if play.command("backup", "--force", str(file)).code or id not in ids_in(file):
        raise Violation(f"there is no backup with {id} in it")
    play.go.touch()
    play.finish()


def ids_in(file: Path) -> set[str]:
    """The ids of all tasks in a backup."""
    with closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        if connection.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            raise Violation(f"{file} is damaged")
        return {row[0] for row in connection.execute("SELECT id FROM tasks")}


def restored(play: Play) -> None:
    """A home gets its past back: it is as it was or as it was then, never in between; no number is given twice."""
    house, file = play.house, play.house.project / f"{play.order.token}.bak"
    lost = play.launch(DONE, command=play.job("holds"))
    play.until_runs(lost)
    play.command("backup", str(file))
    gone = play.launch(DONE, command=play.job("well"), concurrencyKey="gone")
    play.go.touch()
    house.settle(play.allowed)
    go_down(play)
    until(lambda: house.role("forkserver") is None, "the fork server to leave", house.portrait)
    given = highest(play)
    restore_killed(play, gone, file)
    house.forget()
    del play.allowed[gone]
    play.expect(lost, ("error", "lost"))
    play.launch(DONE, command=play.job("well"), concurrencyKey="gone")
    house.down.clear()
    play.finish()
    new = [event["seq"] for event in house.heard if event["parentSessionId"] == play.order.token][1:]
    if min(new) <= given[0] or min(claims_of(play, "gone")) <= given[1]:
        raise Violation(f"I7: {given} were given, then {new} and {claims_of(play, 'gone')}")


def restore_killed(play: Play, gone: str, file: Path) -> None:
    """Restore what has one task less; killed, again."""
    before = known(play)
    play.arm()
    done = play.command_once("restore", "--yes", str(file))
    play.house.order(None)
    if known(play) not in (before, before - {gone}):
        raise Violation(f"restore: {done}, there were {before}, now {known(play)}")
    if done.code == -signal.SIGKILL:
        done = play.command("restore", "--yes", str(file))
    if done.code or known(play) != before - {gone}:
        raise Violation(f"restore: {done}, there were {before}, now {known(play)}")


def highest(play: Play) -> tuple[int, int]:
    """The last numbers of an event and of a claim."""
    seq, claim = play.house.rows("SELECT (SELECT max(seq) FROM events), (SELECT max(claim) FROM tasks)")[0]
    return seq, claim


def claims_of(play: Play, key: str) -> list[int]:
    """The claims of this play's tasks of a key."""
    rows = play.house.rows("SELECT claim FROM tasks WHERE key = ? AND parent = ?", key, play.order.token)
    return [row["claim"] for row in rows]


def go_down(play: Play, *how: str) -> None:
    """Say `down`; a supervisor that was killed meanwhile is started again, and told again."""
    house = play.house
    while True:
        house.down.set()
        done = play.command("down", *how)
        until(lambda: house.role("supervisor") is None, "the supervisor to go", house.portrait)
        if done.code == 0 and house.left_well():
            return
        if done.code not in (0, 4, 111):
            raise Violation(f"down: {done.code} {done.stderr}")
        house.down.clear()
        house.wait_ready()


def kill_workers(play: Play) -> None:
    """SIGKILL every worker."""
    for pid in play.house.workers():
        if comm(pid) == "bb-worker":
            kill(pid)


def kill(pid: int) -> None:
    """SIGKILL, and wait for the death."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: is_dead(pid), f"the death of {pid}")


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
        delayed,
        dependent,
        adopted,
        restarted,
        buried,
        both_dead,
        batch,
        acknowledging,
        launching,
        unnamed,
        rising,
        falling,
        left_alone,
        backed_up,
        restored,
    )
}

#: Scenes that begin with an empty folder.
FRESH = frozenset({"rising"})
