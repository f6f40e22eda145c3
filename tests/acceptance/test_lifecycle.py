"""Tasks and roles when any of the roles is shut down, killed, or was never started."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from backburner.ipc import clock
from backburner.ipc.errors import AlreadyRunning, InvalidInput, MoveNotAllowed, NoSupervisor
from backburner.ipc.model.event import Event
from backburner.ipc.store.groups import Groups
from tests.acceptance.conftest import BRISK
from tests.helpers.instance import FOREVER, TIMEOUT, Instance, as_toml
from tests.helpers.journals import wait_for_numbers
from tests.helpers.processes import are_gone, is_alive, kill, open_files
from tests.helpers.wait import eventually

#: Starts a child in the same session, one in a separate session, and a daemon. Each records its pid and runs on.
#: With `bare` the daemon has no environment by which it could be recognised.
TREE = """
import os, signal, sys
def record():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
def stay():
    record()
    while True:
        signal.pause()
if sys.argv[2] == "stay":
    stay()
if os.fork() == 0:
    stay()
if os.fork() == 0:
    os.setsid()
    stay()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        environment = {} if sys.argv[2] == "bare" else os.environ
        os.execve(sys.executable, [sys.executable, "-S", "-c", sys.orig_argv[3], sys.argv[1], "stay"], environment)
    os._exit(0)
