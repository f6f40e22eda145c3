"""The lines that roles write to the log of the state directory. Callers pass only the event and its fields."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ..ipc import clock
from ..ipc.failpoints import failpoint
from ..ipc.home import Home

#: The text of each event.
MESSAGES: Mapping[str, str] = {
    "started": "started: pid {pid}, state directory {home}",
    "adopted": "worker {pid} adopted",
    "rescued": "task {id} rescued: worker {pid} died ({how}), the task is now {status}",
    "overdue": "worker {pid} killed: it did not end task {id} in time",
    "unpublished": "worker {pid} killed: it did not publish the tasks that it holds in time",
    "reloaded": "configuration applied from {sources}",
    "not_reloaded": "configuration not applied: {why}",
    "shared_limits_off": "shared limits do not count now, because their slots cannot be locked: {why}",
    "stopping": "shutting down: {running} still running, waiting up to {grace:g} s",
    "left_running": "task {id} (pid {pid}) left to its worker",
    "stopped": "stopped",
    "journal_failed": "journal not written, a result is kept in memory until it is settled: {why}",
    "restarting": "restarting: a new supervisor takes over",
    "displaced": "{home} was deleted and created again; exiting",
    "log_pinned": "the write-ahead log has {size} MB and cannot be truncated while {reader} reads an old state",
    "clock_set": "the wall clock was set by {by:+g} s; delays and timeouts keep their length",
    "home_lost": "{home} is gone; exiting",
    "trouble": "will try again in {rest:g} s: {why}",
    "not_retired": "fork server {pid} made no room in {patience:g} s; it stays in use, with its old program",
    "fork_server_lost": "the fork server exited; starting another one",
    "batch_failed": "on_batch failed ({how}) for batch {seq}; will try again in {rest:g} s",
    "batch_blocked": "on_batch failed ({how}) for batch {seq} {tries} times; will try again at least every {rest:g} s"
    " without further messages, later batches wait",
    "batch_delivered": "on_batch succeeded for batch {seq} after {tries} failures",
}

#: The size in bytes from which the log file is rotated.
LOG_LIMIT = 10_000_000

STDERR = 2

#: Seconds for which an error that stays the same is not logged again.
TROUBLE_INTERVAL = 60.0

#: The role of this process, which each of its lines names. A forked child sets its own role.
_role = "backburner"


def set_role(role: str) -> None:
    """Name the role of this process."""
    global _role
    _role = role


#: The last trouble that was logged, and the time (seconds, monotonic) from which it is logged again.
_trouble = ("", 0.0)


def log_trouble(rest: float, why: object) -> None:
    """Log an error after which this process tries again. Repetitions are logged once in `TROUBLE_INTERVAL` seconds."""
    global _trouble
    text, now = str(why), clock.monotonic()
    if text != _trouble[0] or now >= _trouble[1]:
        _trouble = (text, now + TROUBLE_INTERVAL)
        log("trouble", rest=rest, why=text)


def log(event: str, **fields: object) -> None:
    """Write one line to stderr, which is a terminal or the log file."""
    line = f"{clock.iso(clock.now())} {_role}: {MESSAGES[event].format(**fields)}\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:  # the terminal is gone or the disk is full, but the work continues without a log
        return


def rotate_log(home: Home) -> None:
    """Move the content of a long log file to `supervisor.log.1`, if this process writes to that file.

    All processes append to the file, so it is copied and then emptied: none of them has to open another file. If this
    process dies between the two steps, the lines are in both files. A line that is written between them is lost.
    """
    import shutil  # few processes rotate a log

    try:
        found = os.stat(home.log)
        if found.st_size < LOG_LIMIT or not os.path.samestat(found, os.fstat(STDERR)):
            return
        with failpoint("log.copy"):
            shutil.copy(home.log, home.folder / "supervisor.log.1.new")
        with failpoint("log.rename"):
            os.rename(home.folder / "supervisor.log.1.new", home.folder / "supervisor.log.1")
        with failpoint("log.truncate"):
            os.truncate(home.log, 0)
    except OSError:  # there is no log file, or no room for a copy
        return
