"""The scenes in which processes are killed: each plays a piece of a home's life, up to where all is over."""

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

from crash_house import JOB, PATIENCE, Play, Violation, comm, is_dead, until

from ipc.errors import BackburnerError

#: So many times a subscriber comes again at most: it is killed once.
LISTENERS = 4

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
    """The supervisor hands over to a new one, with a nursery of its own, while a task runs on."""
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
    until(lambda: house.role("nursery") is None, "the nursery to leave", house.portrait)
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
