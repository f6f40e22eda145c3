"""Steps that several scenes share."""

from __future__ import annotations

from scripts.trials.crash.scene_run import SceneRun
from tests.helpers.invariants import Violation
from tests.helpers.processes import kill

DONE = ("completed", None)
CANCELLED = ("cancelled", None)


def missing_interpreter(run: SceneRun) -> str:
    """Return the path of a script whose interpreter does not exist."""
    script = run.home.project / "script"
    script.write_text("#!/nowhere\n")
    script.chmod(0o700)
    return str(script)


def succeed(run: SceneRun, *words: str) -> None:
    """Run a command that must succeed, or be refused because it succeeded before its process was killed."""
    done = run.command(*words)
    if done.code not in (0, 5):
        raise Violation("I2", f"{words}: {done}")


def go_down(run: SceneRun, *options: str) -> None:
    """Run `down`; a supervisor that was killed meanwhile is restarted, and the command repeated."""
    home = run.home
    while True:
        home.is_down.set()
        done = run.command("down", *options)
        home.until(lambda: home.holder("supervisor") is None, "the supervisor to end")
        if done.code == 0 and home.has_exited_cleanly():
            return
        if done.code not in (0, 4, 111):
            raise Violation("I6", f"down: {done}")
        home.is_down.clear()
        home.wait_ready()


def kill_workers(run: SceneRun) -> None:
    """Kill every worker."""
    for process in run.home.role("worker"):
        kill(process.pid)
