"""Failpoints that no scene reaches, and cells that a scene may miss, each with the reason."""

from __future__ import annotations

#: Failpoints that no scene reaches.
UNREACHABLE = {
    "holder.signal": "a process must stop inside the write gate; tests/ipc/store/sqlite/file/test_write_gate.py",
    "process.kill": "only where the system has no pidfd",
    "shortcut.link": "only for a home whose path is too long for a socket",
    "shortcut.unlink": "as shortcut.link",
    **dict.fromkeys(("moved.retire.unlink", "moved.retire.rename"), "only after a move; run again, up continues"),
    **dict.fromkeys(("log.copy", "log.rename", "log.truncate"), "only for a log of 10 MB; the next look continues"),
    "systemd.send": "only under systemd; nothing depends on it",
    "launch.stdin.unlink": "only on a full disk; killed there, a launch leaves a file that no task names",
    **dict.fromkeys(
        ("input.pipe.make", "input.pipe.write", "input.pipe.unlink", "run.input.link", "run.input.unlink"),
        "only for `run` with a stdin to pass on; tests/supervisor/cli/commands/test_run.py kills it there",
    ),
    "launch.assignment.send": "only for a launch into a parked slot; tests/acceptance/test_parking.py leaves it out",
    **dict.fromkeys(("config.rename", "config.unlink"), "files of a user, not of a home"),
    "signal.send": "only `backburner signal`, which changes no state",
    "spawn.failed.unlink": "only for a command that runs alone and cannot be started",
    **dict.fromkeys(
        ("tool.run", "service.rename", "service.enable", "service.unlink"),
        "files of systemd or launchd, not of a home; run again, the command continues",
    ),
    "registry.unlink": "only for a state directory that is gone; run again, it continues",
    **dict.fromkeys(
        ("slots.wake", "slots.pipe.make", "slots.pipe.unlink"), "only with shared limits; scripts/trials/shared_limits"
    ),
    "bus.refuse": "only with more clients than descriptors",
    "clear.input.unlink": "maintenance on request; run again, it continues",
    "clear.output.unlink": "as clear.input.unlink",
    "prune.unlink": "once an hour; run again, it continues",
    "agents.ask": "only asks other programs for their versions",
    "usher.start": "the matrix starts supervisors itself; the helper that detaches them exits before one is ready",
    "caller.start": "the library starts the command line, which has its own failpoints",
    "output.disarm": "only where a file system does not set the time of an empty file that is truncated",
    "call.unlink": "only for a call that ends while its worker links its output files",
    "runner.spawn": "only for another interpreter; as task.spawn",
    "runner.journal.cut": "only on a full disk",
    "runner.resume": "only on a full disk",
    "runner.kill": "only if the output files of a runner cannot be created, for example on a full disk",
    "hook.tell": "only in a hook of an agent; tests/supervisor/integrations/test_hooks.py kills it there",
    "mcp.send": "as hook.tell; tests/acceptance/test_tools.py kills the server before its response",
    **dict.fromkeys(
        ("setup.rename", "setup.unlink", "setup.forget", "setup.clean", "setup.rmdir"),
        "files of an agent, not of a home",
    ),
    "scratch.remove": "after a killed restore; tests/ipc/store/sqlite/file/test_backup.py leaves such a folder",
    "salvage.link": "only for a damaged database; tests/ipc/store/sqlite/file/test_backup.py kills a salvage there",
    "salvage.rename": "as salvage.link",
    "salvage.unlink": "as salvage.link, after a salvage that was killed; run again, it continues",
    "salvage.rename-back": "as salvage.unlink",
    "told.start": "only with on_batch; tests/acceptance/test_on_batch.py kills the flusher while the command runs",
    "wake.exec": "as told.start",
    "worker.runner.unlink": "only before a call of another interpreter; stale files are removed at the next start",
    "told.kill": "only for a command of on_batch that does not end",
}

#: Why a cell may be missed although its failpoint was reached once, by a part of its name.
RACES = {
    "SqliteQueue.record_pid": "only for a job that lives longer than 50 ms; scenes whose job waits reach it each time",
    "": "the race for it ended otherwise in each run",
}
