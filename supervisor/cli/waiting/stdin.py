"""Pass the stdin of `run` on to its task.

A file is opened by the task itself. Anything else is streamed through a named pipe for each attempt, so that the task
can begin before the input has ended. See `ipc/machine/input_pipe.py` for what holds if a process is killed.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from ....ipc.errors import NotFound, Permanent
from ....ipc.failpoints import failpoint
from ....ipc.machine.input_pipe import InputPipe, path_of
from ....ipc.model.launch import LaunchInput
from ....ipc.model.task import Task, TaskStatus
from ..context import Context
from .sources import FileSource, PipeSource, Source, SpooledSource, is_file, own_stdin, path_of_whole_file

#: The number of attempts whose pipes exist. An attempt may begin before this command has noticed the one before it.
AHEAD = 8

MEGABYTE = 1024 * 1024


class NotRepeatable(Permanent):
    """The task was to be retried, but its stdin cannot be read again."""


class PassedInput:
    """What `run` does with its stdin while its task is unfinished. This one passes nothing on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Clean up."""

    def fill(self, launch: LaunchInput) -> LaunchInput:
        """Return the launch with this input."""
        return launch

    def begin(self) -> None:
        """Begin to pass the input on, to a task that was just accepted."""

    def follow(self, task: Task) -> None:
        """Pass the input on to the attempt that is running now. Raises NotRepeatable."""

    def leave(self) -> None:
        """Leave a task that keeps running without this command."""


class LinkedFile(PassedInput):
    """A file that each attempt opens itself. The state directory has a link to it."""

    def __init__(self, context: Context, path: str) -> None:
        self._link = _new_file(context)
        self._is_used = False
        with failpoint("run.input.link"):
            os.symlink(path, self._link)

    def __exit__(self, *exception: object) -> None:
        """Delete the link, unless a task was accepted with it."""
        if not self._is_used:
            with failpoint("run.input.unlink"):
                self._link.unlink(missing_ok=True)

    def begin(self) -> None:
        """Leave the link to the task."""
        self._is_used = True

    def fill(self, launch: LaunchInput) -> LaunchInput:
        """Return the launch with the link as its stdin."""
        return replace(launch, stdin_file=str(self._link))


class Stream(PassedInput):
    """Input that this command reads, and writes into the pipe of the running attempt."""

    def __init__(self, context: Context, descriptor: int, attempts: int) -> None:
        self._path = _new_file(context)
        self._attempts = attempts
        self._lock = threading.Lock()
        self._source = self._source_of(context, descriptor)
        self._pipes: dict[int, InputPipe] = {}
        self._feeding: Feeding | None = None
        self._has_left = False
        self._prepare(1)

    def __exit__(self, *exception: object) -> None:
        """Stop, and delete the pipes unless the task was left to itself."""
        if self._feeding is not None:
            self._feeding.stop()
        if not self._has_left:
            self._delete(after=0)
        for pipe in self._pipes.values():
            pipe.close()

    def fill(self, launch: LaunchInput) -> LaunchInput:
        """Return the launch with the pipe of the first attempt as its stdin."""
        return replace(launch, stdin_file=str(self._path))

    def begin(self) -> None:
        """Begin to fill the pipe of the first attempt."""
        self._feed(1)

    def follow(self, task: Task) -> None:
        """Pass the input on to a new attempt, from its start. Raises NotRepeatable."""
        if self._feeding is None or task.status is not TaskStatus.RUNNING or task.attempt <= self._feeding.attempt:
            return
        if self._attempts == 1 or (task.pid is None and not self._source.is_repeatable):
            return  # the worker refuses an attempt if its pipe is gone before its start
        if not self._source.is_repeatable:
            raise NotRepeatable("the task cannot be retried: its stdin is longer than output_limit_mb")
        self._feeding.stop()
        self._prepare(task.attempt)
        self._feed(task.attempt)

    def leave(self) -> None:
        """Keep the pipes, so that an attempt that has not read all of its input is recognised."""
        self._has_left = True

    def _source_of(self, context: Context, descriptor: int) -> Source:
        if is_file(descriptor):
            return FileSource(descriptor)
        if self._attempts == 1:
            return PipeSource(descriptor)
        limit = round(context.config.output_limit_mb * MEGABYTE)
        return SpooledSource(descriptor, self._path.parent, limit, self._forget_later_attempts)

    def _prepare(self, attempt: int) -> None:
        """Make the pipes of an attempt and of those that may follow it."""
        last = min(self._attempts, attempt + AHEAD - 1) if self._source.is_repeatable else 1
        with self._lock:
            for number in range(attempt, last + 1):
                if number not in self._pipes:
                    self._pipes[number] = InputPipe(path_of(self._path, number))

    def _feed(self, attempt: int) -> None:
        with self._lock:
            pipe = self._pipes.get(attempt)
            for earlier in (number for number in self._pipes if number < attempt):
                self._pipes[earlier].close()
        if pipe is not None:
            self._feeding = Feeding(attempt, self._source, pipe)
            self._feeding.start()

    def _forget_later_attempts(self) -> None:
        """Let no further attempt start. One that has started just now waits for its input until it is cancelled."""
        if self._feeding is not None:
            self._delete(after=self._feeding.attempt)

    def _delete(self, after: int) -> None:
        with self._lock:
            for number, pipe in self._pipes.items():
                if number > after:
                    pipe.delete()


class Feeding(threading.Thread):
    """Copies a source into a pipe until its end, or until it is stopped."""

    def __init__(self, attempt: int, source: Source, pipe: InputPipe) -> None:
        super().__init__(name="stdin", daemon=True)
        self.attempt = attempt
        self._source, self._pipe = source, pipe
        self._ordered, self._order = os.pipe()

    def run(self) -> None:
        """Copy. If the source cannot be read, the task's input is broken off."""
        with suppress(OSError):
            if self._copy():
                self._pipe.end()
                return
        self._pipe.break_off()

    def stop(self) -> None:
        """Stop, and return when nothing is read any more."""
        os.close(self._order)
        self.join()
        os.close(self._ordered)

    def _copy(self) -> bool:
        """Return True at the end of the source, False if the copying was stopped. Raises OSError."""
        offset = 0
        while data := self._source.read(offset, self._ordered):
            offset += len(data)
            if not self._write(data):
                return False
        return data is not None

    def _write(self, data: bytes) -> bool:
        poll = select.poll()
        poll.register(self._pipe.writer, select.POLLOUT)
        poll.register(self._ordered, select.POLLIN)
        while data:
            if any(ready == self._ordered for ready, _ in poll.poll()):
                return False
            data = data[self._pipe.write(data) :]
        return True


def passed_input(context: Context, launch: LaunchInput) -> PassedInput:
    """Return what `run` does with its stdin for this task. Raises OSError."""
    descriptor = own_stdin()
    if descriptor is None or _has_input(context, launch):
        return PassedInput()
    path = path_of_whole_file(descriptor)
    return Stream(context, descriptor, launch.retries + 1) if path is None else LinkedFile(context, path)


def _has_input(context: Context, launch: LaunchInput) -> bool:
    """Return True if the task's stdin is its prompt or was given, or if the task has no process."""
    if launch.stdin is not None or launch.stdin_file is not None:
        return True
    if launch.command is not None or launch.call is not None:
        return False
    agent = _agent_of(context, launch)
    config = context.valid_config
    return agent == "external" or agent not in config.agent_names or bool(config.agent(agent).stdin)


def _agent_of(context: Context, launch: LaunchInput) -> str:
    if launch.agent is None and launch.resume is not None:
        with suppress(NotFound):
            return context.tasks.get(launch.resume).agent
    return launch.agent or context.valid_config.default_agent


def _new_file(context: Context) -> Path:
    """Return the path of a new input file of a task."""
    return context.store.home.input(os.urandom(16).hex())
