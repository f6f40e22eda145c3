"""Tasks that a worker has taken together: calls that it takes back, and commands without their state directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import Temporary
from backburner.ipc.model.claim import Slot, Step, Taken
from backburner.ipc.model.task import TaskStatus
from backburner.supervisor.execution.journal import Journal
from backburner.supervisor.execution.runner.wire import ORDER_LIMIT, decode_order
from backburner.supervisor.execution.runner_pool import Runner
from backburner.supervisor.execution.series import CallSeries, CommandSeries, CommandTools
from tests.helpers.instance import TIMEOUT
from tests.helpers.queue_db import QueueDatabase

SLOT = Slot("python", 0)


class StagedSeries:
    """A series of calls in a worker without a process; the test acts as its runner."""

    def __init__(self, queue_db: QueueDatabase, calls: int) -> None:
        self.queue_db = queue_db
        self.ids = [queue_db.launch(call="jobs:one") for _ in range(calls)]
        queue_db.groups.limit("python", 1)
        self.taken = queue_db.queue.take(SLOT, queue_db.owner, calls)
        assert len(self.taken) == calls
        self.journal = Journal(queue_db.home, queue_db.owner)
        channel, self._runners_end = socket.socketpair()
        sender, self._receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.runner = Runner(os.getpid(), channel, (sender, self._receiver))
        self.series = CallSeries(self.runner, self.journal, self.taken[:], queue_db.config)
        self.series.advance(0.0)

    def close(self) -> None:
        self.runner.close()
        self._receiver.close()
        self._runners_end.close()
        self.journal.remove()

    def receive(self) -> int:
        """Receive an order as the runner does, and note that the call began; return its claim."""
        claim = decode_order(self._receiver.recv(ORDER_LIMIT, socket.MSG_DONTWAIT)).claim
        self.journal.note_start(claim)
        return claim

    def run(self, **end: str) -> None:
        """Receive an order and note how the call ended."""
        self.journal.note_end(self.receive(), end)

    def take_back(self, monkeypatch: pytest.MonkeyPatch, *, overtake: Callable[[], object]) -> list[Taken]:
        """Take back what was not received; right after the first of them, the runner does `overtake`."""
        receiver = self._receiver

        class Racing:
            count = 0

            def recv(self, size: int, flags: int) -> bytes:
                self.count += 1
                if self.count == 2:
                    overtake()
                return receiver.recv(size, flags)

        with monkeypatch.context() as patch:
            patch.setattr(self.runner, "_receiver", Racing())
            return self.series.take_back()

    def publish(self, returned: list[Taken]) -> None:
        """Publish the series, as its worker does."""
        series = self.series
        current = series.mark_started() if series.waiting else None
        self.queue_db.queue.advance(Step(SLOT, self.queue_db.owner, series.ended, current, returned))
        series.forget_ended()

    def statuses(self) -> list[TaskStatus]:
        return [self.queue_db.get(id).status for id in self.ids]


@pytest.fixture
def new_series(queue_db: QueueDatabase) -> Iterator[Callable[[int], StagedSeries]]:
    made: list[StagedSeries] = []

    def new(calls: int) -> StagedSeries:
        made.append(StagedSeries(queue_db, calls))
        return made[-1]

    yield new
    for staged in made:
        staged.close()


def test_call_that_started_during_take_back_is_published(
    new_series: Callable[[int], StagedSeries], monkeypatch: pytest.MonkeyPatch
):
    staged = new_series(4)
    running = staged.receive()

    def finish_and_run_next() -> None:
        staged.journal.note_end(running, {"result": "0"})
        staged.run(result="1")

    returned = staged.take_back(monkeypatch, overtake=finish_and_run_next)
    assert [one.number for one in returned] == [staged.taken[1].number, staged.taken[3].number]
    staged.publish(returned)
    pending, completed = TaskStatus.PENDING, TaskStatus.COMPLETED
    assert staged.statuses() == [completed, pending, completed, pending]


@pytest.mark.parametrize("end", [{"result": "1"}, {"error": "It failed.", "errorKind": "failed"}])
def test_current_call_yields_its_slot_to_a_later_one_that_ran_first(
    new_series: Callable[[int], StagedSeries], monkeypatch: pytest.MonkeyPatch, end: dict[str, str]
):
    staged = new_series(3)
    staged.publish(staged.take_back(monkeypatch, overtake=lambda: staged.run(**end)))
    first, second, third = staged.statuses()
    assert (first, third) == (TaskStatus.PENDING, TaskStatus.PENDING)
    assert second is (TaskStatus.COMPLETED if "result" in end else TaskStatus.ERROR)
    assert staged.queue_db.get(staged.ids[0]).attempt == 0


def test_current_call_is_requeued_while_a_later_one_runs(
    new_series: Callable[[int], StagedSeries], monkeypatch: pytest.MonkeyPatch
):
    staged = new_series(3)
    staged.publish(staged.take_back(monkeypatch, overtake=staged.receive))
    assert staged.statuses() == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.PENDING]


def test_current_call_is_requeued_if_it_cannot_be_sent_again(
    new_series: Callable[[int], StagedSeries], monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> bool:
        raise Temporary("The disk is full.")

    staged = new_series(2)
    monkeypatch.setattr(staged.runner, "send", refuse)
    staged.publish(staged.series.take_back())
    assert staged.statuses() == [TaskStatus.PENDING, TaskStatus.PENDING]


def test_current_call_is_sent_again_after_it_was_taken_back(new_series: Callable[[int], StagedSeries]):
    staged = new_series(3)
    staged.publish(staged.series.take_back())
    assert staged.statuses() == [TaskStatus.RUNNING, TaskStatus.PENDING, TaskStatus.PENDING]
    staged.run(result="0")
    staged.series.advance(0.0)
    staged.publish([])
    assert staged.statuses()[0] is TaskStatus.COMPLETED


def test_commands_wait_while_the_state_directory_is_gone(
    queue_db: QueueDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # a series changes the folder of its process
    for _ in range(2):
        queue_db.launch()
    queue_db.groups.limit("command", 1)
    journal = Journal(queue_db.home, queue_db.owner)
    tools = CommandTools(queue_db.home, queue_db.owner, journal, lambda _seconds: True)
    tools.has_strays = lambda: False
    series = CommandSeries(tools, queue_db.queue.take(Slot("command", 0), queue_db.owner, 2), queue_db.config)
    assert tools.actions
    away = queue_db.home.folder.rename(tmp_path / "away")
    with pytest.raises(Temporary):
        series.advance(0.0)
    away.rename(queue_db.home.folder)
    series.advance(clock.monotonic() + TIMEOUT)
    assert [one.settlement.status for one in series.ended] == [TaskStatus.COMPLETED] * 2
    tools.remove()
    journal.remove()
