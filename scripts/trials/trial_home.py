"""A state directory under trial, its journal, background loops and a subscriber, for kill_roles and bounds."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from scripts.trials import trial_task
from tests.helpers.blackbox import CommandFailed, Place
from tests.helpers.invariants import ENDED
from tests.helpers.journals import Tail
from tests.helpers.rpc import Subscriber

HERE = Path(__file__).resolve().parent

#: The session that launches every task of a trial and subscribes to its events.
SESSION = "trial"

#: Events between two acknowledgements.
_ACKNOWLEDGE_EVERY = 50

#: Seconds between two lines of feedback.
_FEEDBACK_S = 0.8

#: Seconds for which a command is repeated while it fails temporarily.
_PERSISTENCE_S = 60.0

#: The exit code of a failure that is temporary.
TEMPORARY = 111


def exit_on_sigterm() -> None:
    """Let SIGTERM end the trial with an exception, so that no supervisor stays behind."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Line(NamedTuple):
    """A line of the trial's journal: its first word, its time (seconds since 1970) and the other words."""

    word: str
    at: float
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Line:
        """Read one line."""
        word, at, *words = text.split(" ")
        return cls(word, float(at), tuple(words))

    @property
    def is_start(self) -> bool:
        """Return True if a task wrote this line when it started."""
        return self.word == "start"

    @property
    def is_end(self) -> bool:
        """Return True if a task wrote this line as its last one."""
        return self.word in ("end", "error")

    @property
    def id(self) -> str:
        """Return the id of the task."""
        return self.words[0]

    @property
    def claim(self) -> int:
        """Return the claim under which the task runs."""
        return int(self.words[1])

    @property
    def attempt(self) -> int:
        """Return the number of the task's attempt."""
        return int(self.words[2])

    @property
    def key(self) -> str:
        """Return the key of the task."""
        return self.words[4]


def read_lines(tail: Tail) -> list[Line]:
    """Return the lines that were appended to a trial's journal since the last call."""
    return list(map(Line.parse, tail.new_lines()))


class TrialHome(Place):
    """A state directory with a supervisor that is started again as soon as it has died."""

    def __init__(self, project: Path, *more: Any) -> None:
        """Use a copy of the program's source tree, which edits cannot change meanwhile."""
        super().__init__(project, *more)
        self.snapshot()
        self.journal = self.project / "trial.journal"
        self._log = (self.project / "supervisor.log").open("ab")
        self._supervisor: subprocess.Popen[bytes] | None = None

    def note(self, word: str, *words: object) -> None:
        """Append a line of the trial's own to the journal."""
        trial_task.append(self.journal, word, f"{time.time():.6f}", *words)

    def keep_supervised(self) -> None:
        """Start the supervisor unless it is running."""
        if self._supervisor is None or self._supervisor.poll() is not None:
            self._supervisor = self.start(self.command("up"), self._log)

    def manager(self) -> Any:
        """Return a BackgroundManager of the program under trial, which runs in this process."""
        if str(self.tree) not in sys.path:
            sys.path.insert(0, str(self.tree))
        from backburner import BackgroundManager

        return BackgroundManager(self.home)

    def must_run(self, *words: str) -> str:
        """Run a command, again if the failure is temporary, and return its output. Raises CommandFailed."""
        deadline = time.monotonic() + _PERSISTENCE_S
        while (done := self.run(*words)).returncode == TEMPORARY and time.monotonic() < deadline:
            time.sleep(0.05)
        if done.returncode:
            raise CommandFailed(words, done)
        return done.stdout

    def stop(self) -> None:
        """Stop the supervisor and wait for it. Raises CommandFailed, TimeoutExpired."""
        self.must_run("down", "--now")
        if self._supervisor is not None:
            self._supervisor.wait(30)
        self._log.close()


def launch_fields(home: TrialHome, key: str, chance: Random, **more: Any) -> dict[str, Any]:
    """Return the fields that all launches of a trial have, in the spelling of BackgroundManager.launch."""
    return {
        "id": f"bg-{uuid.UUID(int=chance.getrandbits(128), version=4)}",
        "concurrency_key": key,
        "parent_session_id": SESSION,
        "cwd": str(HERE),
        "env": {trial_task.KEY_VARIABLE: key, "LC_ALL": "C", "PYTHONPATH": str(home.tree)},
        **more,
    }


def call_fields(home: TrialHome, seconds: float, failures: int = 0) -> dict[str, Any]:
    """Return the fields of a task that is a Python call."""
    return {"call": "trial_task:call", "args": [str(home.journal), seconds, failures]}


def command_fields(home: TrialHome, seconds: float, failures: int = 0) -> dict[str, Any]:
    """Return the fields of a task that is a command."""
    return {"command": trial_task.command(home.journal, seconds, failures)}


class Loop(threading.Thread):
    """Calls `step` again and again on a thread, until `finish` is called or a step raises."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.finished = threading.Event()
        self.failure: BaseException | None = None

    def step(self) -> None:
        """Do one piece of work."""
        raise NotImplementedError

    def run(self) -> None:
        """Work until the end, and keep the exception that ended it early."""
        try:
            while not self.finished.is_set():
                self.step()
        except BaseException as error:
            self.failure = error

    def check(self) -> None:
        """Raise what ended the thread early, if anything did."""
        if self.failure is not None:
            raise RuntimeError(f"{self.name} failed") from self.failure

    def finish(self, timeout: float = 60.0) -> None:
        """Let the current step end. Raises TimeoutError, and what `check` raises."""
        self.finished.set()
        self.join(timeout)
        if self.is_alive():
            raise TimeoutError(f"{self.name} did not end within {timeout:g} s")
        self.check()


class Delivered(NamedTuple):
    """A notification, and the time (seconds since 1970) at which it arrived."""

    at: float
    seq: int
    type: str
    task: str | None


class TrialSubscriber(Subscriber):
    """Receives the events of the trial's session, and acknowledges."""

    def __init__(self, home: TrialHome) -> None:
        super().__init__(home.home / "bus.sock", SESSION, self._record, _ACKNOWLEDGE_EVERY)
        self.delivered: list[Delivered] = []
        self.ended: set[str] = set()

    def _record(self, event: dict[str, Any]) -> None:
        self.delivered.append(Delivered(time.time(), event["seq"], event["type"], event.get("taskId")))
        if event["type"] == ENDED:
            self.ended.add(event["taskId"])


class Feedback:
    """Prints the current activity, at most once in `_FEEDBACK_S`."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._next = 0.0

    def show(self, text: str) -> None:
        """Print the text, unless something was printed just before."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _FEEDBACK_S
            print(f"{now - self._begun:6.1f} s  {text}", flush=True)
