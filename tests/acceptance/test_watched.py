"""The limit of output, stale tasks, and completion by stable output."""

from __future__ import annotations

import sys

from tests.helpers.instance import FOREVER, TIMEOUT, Instance
from tests.helpers.wait import eventually

#: Frequent checks, so that no test takes long.
BRISK = {"polling_interval_ms": 50, "kill_grace_s": 1, "notification_batch_window_ms": 50}

FLOOD = (
    "import sys\n"
    "print('first line')\n"
    "for _ in range(48): sys.stdout.write('x' * (1 << 20))\n"
    "print(); print('last line')\n"
)


def test_long_output_keeps_head_and_tail_and_frees_the_disk_space_between(instance: Instance):
    instance.up(**BRISK, output_limit_mb=1)
    task = instance.result(sys.executable, "-S", "-c", FLOOD)
    assert task.status == "completed"
    file = instance.home.output(1, "stdout")
    assert file.stat().st_size > 48 << 20
    assert file.stat().st_blocks * 512 <= (1 << 20) + 64 * 1024
    output = instance.check("output", task.id)
    assert output.startswith("first line\n")
    assert "bytes are missing here" in output
    assert output.endswith("\nlast line\n")


def test_silent_task_is_reported_as_stale_once_and_runs_on(instance: Instance):
    instance.up(**BRISK, stale_timeout_ms=150)
    id = instance.launch_sleeper(parentSessionId="p")
    stale = eventually(
        lambda: [event for event in instance.events("p") if event["type"] == "background_task_stale"],
        TIMEOUT,
        "the event that it is stale",
    )
    assert [event["taskId"] for event in stale] == [id]
    assert stale[0]["idleMs"] >= 150
    assert instance.task(id).status == "running"


def test_silent_task_that_uses_the_cpu_is_not_stale(instance: Instance):
    instance.up(**BRISK, stale_timeout_ms=300)
    busy = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    assert instance.result(sys.executable, "-S", "-c", busy, parentSessionId="p").status == "completed"
    assert "background_task_stale" not in {event["type"] for event in instance.events("p")}


def test_stale_task_is_ended_if_stale_action_is_fail(instance: Instance):
    instance.up(**BRISK, stale_timeout_ms=150, stale_action="fail")
    task = instance.result(*FOREVER)
    assert (task.status, task.error_kind) == ("error", "stalled")


def test_agent_that_never_exits_is_completed_when_its_output_is_stable(instance: Instance):
    chatty = {"command": ["sh", "-c", "cat; exec sleep 1000"], "stdin": "{prompt}", "completion": "stable"}
    instance.up(**BRISK, min_stability_time_ms=200, agents={"chatty": chatty})
    id = instance.check("--home", str(instance.folder), "launch", "--agent", "chatty", "the whole answer").strip()
    task = instance.until(id)
    assert (task.status, task.result) == ("completed", "the whole answer")
