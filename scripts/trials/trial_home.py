"""What both trials share: a state directory under trial, its journal, background loops and a subscriber."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from scripts.trials import trial_task
from scripts.trials.chaos.check import ENDED
from scripts.trials.chaos.subscriber import request
from scripts.trials.outside import Place, Wire, nap

HERE = Path(__file__).resolve().parent

#: The session that launches every task of a trial and subscribes to its events.
SESSION = "trial"

#: Events between two acknowledgements.
_ACKNOWLEDGE_EVERY = 50

#: Seconds between two lines of feedback.
_FEEDBACK_S = 0.8


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


class Tail:
    """Reads a growing journal from where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_lines(self) -> Iterator[Line]:
        """Yield the whole lines that were appended since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        yield from map(Line.parse, whole.decode().splitlines())


class TrialHome(Place):
    """A state directory with a supervisor that is started again as soon as it has died."""

    def __init__(self, name: str, tree: Path) -> None:
        """Create the directory and a copy of the program's source tree, which edits cannot change meanwhile."""
        super().__init__(name, tree)
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
            self._supervisor = subprocess.Popen(
                self.command("up"),
                env=self.environment,
                cwd=self.project,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )

    def manager(self) -> Any:
        """Return a BackgroundManager of the program under trial, which runs in this process."""
        if str(self.tree) not in sys.path:
            sys.path.insert(0, str(self.tree))
        from backburner import BackgroundManager

        return BackgroundManager(self.home)

    def must_run(self, *words: str) -> str:
        """Run a command, again if the failure is temporary, and return its output. Raises RuntimeError."""
        for _ in range(50):
            done = self.run(*words)
            if done.returncode == 0:
                return done.stdout
            if done.returncode != 111:
                break
            nap(0.05)
        raise RuntimeError(f"backburner {' '.join(words)}: exit code {done.returncode}: {done.stderr.strip()}")

    def stop(self) -> None:
        """Stop the supervisor and wait for it. Raises RuntimeError, TimeoutExpired."""
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


class Subscriber(Loop):
    """Receives the events of the trial's session, reconnects after the last one and acknowledges."""

    def __init__(self, home: Path) -> None:
        super().__init__("subscriber")
        self._home = home
        self.delivered: list[Delivered] = []
        self.ended: set[str] = set()
        self.connections = 0

    @property
    def last_seq(self) -> int:
        """Return the sequence number of the last notification."""
        return self.delivered[-1].seq if self.delivered else 0

    def step(self) -> None:
        """Serve one connection, until the other end closes it."""
        try:
            with closing(Wire(self._home, patience=0.5)) as wire:
                self._subscribe(wire)
        except OSError:  # the flusher is dead or not listening yet
            nap(0.02)

    def _subscribe(self, wire: Wire) -> None:
        place = {"parentSessionId": SESSION, "after": self.last_seq}
        wire.socket.sendall(request("subscribe", place))
        self.connections += 1
        while not self.finished.is_set():
            try:
                self._receive(wire.read(), wire)
            except TimeoutError:  # nothing happened for a while
                continue

    def _receive(self, message: dict[str, Any], wire: Wire) -> None:
        if "error" in message:
            raise RuntimeError(f"the bus refused a request: {message['error']}")
        if "method" not in message:
            return
        event = message["params"]
        self.delivered.append(Delivered(time.time(), event["seq"], event["type"], event.get("taskId")))
        if event["type"] == ENDED:
            self.ended.add(event["taskId"])
        if len(self.delivered) % _ACKNOWLEDGE_EVERY == 0:
            wire.socket.sendall(request("ack", {"parentSessionId": SESSION, "seq": event["seq"]}))


class Feedback:
    """Prints what is going on, at most once in `_FEEDBACK_S`."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._next = 0.0

    def show(self, text: str) -> None:
        """Print the text, unless something was printed just before."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _FEEDBACK_S
            print(f"{now - self._begun:6.1f} s  {text}", flush=True)
