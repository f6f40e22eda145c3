"""The task queue. Each change of a task is one transaction of the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ..config.settings import BackgroundConfig
from ..errors import Temporary, UnknownAgent
from ..failpoints import failpoint
from ..model.claim import Assignment, Cancelled, Change, Verdict
from ..model.launch import LaunchInput
from ..model.task import Task, TaskStatus
from . import parking, processes
from .launch import NewTask, follow_up, in_dependency_order
from .processes import PUBLICATION_TIMEOUT, Publication
from .tasks import Tasks, waiting_for

if TYPE_CHECKING:  # a launch needs none of them
    from ..config.launcher import Launcher
    from ..model.claim import Advance, Claimed, Rescued, Settlement, Slot, Step, Taken
    from ..model.edit import TaskEdit
    from .interface import Store
    from .values import Running

#: The maximum number of tasks that one transaction cancels.
CANCELS = 100

#: The maximum number of groups and of keys that one removal of tasks deletes.
IDLE_GROUPS = 200

#: The maximum size of a hint in bytes. A pipe takes far more without blocking.
HINT_LIMIT = 400


class Launched(NamedTuple):
    """An accepted task, or the existing one that is returned instead."""

    id: str
    existing: bool


class Queue(Tasks):
    """Launch, claim, settle and cancel the tasks of a home."""

    def __init__(self, store: Store, config: BackgroundConfig) -> None:
        """Work on this store, with the defaults, agents and caps of `config`."""
        super().__init__(store, config)
        #: Seconds to wait for a worker that holds a task. A process that serves others sets 0.
        self.publication_timeout = PUBLICATION_TIMEOUT

    # launching

    def launch(self, input: LaunchInput, launcher: Launcher | None = None) -> Launched:
        """Queue one task. Raises like `launch_many`."""
        return self.launch_many([input], launcher)[0]

    def launch_many(self, inputs: Sequence[LaunchInput], launcher: Launcher | None = None) -> list[Launched]:
        """Queue tasks in order. Either all of them are accepted or none.

        The tasks get the environment and the umask of `launcher`, if there is one.

        Raises:
            InvalidInput: A field is invalid.
            UnknownAgent: An agent is not configured.
            NotFound: `after` or `resume` names a task that does not exist.
            MoveNotAllowed: The session of the task in `resume` cannot be continued.
            OverCap: A session has reached `max_tasks_per_parent`.
            Temporary: The store cannot be used now.
        """
        return [Launched(task.id, task.existing is not None) for task in self.accept(inputs, launcher)]

    def launched_tasks(self, accepted: Sequence[NewTask]) -> list[Task]:
        """Return the tasks that `accept` has accepted. A task that existed already is read again."""
        new = {task.id: task.columns for task in accepted if not (task.existing or task.dependency_failed)}
        new_tasks = [Task.of_columns(columns, waiting_for(columns)) for columns in new.values()]
        tasks = {task.id: task for task in self._with_waiting_for(new_tasks)}
        return [tasks.get(task.id) or self.get(task.id) for task in accepted]

    def accept(self, inputs: Sequence[LaunchInput], launcher: Launcher | None = None) -> list[NewTask]:
        """Queue tasks like `launch_many`, but return the accepted tasks with all their columns."""
        try:
            tasks = self._new_tasks(inputs, self.config, launcher)
        except UnknownAgent:
            tasks = self._new_tasks(inputs, self._with_applied_agents(), launcher)
        ordered = in_dependency_order(tasks)
        self._copy_stdins(tasks)
        assignment = self.store.queue.launch(ordered, self.config)
        if assignment is not None:
            self._send(assignment)
        elif groups := {task.row["limit_group"] for task in tasks if task.needs_supervisor}:
            self.home.wake("supervisor", _hint(groups))
        if assignment is not None or any(task.dependency_failed for task in tasks):
            self.home.wake("flusher")
        return tasks

    def _send(self, assignment: Assignment) -> None:
        """Send a task to the parked worker for which it was claimed. If that worker is dead, wake the supervisor."""
        with failpoint("launch.assignment.send"):
            sent = parking.send(self.home, assignment)
        if sent:
            return
        try:
            alive = processes.wake_process(self.store, assignment.owner)
        except Temporary:  # the task is accepted even if its worker cannot be looked up now
            alive = False
        if not alive:
            self.home.wake("supervisor")

    def _copy_stdins(self, tasks: list[NewTask]) -> None:
        for task in tasks:
            task.copy_stdin(self.home)
            if self.store.durability == "full":
                task.sync_stdin(self.home)

    def _new_tasks(
        self, inputs: Sequence[LaunchInput], config: BackgroundConfig, launcher: Launcher | None
    ) -> list[NewTask]:
        names = [f"tasks[{index}]." for index in range(len(inputs))] if len(inputs) > 1 else [""] * len(inputs)
        return [self._new_task(input, config, name, launcher) for input, name in zip(inputs, names, strict=True)]

    def _new_task(self, input: LaunchInput, config: BackgroundConfig, where: str, launcher: Launcher | None) -> NewTask:
        if input.resume is None:
            return NewTask.of(input, config, where, launcher)
        task = self.get(input.resume)
        new = NewTask.of(follow_up(input, task, config, where), config, where, launcher)
        new.row["session"] = task.session_id
        return new

    def _with_applied_agents(self) -> BackgroundConfig:
        """Return this process's configuration, with the other agents of the applied configuration."""
        from .applied_config import applied_configuration  # few launches need it

        applied = applied_configuration(self.store)
        default = self.config.default_agent or applied.default_agent
        return replace(self.config, agents={**applied.agents, **self.config.agents}, default_agent=default)

    # running

    def claim(self, slot: Slot, owner: int | None) -> Claimed | None:
        """Claim the next task of the slot's group. Return None if there is none, or the slot may not be used.

        If `owner` is None, only an external task is claimed. A worker claims only other tasks.
        """
        taken = self.take(slot, owner, 1)
        return taken[0].claimed() if taken else None

    def take(self, slot: Slot, owner: int | None, count: int, key: str | None = None) -> list[Taken]:
        """Start the next task of the slot's group, and hold up to `count` - 1 that follow. Return them in order.

        With a key, take only the next task with that key.
        """
        taken = self.store.queue.take(slot, owner, count, key)
        if taken:
            self.home.wake("flusher")
        return taken

    def advance(self, step: Step) -> Advance:
        """Publish the states of a worker's tasks, and take more, or park the worker."""
        advance = self.store.queue.advance(step)
        if step.ended or step.current or advance.taken:
            self.home.wake("flusher")
        if advance.frees_others:
            self.home.wake("supervisor")
        return advance

    def settle(self, settlement: Settlement) -> str | None:
        """End an attempt. Return the status of its task, or None if the claim is no longer in force."""
        status, frees_others = self.store.queue.settle(settlement)
        self.home.wake("flusher")
        if frees_others:
            self.home.wake("supervisor")
        return status

    def rescue(self, attempts: Sequence[Rescued]) -> list[str | None]:
        """Settle the tasks of a dead worker in order, and return their statuses.

        If a claim is no longer in force, its task is not changed and the status is None.
        """
        statuses = self.store.queue.rescue(attempts)
        self.home.wake("flusher")
        self.home.wake("supervisor")
        return statuses

    def record_verdict(self, number: int, claim: int, verdict: Verdict) -> bool:
        """Record the verdict on a running attempt. Return True if it was the first."""
        return self.store.queue.record_verdict(number, claim, verdict)

    def verdict(self, id: str, claim: int) -> str | None:
        """Return the verdict on a running attempt, or None. If the attempt is no longer in force, return "lost"."""
        state = self._state(id)
        if state.status is not TaskStatus.RUNNING or state.claim != claim:
            return "lost"
        return state.verdict

    def progress_of(self, id: str) -> str | None:
        """Return the last progress of a task."""
        return self._state(id).progress

    def record_stale(self, number: int, claim: int, idle_ms: int) -> None:
        """Record, once per attempt, that it has given no sign of life for `idle_ms` milliseconds."""
        self.store.queue.record_stale(number, claim, idle_ms)
        self.home.wake("flusher")

    def record_progress(self, number: int, claim: int, text: str) -> None:
        """Record the progress of a running attempt that its worker has read from the output."""
        self.store.queue.record_progress(number, claim, text)
        self.home.wake("flusher")

    def interrupt(self, running: Running, requeue: bool) -> bool:
        """Record that a shutdown ends a running attempt. With `requeue` or attempts left, the task runs again."""
        runs_again = requeue or running.attempt < running.max_attempts
        status = TaskStatus.PENDING if runs_again else TaskStatus.ERROR
        verdict = Verdict(status, "It was interrupted: the supervisor went down.", "interrupted")
        return self.record_verdict(running.number, running.claim, verdict)

    # verdicts of users

    def cancel(self, id: str) -> Task:
        """Cancel a pending task at once. For a running task, record a verdict that its worker carries out.

        Raises:
            NotFound: The task does not exist.
            MoveNotAllowed: The task has ended.
            HeldByWorker: The worker that holds the task does not publish it in time.
        """
        return self._change(id, lambda: self.store.queue.cancel(id))

    def cancel_all(self, ids: Sequence[str]) -> list[str]:
        """Cancel the tasks that have not ended, and return their IDs. One transaction cancels up to `CANCELS`.

        Raises Temporary, HeldByWorker.
        """
        cancelled: list[str] = []
        for start in range(0, len(ids), CANCELS):
            remaining = [*ids[start : start + CANCELS]]
            publication = Publication(self.store, self.publication_timeout)
            while remaining:
                result = self._cancel_some(remaining)
                cancelled += result.ids
                remaining = [id for id in remaining if id not in result.ids] if result.holders else []
                if remaining:
                    publication.wait_for(result.holders)
        return list(dict.fromkeys(cancelled))

    def _cancel_some(self, ids: Sequence[str]) -> Cancelled:
        result = self.store.queue.cancel_many(ids)
        if result.ids:
            self._notify(result.owners)
        return result

    def complete(self, id: str, result: str | None = None) -> Task:
        """Record that a running task has completed. Raises NotFound, MoveNotAllowed, HeldByWorker."""
        return self._change(id, lambda: self.store.queue.end(id, Verdict(TaskStatus.COMPLETED, result)))

    def fail(self, id: str, error: str) -> Task:
        """Record that a running task has failed. Raises NotFound, MoveNotAllowed, HeldByWorker."""
        return self._change(id, lambda: self.store.queue.end(id, Verdict(TaskStatus.ERROR, error, "failed")))

    def progress(self, id: str, text: str) -> Task:
        """Record the progress of a running task. Raises NotFound, MoveNotAllowed, HeldByWorker."""
        self._published(lambda: self.store.queue.set_progress(id, text))
        self.home.wake("flusher")
        return self.get(id)

    def _change(self, id: str, change: Callable[[], Change]) -> Task:
        """Change a task as soon as no worker holds it, and return the changed task."""
        owner = self._published(change).owner
        self._notify(set() if owner is None else {owner})
        return self.get(id)

    def _published(self, change: Callable[[], Change]) -> Change:
        """Repeat a change until no worker holds the task."""
        publication = Publication(self.store, self.publication_timeout)
        while (result := change()).held:
            assert result.owner is not None, "a held task has an owner"
            publication.wait_for({result.owner})
        return result

    def _notify(self, owners: set[int]) -> None:
        """Wake the workers that have a verdict to carry out, the supervisor and the flusher."""
        for owner in owners:
            processes.wake_process(self.store, owner)
        self.home.wake("supervisor")
        self.home.wake("flusher")

    def retry(self, id: str) -> Task:
        """Queue a failed or cancelled task again under its ID. Raises NotFound, MoveNotAllowed."""
        self.store.queue.retry(id, self.config)
        self.home.wake("supervisor")
        return self.get(id)

    def edit(self, id: str, edit: TaskEdit) -> Task:
        """Change a pending task. Raises NotFound, MoveNotAllowed, HeldByWorker."""
        return self._change(id, lambda: self.store.queue.edit(id, edit, self.config))

    def remove(self, ids: Sequence[str]) -> None:
        """Delete ended tasks with their output, all or none. Their events stay. Raises NotFound, MoveNotAllowed."""
        from .retention import files_of, unlink

        deleted = self.store.queue.remove(ids, self.config.notification_max_batch)
        self.home.wake("flusher")
        for task in deleted:
            unlink(files_of(task, self.home))
        self.store.maintenance.delete_idle_groups(IDLE_GROUPS)  # a key that was misspelt goes with its last task
        self.store.maintenance.delete_idle_keys(IDLE_GROUPS)

    # time and dependencies

    def promote(self, limit: int = 200) -> set[str]:
        """Make due tasks ready, end tasks that have waited too long, and return the groups of these tasks."""
        groups = self.store.queue.promote(limit)
        self.home.wake("flusher")
        return groups


def _hint(groups: set[str]) -> str:
    """Return a line with the groups of new tasks. If it is too long, return "", which means all groups."""
    line = json.dumps(sorted(groups))
    return line if len(line) < HINT_LIMIT else ""
