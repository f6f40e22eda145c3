"""What is watched while a task runs: how much it writes, whether it lives, whether it has said all."""

from __future__ import annotations

import sys

from tests.helpers.instance import FOREVER, TIMEOUT, Instance
from tests.helpers.wait import eventually

#: Looked at often, so that a test need not wait long.
ATTENTIVE = {"polling_interval_ms": 50, "kill_grace_s": 1, "notification_batch_window_ms": 50}

FLOOD = (
    "import sys\n"
    "print('first line')\n"
    "for _ in range(48): sys.stdout.write('x' * (1 << 20))\n"
    "print(); print('last line')\n"
)


def test_a_flood_of_output_keeps_its_head_and_tail_and_gives_the_disk_of_the_middle_back(instance: Instance):
    instance.up(**ATTENTIVE, output_limit_mb=1)
    task = instance.result(sys.executable, "-S", "-c", FLOOD)
    assert task.status == "completed"
    (file,) = (path for path in map(instance.home.output, [1], ["stdout"]))
    assert file.stat().st_size > 48 << 20
    assert file.stat().st_blocks * 512 <= (1 << 20) + 64 * 1024
    told = instance.check("output", task.id)
    assert told.startswith("first line\n")
    assert "bytes are missing here" in told
    assert told.endswith("\nlast line\n")


def test_a_silent_task_is_told_of_once_and_left_alone(instance: Instance):
    instance.up(**ATTENTIVE, stale_timeout_ms=150)
    id = instance.launch_sleeper(parentSessionId="p")
    stale = eventually(
        lambda: [event for event in instance.events("p") if event["type"] == "background_task_stale"],
        TIMEOUT,
        "the notice that it is stale",
    )
    assert [event["taskId"] for event in stale] == [id]
    assert stale[0]["idleMs"] >= 150
    assert instance.task(id).status == "running"


def test_a_task_that_works_without_a_word_is_not_stale(instance: Instance):
    instance.up(**ATTENTIVE, stale_timeout_ms=300)
    busy = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    assert instance.result(sys.executable, "-S", "-c", busy, parentSessionId="p").status == "completed"
    assert "background_task_stale" not in {event["type"] for event in instance.events("p")}


def test_a_stale_task_is_ended_only_where_that_is_asked_for(instance: Instance):
    instance.up(**ATTENTIVE, stale_timeout_ms=150, stale_action="fail")
    task = instance.result(*FOREVER)
    assert (task.status, task.error_kind) == ("error", "stalled")


def test_an_agent_that_never_exits_is_done_when_its_output_is_stable(instance: Instance):
    chatty = {"command": ["sh", "-c", "cat; exec sleep 1000"], "stdin": "{prompt}", "completion": "stable"}
    instance.up(**ATTENTIVE, min_stability_time_ms=200, agents={"chatty": chatty})
    id = instance.check("--home", str(instance.folder), "launch", "--agent", "chatty", "all I have to say").strip()
    task = instance.until(id)
    assert (task.status, task.result) == ("completed", "all I have to say")
