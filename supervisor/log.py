"""Every sentence that a role writes to the log; the code says only what happened."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from ..ipc import clock

#: What happened → how it reads. The fields are those that `say` was given.
SENTENCES: Mapping[str, str] = {
    "up": "supervisor {pid} is up in {home}",
    "ready": "ready; bus at {socket}",
    "adopted": "adopted {role} {pid}",
    "spawned": "started {role} {pid}",
    "died": "{role} {pid} died ({how})",
    "rescued": "task {id}: its worker {pid} died; now {status}",
    "killing": "worker {pid} did not end task {id} in time; killing it",
    "silent": "worker {pid} does not publish what it holds; killing it",
    "reloaded": "configuration applied from {sources}",
    "not_reloaded": "configuration not applied: {why}",
    "stopping": "going down: {running} still running, waiting up to {grace:g} s",
    "left": "left to its worker: task {id} (pid {pid})",
    "down": "down",
    "unrecorded": "a task's end is known to its worker alone until it is settled: {why}",
    "handing_over": "handing over to a new supervisor",
    "displaced": "{home} was deleted and made anew; leaving it to others",
    "pinned": "the write-ahead log has {size} MB; it cannot be shortened while {who} reads an old state",
    "clock_set": "the wall clock was set by {by:+g} s; delays stay as long as they are",
    "homeless": "{home} is gone for good; leaving",
    "trouble": "will try again in {rest:g} s: {why}",
    "unretired": "the fork server {pid} did not make room in {patience:g} s; it is used on, with its old program",
    "told_again": "on_batch failed ({how}) for batch {seq}; will try again in {rest:g} s",
    "told_in_vain": "on_batch failed ({how}) for batch {seq} {tries} times; it is tried on without a word,"
    " at least every {rest:g} s, and those after it wait",
    "told_at_last": "on_batch was told of batch {seq} after {tries} failures",
    "fork_server_lost": "the fork server went away; starting another",
}


def say(what: str, **facts: object) -> None:
    """Write one line to stderr, which is the terminal or the home's log."""
    line = f"{clock.iso(clock.now())} {SENTENCES[what].format(**facts)}\n"
    try:
        sys.stderr.write(line)
        sys.stderr.flush()
    except OSError:  # the terminal is gone or the disk is full: the work goes on without words
        return