os.wait()
stay()
"""


def tree(path: Path, kind: str = "bare") -> tuple[str, ...]:
    """Return a command that starts four processes and records their pids in a file."""
    return (sys.executable, "-S", "-c", TREE, str(path), kind)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# with and without a supervisor


def test_task_launched_without_a_supervisor_runs_after_the_next_up(instance: Instance):
    id = instance.launch("echo", "hi")
    assert (instance.task(id).status, instance.task(id).waiting_for) == ("pending", "supervisor")
    instance.up()
    assert instance.until(id).result == "hi"


def test_pending_task_is_cancelled_without_a_supervisor(instance: Instance):
    id = instance.launch("true")
    instance.check("cancel", id)
    assert instance.task(id).status == "cancelled"
    instance.up()
    instance.result("true")
    assert (instance.task(id).status, len(instance.ends(id))) == ("cancelled", 1)


def test_worker_cancels_its_task_after_the_supervisor_was_killed(live: Instance, tmp_path: Path):
    id = live.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    live.kill("supervisor")
    live.check("cancel", id)
    assert are_gone(pids)
    assert (live.task(id).status, len(live.ends(id))) == ("cancelled", 1)


def test_command_cancels_a_task_whose_worker_and_supervisor_were_killed(live: Instance, tmp_path: Path):
    id = live.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    worker = live.worker_of(id)
    live.kill("supervisor")
    kill(worker)
    assert live.run("cancel", id).returncode == 0
    assert are_gone(pids)
    assert (live.task(id).status, len(live.ends(id))) == ("cancelled", 1)


def test_second_up_is_refused(shared: Instance):
    with pytest.raises(AlreadyRunning, match=str(shared.pid_of("supervisor"))):
        shared.up()
    assert shared.run("up").returncode == 100
    assert shared.result("true").status == "completed"


def test_down_without_a_supervisor_raises_no_supervisor(instance: Instance):
    with pytest.raises(NoSupervisor):
        instance.down()


# going down


def test_down_leaves_running_tasks_to_their_workers_and_the_next_up_adopts_them(instance: Instance, tmp_path: Path):
    instance.up(shutdown_grace_s=0.1, default_concurrency=1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    id = instance.launch("sh", "-c", f"cat {pipe}", parentSessionId="me")
    pid, worker = instance.pid(id), instance.worker_of(id)
    instance.down()
    assert (instance.status()["supervisor"], instance.status()["flusher"]) == (None, None)
    assert instance.task(id).pid == pid
    assert is_alive(pid)
    instance.up(**BRISK, default_concurrency=1)
    adopted = next(one for one in instance.status()["workers"] if one["taskId"] == id)
    assert (adopted["pid"], adopted["adopted"]) == (worker, True)
    second = instance.launch("true")
    assert instance.key("command") == {"key": "command", "limit": 1, "running": 1, "pending": 1, "paused": False}
    pipe.write_text("done\n")
    assert instance.until(id).result == "done"
    assert instance.until(second).status == "completed"
    assert len(instance.ends(id)) == 1
    assert [one["tasks"][0]["id"] for one in instance.batches("me", 1)] == [id]


def test_task_that_ends_without_a_supervisor_is_settled_and_reported_once(instance: Instance, tmp_path: Path):
    instance.up(shutdown_grace_s=0.1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    id = instance.launch("sh", "-c", f"cat {pipe}", parentSessionId="me")
    instance.pid(id)
    instance.down()
    pipe.write_text("done\n")
    assert instance.until(id).result == "done"
    instance.up(**BRISK)
    assert [batch["allComplete"] for batch in instance.batches("me", 1)] == [True]
    assert len(instance.ends(id)) == 1


def test_down_waits_for_running_tasks_within_the_grace(instance: Instance, tmp_path: Path):
    instance.up(shutdown_grace_s=20)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    id = instance.launch("sh", "-c", f"cat {pipe}")
    instance.pid(id)
    waiting = instance.launch("true", concurrencyKey="other", delayMs=1)
    instance.until(waiting)
    down = threading.Thread(target=instance.down)
    down.start()
    eventually(lambda: "shutting down: 1 still running" in instance.home.log.read_text())
    late = instance.launch("true")
    pipe.write_text("done\n")
    down.join(TIMEOUT)
    assert instance.task(id).result == "done"
    assert instance.task(late).status == "pending"


def test_down_now_ends_process_trees_with_error_interrupted(live: Instance, tmp_path: Path):
    id = live.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    live.down(now=True)
    assert are_gone(pids)
    task = live.task(id)
    assert (task.status, task.error_kind, len(live.ends(id))) == ("error", "interrupted", 1)


@pytest.mark.parametrize("fields", [{"retries": 1}, {}], ids=["a retry is left", "requeued"])
def test_down_now_requeues_tasks_with_retries_or_requeue(live: Instance, fields: dict[str, int]):
    id = live.launch_sleeper(**fields)
    pid = live.pid(id)
    live.down(now=True, requeue=not fields)
    assert (live.task(id).status, live.ends(id)) == ("pending", [])
    assert not is_alive(pid)
    live.up(**BRISK)
    again = live.until(id, "running")
    assert again.attempt == 1  # an interruption uses up no attempt


# killed


def test_supervisor_adopts_all_processes_of_a_killed_predecessor(live: Instance, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    id = live.launch("sh", "-c", f"cat {pipe}")
    pids = live.pid(id), live.worker_of(id), live.pid_of("flusher"), live.pid_of("forkServer")
    live.kill("supervisor")
    waiting = live.launch("true")
    live.up(**BRISK)
    assert live.until(waiting).status == "completed"
    assert (live.pid(id), live.worker_of(id), live.pid_of("flusher"), live.pid_of("forkServer")) == pids
    pipe.write_text("done\n")
    assert live.until(id).result == "done"


def test_task_of_a_killed_worker_is_lost_and_its_slot_is_free_within_a_second(instance: Instance, tmp_path: Path):
    instance.up(**BRISK, default_concurrency=1)
    id = instance.launch(*tree(tmp_path / "pids"), parentSessionId="me")
    pids = wait_for_numbers(tmp_path / "pids", 4)
    after = instance.launch("true")
    worker = instance.worker_of(id)
    os.kill(worker, signal.SIGKILL)
    killed = clock.monotonic()
    task = instance.until(id)
    took = clock.monotonic() - killed
    assert (task.status, task.error_kind) == ("error", "lost")
    assert "SIGKILL" in (task.error or "")
    assert are_gone(pids)
    assert took < 1
    assert instance.until(after).status == "completed"
    assert instance.batches("me", 1)[0]["failedCount"] == 1


def test_task_of_a_killed_worker_is_retried_if_it_has_retries(shared: Instance, tmp_path: Path):
    id = shared.launch(*tree(tmp_path / "pids"), retries=1, parentSessionId="retried")
    first = wait_for_numbers(tmp_path / "pids", 4)
    kill(shared.worker_of(id))
    second = wait_for_numbers(tmp_path / "pids", 8)[4:]
    assert are_gone(first)
    assert shared.task(id).attempt == 2
    kill(shared.worker_of(id))
    assert shared.until(id).error_kind == "lost"
    assert are_gone(second)
    types = [event["type"] for event in shared.events("retried") if event["type"] != "background_tasks_batch"]
    assert [name.rpartition("_")[2] for name in types] == ["started", "retrying", "started", "completed"]


def test_next_up_rescues_the_task_after_supervisor_and_worker_were_killed(live: Instance, tmp_path: Path):
    id = live.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    worker = live.worker_of(id)
    live.kill("supervisor")
    kill(worker)
    assert live.task(id).status == "running"
    live.up(**BRISK)
    assert live.until(id).error_kind == "lost"
    assert are_gone(pids)
    assert len(live.ends(id)) == 1


def test_killing_all_roles_at_once_leaves_no_process_and_loses_no_task(live: Instance, tmp_path: Path):
    running = live.launch(*tree(tmp_path / "pids", "marked"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    roles = [live.pid_of(role) for role in ("supervisor", "forkServer", "flusher")] + [live.worker_of(running)]
    pending = live.launch("echo", "hi", concurrencyKey="other", delayMs=300)
    for pid in roles:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: are_gone(roles))
    live.up(**BRISK)
    assert live.until(running).error_kind == "lost"
    assert are_gone(pids)
    assert live.until(pending).result == "hi"


class Subscriber(threading.Thread):
    """Receives the events of one parent, and reconnects when the bus is gone."""

    def __init__(self, instance: Instance, parent: str, ends: int) -> None:
        super().__init__(daemon=True)
        self.received: list[Event] = []
        self._instance, self._parent, self._left = instance, parent, ends

    def run(self) -> None:
        with self._instance.client() as client:
            for event in client.events(self._parent, 0):
                self.received.append(event)
                self._left -= event.data.get("count", 0)
                if self._left <= 0:
                    return


def test_subscribers_receive_each_event_once_when_the_flusher_is_killed(shared: Instance):
    subscriber = Subscriber(shared, "subscribed", 30)
    subscriber.start()
    for _ in range(3):
        for id in [shared.launch("true", parentSessionId="subscribed") for _ in range(10)]:
            shared.until(id)
        shared.kill("flusher")
    subscriber.join(TIMEOUT)
    assert not subscriber.is_alive()
    seqs = [event.seq for event in subscriber.received]
    assert seqs == [event["seq"] for event in shared.events("subscribed")]
    ends = [event.data["taskId"] for event in subscriber.received if event.type == "background_task_completed"]
    assert len(ends) == len(set(ends)) == 30


def test_killed_fork_server_is_replaced_and_its_workers_live_on(shared: Instance, tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    id = shared.launch("sh", "-c", f"cat {pipe}")
    pid, worker = shared.pid(id), shared.worker_of(id)
    old = shared.kill("forkServer")
    assert shared.result("true", concurrencyKey="new").status == "completed"
    assert shared.pid_of("forkServer") != old
    assert (shared.pid(id), shared.worker_of(id)) == (pid, worker)
    pipe.write_text("done\n")
    assert shared.until(id).result == "done"


def test_worker_that_dies_after_its_fork_server_is_rescued(shared: Instance, tmp_path: Path):
    id = shared.launch(*tree(tmp_path / "pids", "marked"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    worker = shared.worker_of(id)
    shared.kill("forkServer")
    kill(worker)
    assert shared.until(id).error_kind == "lost"
    assert are_gone(pids)


# ending a tree


def test_cancel_returns_after_daemons_and_separate_sessions_are_gone(shared: Instance, tmp_path: Path):
    id = shared.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    shared.check("cancel", id)
    assert are_gone(pids)
    assert shared.task(id).status == "cancelled"


def test_cancel_over_the_socket_answers_when_the_tree_is_gone(shared: Instance, tmp_path: Path):
    id = shared.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    with shared.client() as client:
        answer = client.call("cancel", id=id)
    assert are_gone(pids)
    assert answer["status"] == "cancelled"


def test_a_timeout_ends_the_whole_tree(shared: Instance, tmp_path: Path):
    task = shared.result(*tree(tmp_path / "pids"), timeoutMs=1500)
    assert (task.status, task.error_kind) == ("error", "timeout")
    assert are_gone(wait_for_numbers(tmp_path / "pids", 4))


def test_process_that_ignores_sigterm_is_killed_after_the_grace(shared: Instance, tmp_path: Path):
    script = f"trap '' TERM; echo $$ > {tmp_path}/pids; while :; do sleep 600; done"
    id = shared.launch("sh", "-c", script)
    (pid,) = wait_for_numbers(tmp_path / "pids", 1)
    shared.check("cancel", id)
    assert not is_alive(pid)


def test_a_stopped_tree_is_cancelled_too(shared: Instance):
    id = shared.launch_sleeper()
    os.kill(shared.pid(id), signal.SIGSTOP)
    shared.check("cancel", id)
    assert shared.task(id).status == "cancelled"


def test_leftover_processes_are_ended_and_counted_and_the_outcome_stands(shared: Instance, tmp_path: Path):
    script = f"sleep 600 & echo $! >> {tmp_path}/pids; setsid sleep 600 & echo $! >> {tmp_path}/pids; echo well"
    task = shared.result("sh", "-c", script)
    assert (task.status, task.result, task.exit_code, task.leftovers) == ("completed", "well", 0, 2)
    assert are_gone(wait_for_numbers(tmp_path / "pids", 2))


def test_children_outlive_a_task_with_leave_children(shared: Instance, tmp_path: Path):
    script = f"sleep 600 & echo $! >> {tmp_path}/pids"
    task = shared.result("sh", "-c", script, leaveChildren=True)
    (pid,) = wait_for_numbers(tmp_path / "pids", 1)
    try:
        assert task.status == "completed"
        assert shared.result("true").status == "completed"
        assert is_alive(pid)
    finally:
        kill(pid)


def test_task_inherits_only_standard_descriptors_and_an_empty_stdin(shared: Instance, tmp_path: Path):
    id = shared.launch_sleeper()
    found = open_files(shared.pid(id))
    assert sorted(found) == ["0", "1", "2"]
    assert found["0"] == "/dev/null"
    shared.check("cancel", id)
    assert shared.result("cat").result == ""


# configuration, limits and order


def test_reload_applies_a_file_and_leaves_running_tasks_alone(live: Instance):
    ids = [live.launch(*FOREVER, model="opus") for _ in range(3)]
    eventually(lambda: live.key("opus").get("running") == 2)
    running = [live.pid(id) for id in ids[:2]]
    assert live.task(ids[2]).waiting_for == "slot"
    (live.folder / "config.toml").write_text("[model_concurrency]\nopus = 3\n")
    live.check("reload")
    live.pid(ids[2])
    assert [live.pid(id) for id in ids[:2]] == running


def test_sighup_reloads(live: Instance):
    (live.folder / "config.toml").write_text("[model_concurrency]\nopus = 9\n")
    live.launch("true", model="opus")
    os.kill(live.pid_of("supervisor"), signal.SIGHUP)
    eventually(lambda: live.key("opus")["limit"] == 9)


def test_keys_that_match_a_pattern_share_its_limit_after_a_reload(live: Instance):
    ids = [live.launch(*FOREVER, concurrencyKey=f"anthropic/{name}") for name in "abc"]
    for id in ids:
        live.pid(id)
    (live.folder / "config.toml").write_text('[model_concurrency]\n"anthropic/*" = 2\n')
    live.check("reload")
    eventually(lambda: live.key("anthropic/*").get("running") == 3)
    waiting = live.launch("true", concurrencyKey="anthropic/d")
    live.check("cancel", ids[0])
    assert live.task(waiting).status == "pending"  # two tasks run, which is the limit
    live.check("cancel", ids[1])
    assert live.until(waiting).status == "completed"


def test_limit_command_takes_effect_at_once_and_outlives_the_supervisor(live: Instance):
    live.check("limit", "narrow", "1")
    first, second = live.launch_sleeper(concurrencyKey="narrow"), live.launch(*FOREVER, concurrencyKey="narrow")
    assert live.task(second).waiting_for == "slot"
    live.check("limit", "narrow", "2")
    live.pid(second)
    live.check("limit", "narrow", "1")
    third = live.launch("true", concurrencyKey="narrow")
    live.kill("supervisor")
    live.up(**BRISK)
    assert live.key("narrow")["limit"] == 1
    live.check("cancel", first)
    assert live.task(third).status == "pending"
    live.check("cancel", second)
    assert live.until(third).status == "completed"


def test_paused_key_starts_no_task_until_it_is_resumed(shared: Instance):
    shared.check("pause", "quiet")
    id = shared.launch("true", concurrencyKey="quiet")
    assert shared.result("true").status == "completed"
    assert (shared.task(id).status, shared.task(id).waiting_for) == ("pending", "paused")
    shared.check("resume", "quiet")
    assert shared.until(id).status == "completed"


def test_pause_outlives_the_supervisor(live: Instance):
    live.check("pause", "quiet")
    live.kill("supervisor")
    live.up(**BRISK)
    id = live.launch("true", concurrencyKey="quiet")
    live.result("true")
    assert live.task(id).waiting_for == "paused"


def launched_while_paused(shared: Instance, key: str, *fields: dict[str, object]) -> tuple[list[str], list[str]]:
    """Launch tasks of a paused key with one slot, resume it, and return the ids as they started and as launched."""
    Groups(shared.store, shared.queue.config).limit(key, 1)
    shared.check("pause", key)
    ids = [shared.launch("true", concurrencyKey=key, **more) for more in fields]
    shared.check("resume", key)
    for id in ids:
        shared.until(id)
    started = [one for one in shared.events() if one["type"] == "background_task_started"]
    order = [one["taskId"] for one in started]
    return sorted(ids, key=order.index), ids


def test_highest_priority_starts_first_then_the_oldest(shared: Instance):
    order, ids = launched_while_paused(
        shared, "ordered", {"priority": -1}, {}, {"priority": 5}, {}, {"priority": 1000}, {"priority": 5}
    )
    assert [ids.index(id) for id in order] == [4, 2, 5, 1, 3, 0]


def test_delayed_task_waits_until_its_delay_is_over(shared: Instance):
    launched_at = clock.now()
    id = shared.launch("true", delayMs=400)
    assert (shared.task(id).status, shared.task(id).waiting_for) == ("pending", "delay")
    task = shared.until(id)
    assert task.started_at is not None
    assert task.not_before is not None
    assert 400 <= task.started_at.timestamp() * 1000 - launched_at < 1500
    assert task.started_at >= task.not_before


def test_failing_task_is_retried_until_its_attempts_are_used_up(instance: Instance, tmp_path: Path):
    instance.up(**{**BRISK, "retry_base_ms": 40, "retry_max_ms": 100})
    id = instance.launch(
        "sh", "-c", f"echo $BACKBURNER_ATTEMPT >> {tmp_path}/attempts; exit 3", retries=4, parentSessionId="me"
    )
    task = instance.until(id)
    assert (task.status, task.error_kind, task.exit_code) == ("error", "exit", 3)
    assert (task.attempt, task.max_attempts) == (5, 5)
    assert lines(tmp_path / "attempts") == list("12345")
    retrying = [one for one in instance.events("me") if one["type"] == "background_task_retrying"]
    assert [(one["attempt"], one["errorKind"]) for one in retrying] == [(n, "exit") for n in (1, 2, 3, 4)]
    assert len(instance.ends(id)) == 1


def test_retry_that_succeeds_completes_the_task(shared: Instance, tmp_path: Path):
    task = shared.result(
        "sh", "-c", f"echo x >> {tmp_path}/attempts; test $(wc -l < {tmp_path}/attempts) = 3", retries=5
    )
    assert (task.status, task.attempt, task.error, task.error_kind) == ("completed", 3, None, None)


def test_retry_command_continues_the_count_of_attempts(shared: Instance, tmp_path: Path):
    id = shared.launch("sh", "-c", f"test -e {tmp_path}/there", retries=1, parentSessionId="by-hand")
    assert shared.until(id).attempt == 2
    with pytest.raises(MoveNotAllowed):
        shared.queue.retry(shared.result("true").id)
    (tmp_path / "there").touch()
    shared.check("retry", id)
    task = shared.until(id, "completed")
    assert (task.attempt, task.max_attempts) == (3, 4)
    assert [one["status"] for one in shared.ends(id)] == ["error", "completed"]
    reported = [task["status"] for batch in shared.batches("by-hand", 2) for task in batch["tasks"]]
    assert reported == ["error", "completed"]


def test_unique_name_is_held_until_its_task_has_ended(shared: Instance):
    first = shared.launch_sleeper(uniqueKey="one-of-a-kind")
    assert shared.launch("true", uniqueKey="one-of-a-kind") == first
    shared.check("cancel", first)
    second = shared.launch_sleeper(uniqueKey="one-of-a-kind")
    assert second != first
    with pytest.raises(MoveNotAllowed, match="one-of-a-kind"):
        shared.queue.retry(first)
    shared.check("cancel", second)


def test_second_launch_with_the_same_client_id_runs_nothing_again(shared: Instance, tmp_path: Path):
    id = "bg-6f9619ff-8b86-4d01-b42d-00c04fc964ff"
    command = ("sh", "-c", f"echo x >> {tmp_path}/runs")
    assert shared.launch(*command, id=id) == id
    shared.until(id)
    assert shared.launch(*command, id=id) == id
    shared.result("true")
    assert lines(tmp_path / "runs") == ["x"]


def test_task_waits_for_its_dependencies(shared: Instance, tmp_path: Path):
    first = shared.launch_sleeper()
    after = shared.launch("true", after=[first])
    after_any = shared.launch("true", afterAny=[first])
    both = shared.launch("true", after=[after_any], afterAny=[first])
    assert [shared.task(id).waiting_for for id in (after, after_any, both)] == ["dependency"] * 3
    shared.check("cancel", first)
    assert (shared.until(after).status, shared.until(after).error_kind) == ("error", "dependency")
    assert (shared.until(after_any).status, shared.until(both).status) == ("completed", "completed")
    late = shared.result("true", after=[first])
    assert (late.status, late.error_kind) == ("error", "dependency")


def test_chain_of_dependencies_runs_in_order(shared: Instance, tmp_path: Path):
    ids: list[str] = []
    for number in range(5):
        command = ("sh", "-c", f"echo {number} >> {tmp_path}/order")
        ids.append(shared.launch(*command, after=ids[-1:], concurrencyKey=f"link-{number}"))
    shared.until(ids[-1])
    assert lines(tmp_path / "order") == list("01234")


def test_launch_beyond_max_tasks_per_parent_is_refused(instance: Instance):
    (instance.folder / "config.toml").write_text(as_toml({"max_tasks_per_parent": 2}))
    instance.up(**BRISK)
    ids = [instance.check("launch", "--parent", "greedy", "--", *FOREVER).strip() for _ in range(2)]
    refused = instance.run("launch", "--parent", "greedy", "--", "true")
    assert refused.returncode == 111
    assert "max_tasks_per_parent" in refused.stderr
    instance.check("launch", "--parent", "modest", "--", "true")
    instance.check("cancel", ids[0])
    instance.check("launch", "--parent", "greedy", "--", "true")


def test_max_workers_holds_over_all_keys_and_the_oldest_task_starts_first(instance: Instance):
    (instance.folder / "config.toml").write_text(as_toml({**BRISK, "max_workers": 2, "default_concurrency": 0}))
    instance.up()
    held = [instance.launch_sleeper(concurrencyKey="wide") for _ in range(2)]
    ids = [instance.launch("true", concurrencyKey=key) for key in ("a", "b", "wide", "c")]
    waiting = json.loads(instance.check("list", "--status", "pending", "--json"))
    assert {task["waitingFor"] for task in waiting} == {"cap"}
    assert len(instance.status()["workers"]) == 2
    instance.check("cancel", held[0])
    for id in ids:
        assert instance.until(id).status == "completed"
    started = [one["taskId"] for one in instance.events() if one["type"] == "background_task_started"]
    assert started[2:] == ids  # the oldest task of all groups comes first


def test_task_that_waits_too_long_expires(instance: Instance):
    (instance.folder / "config.toml").write_text("max_queue_wait_s = 0.3\n")
    instance.up(**BRISK)
    instance.check("pause", "stuck")
    id = instance.check("launch", "--key", "stuck", "--", "true").strip()
    task = instance.until(id)
    assert (task.status, task.error_kind) == ("error", "expired")


# Python functions


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Return the path of a module that tasks in this folder can import; the test writes it."""
    return tmp_path / "jobs.py"


