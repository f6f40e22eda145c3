"""The tasks of the trials: each appends a line to the trial's journal when it starts and another when it ends.

Every line is one write(2) with O_APPEND, so lines are whole and their order in the file is the order of the writes.
This module is also imported by the runner that executes calls, so it needs nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: The variable of a launch that holds the task's key. `tests.helpers.processes` reads variables with this prefix.
KEY_VARIABLE = "TRIAL_KEY"

_NOTE = f"""
note() {{
    printf '%s %s %s %s %s %s %s\\n' "$1" "$EPOCHREALTIME" "$BACKBURNER_TASK_ID" "$BACKBURNER_CLAIM" \
        "$BACKBURNER_ATTEMPT" "$$" "${KEY_VARIABLE}" >> "$0"
}}
note start
"""

#: bash -c SCRIPT JOURNAL SECONDS FAILURES: does the same as `call`.
_WORK = f"""{_NOTE}
echo "$BACKBURNER_TASK_ID $BACKBURNER_CLAIM"
[ "$1" = 0 ] || sleep "$1"
if [ "$BACKBURNER_ATTEMPT" -le "$2" ]; then note error; exit 3; fi
note end
"""

#: bash -c SCRIPT JOURNAL COMMAND...: does the same as `report_from_within`.
_REPORT = f"""{_NOTE}
note asking
if "$@" > /dev/null; then note accepted; else note refused; fi
note end
"""


def command(journal: Path, seconds: float = 0.0, failures: int = 0) -> list[str]:
    """Return the argv of a task that lasts `seconds` and fails in its first `failures` attempts."""
    return ["bash", "-c", _WORK, str(journal), f"{seconds:g}", str(failures)]


def reporting_command(journal: Path, verb: list[str]) -> list[str]:
    """Return the argv of a task that runs a command about itself, and notes the time before and after."""
    return ["bash", "-c", _REPORT, str(journal), *verb]


def append(journal: str | Path, *words: object) -> None:
    """Append one line to the journal in a single write."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(descriptor)


def note(journal: str | Path, word: str) -> None:
    """Append a line about the running task: word, time, id, claim, attempt, pid, key."""
    names = ("BACKBURNER_TASK_ID", "BACKBURNER_CLAIM", "BACKBURNER_ATTEMPT")
    append(
        journal,
        word,
        f"{time.time():.6f}",
        *(os.environ[name] for name in names),
        os.getpid(),
        os.environ[KEY_VARIABLE],
    )


def identity() -> str:
    """Return what a task prints and returns: its id and its claim."""
    return f"{os.environ['BACKBURNER_TASK_ID']} {os.environ['BACKBURNER_CLAIM']}"


def call(journal: str, seconds: float = 0.0, failures: int = 0) -> str:
    """Run as a task. Raises RuntimeError in the first `failures` attempts."""
    note(journal, "start")
    print(identity(), flush=True)
    time.sleep(seconds)
    if int(os.environ["BACKBURNER_ATTEMPT"]) <= failures:
        note(journal, "error")
        raise RuntimeError(f"{identity()} was asked to fail")
    note(journal, "end")
    return identity()


def report_from_within(journal: str, tree: str, root: str, home: str, verb: str) -> str:
    """Run as a task that uses `complete`, `fail` or `progress` on itself, and note the time before and after."""
    sys.path[:0] = [path for path in (tree, root) if path not in sys.path]
    note(journal, "start")
    use = _verbs(Path(home))[verb]
    note(journal, "asking")
    accepted = use(os.environ["BACKBURNER_TASK_ID"])
    note(journal, "accepted" if accepted else "refused")
    note(journal, "end")
    return identity()


def _verbs(home: Path) -> dict[str, Callable[[str], Any]]:
    from backburner import BackgroundManager
    from tests.helpers.rpc import Refused, RpcClient

    manager, client = BackgroundManager(home), RpcClient(home / "bus.sock")

    def report_progress(id: str) -> bool:
        try:
            client.call("progress", id=id, text="reported")
        except Refused:
            return False
        return True

    return {
        "complete": lambda id: manager.complete_task(id, "reported"),
        "fail": lambda id: manager.fail_task(id, "reported"),
        "progress": report_progress,
    }
