"""Run tasks of three state directories under one shared limit, kill their processes, and check that it always holds.

    scripts/trials/shared_limits --seed 7
    scripts/trials/shared_limits --short               90 tasks, about 20 seconds

The tasks count themselves, by locks that the kernel frees when the last process of a task is gone. The trial counts
them too, all the time. Workers, supervisors and fork servers are killed one by one and in pairs of a worker with one of
the others. Supervisor and fork server of one state directory are not killed together: the limit is best effort then.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, Self

from scripts.trials.shared_task import count
from scripts.trials.trial_home import Feedback, Loop, exit_on_sigterm
from tests.helpers.blackbox import CommandFailed, Place
from tests.helpers.processes import Process, send_signal
from tests.helpers.wait import WaitTimeout

#: The tasks of all state directories together that may run at once.
LIMIT = 4

#: The settings of each state directory: a key alone, the same pattern, and a wider one with other keys in it.
SETTINGS = ("default_concurrency = 4", '[model_concurrency]\n"api/*" = 4', '[model_concurrency]\n"*" = 6')

COMMON = 'durability = "normal"\nretry_base_ms = 20\nretry_max_ms = 100\nmax_workers = 8\n'

#: What is killed: the roles, and how often beside the others.
VICTIMS = {
    ("worker",): 8,
    ("supervisor",): 2,
    ("forkserver",): 2,
    ("worker", "supervisor"): 2,
    ("worker", "forkserver"): 2,
}

#: Seconds between two kills, and after the death of a supervisor or fork server until the other may be killed.
SHORTEST, LONGEST = 0.05, 0.3
SETTLED = 1.5

DRAIN_TIMEOUT = 120.0

TASK = Path(__file__).with_name("shared_task.py")


class Project(Place):
    """One of the projects, which share the configuration and the state of one user."""

    user: Path
    #: The time (seconds, monotonic) from which its supervisor and fork server may be killed again.
    killable_at = 0.0
    _supervisor: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, user: Path, settings: str) -> Self:
        """Create a project of a user."""
        project = cls.create("shared")
        project.user = user
        project.configure(
            f'durability = "normal"\nretry_base_ms = 20\nretry_max_ms = 100\nmax_workers = 8\n{settings}\n'
        )
        return project

    @property
    def environment(self) -> dict[str, str]:
        """Return an environment with the folders of the user."""
        folders = {"XDG_CONFIG_HOME": str(self.user / "config"), "XDG_STATE_HOME": str(self.user / "state")}
        return super().environment | folders

    def keep_supervised(self) -> None:
        """Start the supervisor unless it is running."""
        if self._supervisor is None or self._supervisor.poll() is not None:
            with (self.project / "supervisor.log").open("ab") as log:
                self._supervisor = self.start(self.command("up"), log)

    def stop(self) -> None:
        """Stop the supervisor."""
        self.run("down", "--now")
        if self._supervisor is not None:
            self._supervisor.wait(30)


class RunningCounter(Loop):
    """Counts the running tasks all the time."""

    def __init__(self, folder: Path) -> None:
        super().__init__("counter")
        self._folder = folder
        self.most = 0

    def step(self) -> None:
        """Count once."""
        self.most = max(self.most, count(str(self._folder)))
        time.sleep(0.003)


class Result(NamedTuple):
    """What was counted by the tasks and by the trial, and how the tasks ended."""

    counts: list[int]
    seen: int
    ends: Counter[str]
    kills: Counter[str]

    def violations(self) -> list[str]:
        """Return what must not be."""
        most = max([self.seen, *self.counts])
        found = [f"{most} tasks ran at the same time"] if most > LIMIT else []
        if most < LIMIT:
            found.append(f"never more than {most} tasks ran at the same time, so the trial shows nothing")
        return found + [f"{number} tasks are {end}" for end, number in self.ends.items() if end not in ENDS]


#: How a task may end: its worker was killed more often than it may be repeated.
ENDS = ("completed", "error lost", "error interrupted")


class Trial:
    """One trial."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Create the projects; nothing is started."""
        self.options = options
        self._chance = random.Random(options.seed)
        self.user = Path(tempfile.mkdtemp(prefix="bb-shared-user-", dir="/tmp"))
        self.running, self.journal = self.user / "running", self.user / "journal"
        self.running.mkdir()
        settings = self.user / "config" / "backburner" / "config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f'autostart = false\n[shared_limits]\n"api/*" = {LIMIT}\n')
        self.projects = [Project.of(self.user, text) for text in SETTINGS]
        self.kills: Counter[str] = Counter()
        self.counter = RunningCounter(self.running)

    def run(self) -> Result:
        """Run all tasks. Raises WaitTimeout if they do not end."""
        self._launch()
        self.counter.start()
        feedback, next_kill = Feedback(), time.monotonic() + 1.0
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while unfinished := self._unfinished():
            if time.monotonic() > deadline:
                raise WaitTimeout(f"{unfinished} tasks have not ended")
            for project in self.projects:
                project.keep_supervised()
            if time.monotonic() >= next_kill and self.kills.total() < self.options.kills:
                self._kill()
                next_kill = time.monotonic() + self._chance.uniform(SHORTEST, LONGEST)
            feedback.show(
                f"{self.kills.total()} kills, {unfinished} tasks unfinished, most at once {self.counter.most}"
            )
            time.sleep(0.02)
        self.counter.finish()
        counts = [int(line.split()[0]) for line in self.journal.read_text().splitlines()]
        return Result(counts, self.counter.most, self._ends(), self.kills)

    def _launch(self) -> None:
        for index, project in enumerate(self.projects):
            tasks = [self._task(index) for _ in range(self.options.tasks // len(self.projects))]
            file = project.project / "tasks.ndjson"
            file.write_text("".join(json.dumps(task) + "\n" for task in tasks))
            project.check("launch", "--from-file", str(file))

    def _task(self, project: int) -> dict[str, Any]:
        if project == 2 and self._chance.random() < 0.2:  # a task without a shared limit, in the same local group
            return {"command": ["sleep", "0.05"], "concurrencyKey": "other", "retries": 20}
        seconds = str(round(self._chance.uniform(0.0, 0.4), 3))
        command = [sys.executable, "-I", "-S", str(TASK), str(self.running), str(self.journal), seconds]
        key = self._chance.choice(["api/a", "api/b"]) if project else "api/a"
        return {"command": command, "concurrencyKey": key, "retries": 20}

    def _kill(self) -> None:
        roles = self._chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        project = self._chance.choice(self.projects)
        if roles != ("worker",) and time.monotonic() < project.killable_at:
            return
        chosen = [self._victim(project, role) for role in roles]
        for process in filter(None, chosen):
            if send_signal(process.pid, signal.SIGKILL):
                self.kills[process.role or ""] += 1
        if roles != ("worker",):
            project.killable_at = time.monotonic() + SETTLED

    def _victim(self, project: Project, role: str) -> Process | None:
        found = project.role(role)
        return self._chance.choice(found) if found else None

    def _unfinished(self) -> int:
        query = "SELECT count(*) AS n FROM tasks WHERE status IN ('pending', 'running')"
        return sum(project.rows(query)[0]["n"] for project in self.projects)

    def _ends(self) -> Counter[str]:
        rows = [row for project in self.projects for row in project.rows("SELECT status, error_kind FROM tasks")]
        return Counter(f"{row['status']} {row['error_kind'] or ''}".strip() for row in rows)

    def explain(self) -> None:
        """Print the state of each project."""
        for project in self.projects:
            print(project.run("status").stdout)

    def remove(self, keep: bool) -> None:
        """Stop everything, and delete the folders unless they are kept."""
        for project in self.projects:
            try:
                project.stop()
            except (CommandFailed, subprocess.TimeoutExpired) as error:
                print(error)
            if keep:
                project.kill_all()
                print(f"kept: {project.project}")
            else:
                project.remove()
        if not keep:
            shutil.rmtree(self.user, ignore_errors=True)


def report(result: Result) -> list[str]:
    """Print the figures and every violation, and return the violations."""
    print(f"tasks: {dict(result.ends)}; kills: {dict(result.kills)}")
    print(f"the tasks counted {dict(sorted(Counter(result.counts).items()))}, the trial at most {result.seen}")
    found = result.violations()
    print(f"violations {len(found)}")
    for text in found:
        print(f"  {text}")
    return found


def parse(words: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="shared_limits", description="Kill processes under a shared limit.")
    parser.add_argument("--tasks", type=int, default=200, metavar="N", help="tasks of all projects (200)")
    parser.add_argument("--kills", type=int, default=80, metavar="N", help="processes to kill at most (80)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="(random, printed)")
    parser.add_argument("--short", action="store_true", help="90 tasks, about 20 seconds")
    parser.add_argument("--keep", action="store_true", help="keep the directories")
    options = parser.parse_args(words)
    options.tasks = 90 if options.short else options.tasks
    return options


def main() -> int:
    """Return 0 if there was no violation."""
    exit_on_sigterm()
    options = parse(sys.argv[1:])
    print(f"seed {options.seed}", flush=True)
    begun = time.monotonic()
    trial, found = Trial(options), ["it was interrupted"]
    try:
        found = report(trial.run())
    except BaseException:
        trial.explain()
        raise
    finally:
        trial.remove(keep=bool(found) or options.keep)
    print(f"{time.monotonic() - begun:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