def called(instance: Instance, module: Path, name: str, **fields: object):
    return instance.result(call=f"jobs:{name}", cwd=str(module.parent), **fields)


def test_return_value_of_a_callable_is_its_result_as_json(shared: Instance, module: Path):
    module.write_text("def add(*numbers, **more): return {'sum': sum(numbers), **more}\n")
    task = called(shared, module, "add", args=[1, 2.5], kwargs={"ä": None})
    assert (task.status, task.agent, task.result) == ("completed", "python", '{"sum": 3.5, "ä": null}')


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("return {1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_exception_of_a_callable_is_its_error(shared: Instance, module: Path, body: str, error: str):
    module.write_text(f"def fails(): {body}\n")
    task = called(shared, module, "fails")
    assert (task.status, task.error_kind, task.error) == ("error", "failed", error)
    assert "Traceback" in shared.check("output", "--stderr", task.id)


def test_callable_that_does_not_exist_is_an_error(shared: Instance, module: Path):
    module.write_text("")
    task = called(shared, module, "missing")
    assert (task.status, task.error_kind) == ("error", "failed")
    assert "missing" in (task.error or "")


def test_changed_module_is_used_by_the_next_call(shared: Instance, module: Path):
    for answer in range(3):
        module.write_text(f"def answer(): return {answer}\n")
        os.utime(module, (answer, answer))
        assert called(shared, module, "answer", concurrencyKey="one").result == str(answer)


def test_callable_that_ends_its_process_fails_and_the_next_one_runs(shared: Instance, module: Path):
    module.write_text(
        "import ctypes, os\ndef leave(): os._exit(7)\ndef crash(): ctypes.string_at(0)\ndef well(): return 'well'\n"
    )
    left, crashed = called(shared, module, "leave"), called(shared, module, "crash")
    assert (left.status, left.error_kind, left.exit_code) == ("error", "exit", 7)
    assert (crashed.status, crashed.error_kind, crashed.signal) == ("error", "signal", signal.SIGSEGV)
    assert called(shared, module, "well").result == '"well"'


def test_callable_that_leaves_threads_is_followed_by_a_new_process(shared: Instance, module: Path):
    module.write_text(
        "import os, threading\n"
        "def linger():\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "    return os.getpid()\n"
        "def status(): return os.getpid(), threading.active_count()\n"
    )
    lingering = called(shared, module, "linger", concurrencyKey="one").result
    after = called(shared, module, "status", concurrencyKey="one").result
    assert after is not None
    assert after.endswith(", 1]")
    assert lingering not in after
    assert not is_alive(int(lingering or 0))


def test_child_that_a_callable_leaves_is_ended_and_counted(shared: Instance, module: Path):
    module.write_text("import subprocess\ndef spawn(): return subprocess.Popen(['sleep', '600']).pid\n")
    task = called(shared, module, "spawn")
    assert (task.status, task.leftovers) == ("completed", 1)
    assert not is_alive(int(task.result or 0))


def test_call_whose_order_is_too_long_for_the_queue_runs_in_a_series(shared: Instance, module: Path):
    module.write_text("import os\ndef size(text): return [len(text), len(os.environ['LONG'])]\n")
    fields = {"args": ["\u65e5" * 16_000], "env": {"LONG": "x" * 70_000}}
    assert called(shared, module, "size", **fields).result == "[16000, 70000]"
    eventually(lambda: not list((shared.folder / "input").glob("*.order")), TIMEOUT, "its order to be deleted")


def test_call_of_a_changed_module_with_stdin_runs_in_a_new_process(shared: Instance, module: Path):
    fields = {"stdin": "text", "concurrencyKey": "changed"}
    module.write_text("def answer(): return 1\n")
    assert called(shared, module, "answer", **fields).result == "1"
    module.write_text("def answer(): return 1234\n")
    assert called(shared, module, "answer", **fields).result == "1234"


def test_callable_reads_its_stdin_and_prints_to_its_output(shared: Instance, module: Path):
    module.write_text(
        "import os, sys\n"
        "def talk():\n"
        "    print(sys.stdin.read())\n"
        "    print('err', file=sys.stderr)\n"
        "    os.system('echo from a child')\n"
        "    return os.environ['BACKBURNER_TASK_ID']\n"
    )
    task = called(shared, module, "talk", stdin="from stdin")
    assert task.result == f'"{task.id}"'
    assert sorted(shared.check("output", task.id).splitlines()) == ["from a child", "from stdin"]
    assert shared.check("output", "--stderr", task.id) == "err\n"


def test_calls_in_one_process_do_not_mix_their_output(shared: Instance, module: Path):
    module.write_text(
        "import os, sys\n"
        "def say(word):\n"
        "    sys.stdout.write(word)\n"
        "    sys.stderr.write(word)\n"
        "    return sys.stdin.read()\n"
    )
    for word in ("one", "two", "three"):
        task = called(shared, module, "say", args=[word], stdin=f"in {word}", concurrencyKey="one")
        assert task.result == f'"in {word}"'
        assert shared.check("output", task.id) == word
        assert shared.check("output", "--stderr", task.id) == word


def test_callable_can_be_cancelled_and_timed_out(shared: Instance, module: Path, tmp_path: Path):
    module.write_text(
        "import os, signal\n"
        "def stay(path):\n"
        "    with open(path, 'w') as file: print(os.getpid(), file=file)\n"
        "    signal.pause()\n"
    )
    id = shared.launch(call="jobs:stay", args=[str(tmp_path / "pid")], cwd=str(tmp_path))
    (pid,) = wait_for_numbers(tmp_path / "pid", 1)
    shared.check("cancel", id)
    assert (shared.task(id).status, is_alive(pid)) == ("cancelled", False)
    task = called(shared, module, "stay", args=[str(tmp_path / "pid")], timeoutMs=300)
    assert (task.status, task.error_kind) == ("error", "timeout")


# work that is done outside


def test_external_task_holds_a_slot_until_its_verdict(shared: Instance):
    Groups(shared.store, shared.queue.config).limit("external", 1)
    first, second = (
        shared.launch(agent="external", concurrencyKey="external", parentSessionId="out") for _ in range(2)
    )
    shared.until(first, "running")
    assert (shared.task(first).pid, shared.task(second).status) == (None, "pending")
    shared.check("progress", first, "half")
    assert shared.task(first).progress == "half"
    shared.check("complete", first, "--result", "whole")
    assert (shared.task(first).status, shared.task(first).result) == ("completed", "whole")
    shared.until(second, "running")
    shared.check("fail", second, "--error", "no")
    task = shared.task(second)
    assert (task.status, task.error, task.error_kind) == ("error", "no", "failed")
    assert sum(batch["count"] for batch in shared.batches("out", 2)) == 2


def test_external_task_can_time_out_and_be_cancelled(shared: Instance):
    task = shared.result(agent="external", concurrencyKey="external-late", timeoutMs=200)
    assert (task.status, task.error_kind) == ("error", "timeout")
    id = shared.launch(agent="external", concurrencyKey="external-late")
    shared.until(id, "running")
    shared.check("cancel", id)
    assert shared.task(id).status == "cancelled"


def test_external_task_stays_running_over_down_and_crash(live: Instance):
    id = live.launch(agent="external")
    live.until(id, "running")
    live.down(now=True)
    assert live.task(id).status == "running"
    live.up(**BRISK)
    live.kill("supervisor")
    live.check("complete", id, "--result", "all the same")
    live.up(**BRISK)
    task = live.task(id)
    assert (task.status, task.result, task.attempt) == ("completed", "all the same", 1)
    assert len(live.ends(id)) == 1


def test_complete_ends_the_process_tree_of_a_running_command(shared: Instance, tmp_path: Path):
    id = shared.launch(*tree(tmp_path / "pids"))
    pids = wait_for_numbers(tmp_path / "pids", 4)
    shared.check("complete", id, "--result", "enough")
    assert (shared.until(id).status, shared.task(id).result) == ("completed", "enough")
    assert are_gone(pids)
    with pytest.raises(MoveNotAllowed):
        shared.queue.fail(id, "too late")


# agents of the configuration

AGENTS = """
default_agent = "echo"
[agents.echo]
command = ["sh", "-c", "cat; echo; for word; do echo \\"$word\\"; done", "echo", "{model}", "{prompt}", "{task_id}"]
stdin = "{prompt}"
model = "small"
env = { FLAVOUR = "x" }
[agents.file]
command = ["cat", "{prompt_file}"]
result = "last-line"
[agents.judge]
command = ["cat"]
stdin = "{prompt}"
result = "json:answer.text"
failed_if = ["json:is_error", "stdout~PANIC"]
session = "json:session_id"
[agents.stream]
command = ["cat"]
stdin = "{prompt}"
result = "jsonl:result"
[agents.mute]
command = ["echo", "no json"]
result = "json:result"
[agents.stubborn]
command = ["sh", "-c", 'echo "$0" >&2; exec sleep 1000', "{prompt}"]
error = ["stderr~no .*"]
"""


@pytest.fixture(scope="module")
def agents(shared: Instance) -> Instance:
    """Return the shared instance after its supervisor has loaded these agents."""
    (shared.folder / "config.toml").write_text(AGENTS)
    shared.check("reload")
    eventually(lambda: "configuration applied from" in shared.home.log.read_text())
    return shared


def asked(instance: Instance, *words: str, stdin: str | None = None):
    return instance.until(instance.check("launch", *words, stdin=stdin).strip())


def test_agent_template_is_filled_in_without_a_shell(agents: Instance):
    prompt = "say $(id) {model} 'x' \"y\"\nand more"
    task = asked(agents, prompt)
    assert task.result == f"{prompt}\nsmall\n{prompt}\n{task.id}"
    assert (task.agent, task.model, task.concurrency_key) == ("echo", "small", "small")


def test_long_prompt_reaches_an_agent_by_file_or_stdin(agents: Instance):
    prompt = "x" * 900_000 + "\nlast"
    assert asked(agents, "--agent", "file", "-", stdin=prompt).result == "last"
    assert asked(agents, "--agent", "stream", "-", stdin='{"result": 1}\n' + " " * 900_000).result == "1"


def test_answer_and_session_of_an_agent_are_read_from_its_json(agents: Instance):
    task = asked(agents, "--agent", "judge", '{"answer": {"text": "42"}, "session_id": "s-1", "is_error": false}')
    assert (task.status, task.result, task.session_id) == ("completed", "42", "s-1")
    (end,) = agents.ends(task.id)
    assert (end["sessionId"], end["result"]) == ("s-1", "42")


@pytest.mark.parametrize("prompt", ['{"is_error": true, "session_id": "s-2"}', "PANIC"])
def test_failed_if_overrides_exit_code_0(agents: Instance, prompt: str):
    task = asked(agents, "--agent", "judge", prompt)
    assert (task.status, task.error_kind, task.exit_code) == ("error", "failed", 0)


@pytest.mark.parametrize(
    ("prompt", "why"), [("no key\nno answer\nagain", "; its last error: no answer"), ("again", ".")]
)
def test_error_of_an_agent_that_timed_out_quotes_its_last_error_line(agents: Instance, prompt: str, why: str):
    task = asked(agents, "--agent", "stubborn", "--timeout", "3s", prompt)
    assert (task.error_kind, task.error) == ("timeout", f"It ran longer than 3 s{why}")


def test_result_of_a_streaming_agent_is_its_last_answer(agents: Instance):
    assert asked(agents, "--agent", "stream", '{"result": "a"}\n{"other": 1}\n{"result": "b"}\n').result == "b"


def test_task_of_an_agent_that_was_removed_is_a_spawn_error(live: Instance):
    (live.folder / "config.toml").write_text('[agents.gone]\ncommand = ["true"]\n')
    live.check("pause", "gone")
    id = live.check("launch", "--agent", "gone", "hello").strip()
    (live.folder / "config.toml").write_text("")
    live.check("reload")
    live.check("resume", "gone")
    task = live.until(id)
    assert (task.status, task.error_kind) == ("error", "spawn")
    assert "gone" in (task.error or "")


def test_down_ends_flusher_and_fork_server_of_a_killed_supervisor(live: Instance):
    left = [live.pid_of("flusher"), live.pid_of("forkServer")]
    live.kill("supervisor")
    with pytest.raises(NoSupervisor):
        live.down()
    eventually(lambda: are_gone(left), TIMEOUT, "flusher and fork server to be gone")


def test_stopped_fork_server_is_continued_when_it_is_needed(shared: Instance):
    os.kill(shared.pid_of("forkServer"), signal.SIGSTOP)
    assert shared.result("echo", "continued").result == "continued"


def test_down_returns_although_the_fork_server_is_stopped(live: Instance):
    live.launch_sleeper()
    os.kill(live.pid_of("forkServer"), signal.SIGSTOP)
    live.down(now=True)
    eventually(lambda: live.status()["forkServer"] is None, TIMEOUT, "the fork server to exit")


def test_lone_surrogate_of_a_callable_is_stored_as_json(shared: Instance, tmp_path: Path):
    (tmp_path / "odd.py").write_text(
        "def half():\n    return '\\ud800'\n\ndef fail():\n    raise ValueError('\\udc80')\n"
    )
    half = shared.result(call="odd:half", cwd=str(tmp_path))
    assert (half.status, json.loads(half.result or "")) == ("completed", "\ud800")
    failed = shared.result(call="odd:fail", cwd=str(tmp_path))
    assert (failed.status, failed.error_kind, failed.error) == ("error", "failed", "ValueError: ?")


def test_agent_without_an_answer_fails(agents: Instance):
    task = asked(agents, "--agent", "mute", "hello")
    assert (task.status, task.error_kind) == ("error", "failed")
    assert task.error == "It ended well, but without an answer: no json"


def test_folder_over_the_socket_is_relative_to_the_home_and_must_exist(shared: Instance):
    (shared.folder.parent / "sub").mkdir()
    with shared.client() as client:
        assert client.call("launch", command=["true"], cwd="sub")["cwd"] == str(shared.folder.parent / "sub")
        with pytest.raises(InvalidInput) as refusal:
            client.call("launch", command=["true"], cwd="/nowhere/at/all")
        assert refusal.value.field == "cwd"


def test_launch_refuses_the_wildcard_as_parent(shared: Instance):
    assert shared.run_here("launch", "--parent", "*", "--", "true").returncode == 2


def test_status_shows_keys_that_became_one_pool_as_one(instance: Instance):
    instance.up(**BRISK)
    for name in ("ant/1", "ant/2"):
        instance.result("true", concurrencyKey=name)
    instance.down()
    instance.up(**BRISK, model_concurrency={"ant/*": 1})
    assert [one["key"] for one in instance.status()["keys"] if one["key"].startswith("ant")] == ["ant/*"]
