"""Options, durations and errors of commands, and the changes of tasks."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

from scripts.trials.report_rows import Sandbox, row


def _refused(sandbox: Sandbox, *words: str) -> str:
    """Return the error of a command that exits with 2."""
    done = sandbox.run(*words)
    assert done.returncode == 2, done
    return done.stderr


@row("launch '-x is wrong, fix it' --agent external", "a word with a blank that begins with - is a prompt")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("-x is wrong, fix it", "--agent", "external")
    assert sandbox.task(id)["prompt"] == "-x is wrong, fix it"
    sandbox.check("cancel", id)
    error = _refused(sandbox, "launch", "-x", "--agent", "external")
    assert "launch -- " in error, error
    assert "stdin: -" in error, error


@row("launch make test, launch 'make test', launch make", "the line to write is in the error")
def _(sandbox: Sandbox) -> None:
    for words in (["make", "test"], ["make test"]):
        assert "to run a command, write: backburner launch -- make test;" in _refused(sandbox, "launch", *words)
    assert "write: backburner launch -- make;" in _refused(sandbox, "launch", "make")


@row("--timeout 1h30m, '2 min', 1d, 0.4ms", "durations of several units, never rounded to none")
def _(sandbox: Sandbox) -> None:
    for text, milliseconds in (("1h30m", 5_400_000), ("2 min", 120_000), ("1d", 86_400_000), ("0.4ms", 1)):
        id = sandbox.launch("--timeout", text, "--delay", "1h", "--", "true")
        assert sandbox.task(id)["timeoutMs"] == milliseconds, text
        sandbox.check("cancel", id)


@row("--key '', --stdin /nosuch, --call json.loads, --priority high", "errors name options, not fields")
def _(sandbox: Sandbox) -> None:
    assert "--key must not be empty" in _refused(sandbox, "launch", "--key", "", "--", "true")
    assert "--stdin: /nosuch" in _refused(sandbox, "launch", "--stdin", "/nosuch", "--", "true")
    assert "--call: expected MODULE:FUNCTION" in _refused(sandbox, "launch", "--call", "json.loads")
    error = _refused(sandbox, "launch", "--priority", "high", "--", "true")
    assert "must be a whole number from -1000 to 1000" in error, error


@row("launch --from-file - </dev/null", "exits with 2: no tasks in stdin")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("backburner launch --from-file - </dev/null")
    assert done.returncode == 2, done
    assert "no tasks in stdin" in done.stderr, done


@row("launch -- $'\\xff'", "the argument is not valid UTF-8")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell(r"""backburner launch -- "$(printf '\377')" """)
    assert done.returncode == 2, done
    assert "is not valid UTF-8" in done.stderr, done


@row("launch -c 'echo a | wc -c' -k KEY -d TEXT", "runs a line of shell, with the short options")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("-c", "echo a | wc -c", "-k", "short", "-d", "count")
    task = sandbox.ended(id)
    assert task["result"].strip() == "2", task
    assert (task["concurrencyKey"], task["description"]) == ("short", "count")


@row("launch --at 03:00", "starts at the next 03:00 of the launcher's clock")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--at", "03:00", "--", "true")
    then = datetime.fromisoformat(sandbox.task(id)["notBefore"]).astimezone()
    assert f"{then:%H:%M}" == "03:00", then
    sandbox.check("cancel", id)


@row("limit opus 0, limit opus -1, limit opus", "unlimited, the limit is 0 or more, the limit in force")
def _(sandbox: Sandbox) -> None:
    assert "unlimited (0 means no limit)" in sandbox.check("limit", "row-limit", "0")
    assert "the limit is 0 or more" in _refused(sandbox, "limit", "row-limit", "-1")
    sandbox.check("limit", "row-limit", "2")
    assert "at most 2 at once" in sandbox.check("limit", "row-limit")
    sandbox.check("limit", "row-limit", "default")
    assert "row-limit" not in sandbox.check("status", "--json")


@row("edit, rm, retry --failed, cancel --all", "change, delete, retry and cancel many tasks")
def _(sandbox: Sandbox) -> None:
    id = sandbox.launch("--delay", "1h", "-k", "row-edit", "--", "false")
    sandbox.check("edit", id, "--priority", "5", "--delay", "0")
    assert (sandbox.ended(id)["priority"], sandbox.task(id)["status"]) == (5, "error")
    sandbox.check("retry", "--failed")
    assert sandbox.ended(id)["attempt"] == 2
    waiting = sandbox.launch("--delay", "1h", "--", "true")
    assert sandbox.run("rm", waiting).returncode == 5
    sandbox.check("cancel", "--all")
    assert sandbox.task(waiting)["status"] == "cancelled"
    sandbox.check("rm", "--ended")
    assert sandbox.run("show", id).returncode == 3


@row("manager.wait([id]), wait(task), launch(command='echo hi')", "waits; InvalidInput with the ways to write it")
def _(sandbox: Sandbox) -> None:
    code = """
from backburner import BackgroundManager, InvalidInput
from datetime import timedelta
with BackgroundManager() as manager:
    task = manager.launch(command=["true"], timeout=60)
    assert manager.wait([task.id], task, timeout=timedelta(seconds=30))[0].status == "completed"
    launch, wait = manager.launch, manager.wait
    for call in (lambda: wait(5), lambda: launch(command="echo hi"), lambda: wait(timeout="5s")):
        try:
            call()
        except InvalidInput:
            continue
        raise AssertionError(call)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=sandbox.environment, cwd=sandbox.project, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@row("launch --like ID, again and changed", "the same command, folder and environment, with the changes")
def _(sandbox: Sandbox) -> None:
    first = sandbox.launch("--env", "A=1", "-k", "row-like", "-c", "echo $A $B")
    assert sandbox.ended(first)["result"] == "1"
    again = sandbox.launch("--like", first, "--env", "B=2")
    assert (sandbox.ended(again)["result"], sandbox.task(again)["concurrencyKey"]) == ("1 2", "row-like")


@row("config init, set, get", "one line changes, and the comments stay", own=True)
def _(sandbox: Sandbox) -> None:
    path = sandbox.project / "backburner.toml"
    path.write_text("# mine\nmax_workers = 4  # cores\n")
    sandbox.check("config", "set", "max_workers", "8")
    assert path.read_text() == "# mine\nmax_workers = 8  # cores\n"
    assert sandbox.check("config", "get", "max_workers") == "8\n"
    assert "max_workers: expected" in _refused(sandbox, "config", "set", "max_workers", "many")
    assert sandbox.check("config", "init", "--user").strip() == str(sandbox.user_settings)


@row("help service nope, completion", "unknown subcommands and missing choices are one line of usage error")
def _(sandbox: Sandbox) -> None:
    assert "'backburner service' has no command 'nope'" in _refused(sandbox, "help", "service", "nope")
    assert len(_refused(sandbox, "completion").splitlines()) == 1


@row("launch --secret ABSENT", "a notice names the variable that the supervisor lacks")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("backburner launch --secret ABSENT -- true", ABSENT="x")
    assert done.returncode == 0, done
    assert "the supervisor has no ABSENT" in done.stderr, done.stderr


@row("help show", "- is the last task launched from this state directory, whichever terminal launched it")
def _(sandbox: Sandbox) -> None:
    text = " ".join(sandbox.run("help", "show").stdout.split())
    assert "the last task launched from this state directory, whichever terminal launched it" in text, text
