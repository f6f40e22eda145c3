"""`BackgroundManager` with and without a supervisor, and the package itself."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest

import backburner as package
from backburner import (
    BackburnerError,
    BackgroundConfig,
    BackgroundManager,
    BadConfiguration,
    InvalidInput,
    LaunchInput,
    NotFound,
    Permanent,
    Task,
    TaskStatus,
    UnknownAgent,
    get_background_manager,
    reset_background_manager,
)
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from tests.helpers.commands import backburner
from tests.helpers.places import IMPORT_ROOT, IPC
from tests.helpers.queue_db import QueueDatabase
from tests.helpers.wait import eventually

TIMEOUT = 30.0
UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"
FOREVER = ["sleep", "1000"]


@pytest.fixture
def manager(home: Path) -> Iterator[BackgroundManager]:
    """Return a manager of a state directory without a supervisor."""
    with BackgroundManager() as found:
        yield found


@pytest.fixture
def served(supervised: Path) -> Iterator[BackgroundManager]:
    """Return a manager of a state directory with a supervisor."""
    with BackgroundManager() as found:
        yield found


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program that can import the package."""
    environment = {**os.environ, "PYTHONPATH": str(IMPORT_ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, env=environment)


def test_launched_task_is_pending_and_outlives_its_manager(home):
    with BackgroundManager() as manager:
        task = manager.launch(
            prompt="Refactor the parser",
            agent="external",
            model="opus",
            parent_session_id="ses-1",
            parent_message_id="msg-1",
            description="parser",
        )
        assert (task.status, task.concurrency_key, task.waiting_for) == (TaskStatus.PENDING, "opus", "supervisor")
        assert manager.home == home
    with BackgroundManager(home) as again:
        found = again.get_task(task.id)
    assert (found.prompt, found.parent_message_id, found.description) == ("Refactor the parser", "msg-1", "parser")


def test_launch_returns_the_same_task_as_get_task(manager, home):
    with QueueDatabase(home) as queue_db:
        queue_db.groups.pause("stopped")
        ended = queue_db.run(TaskStatus.ERROR)
    first = manager.launch(command=["true"])
    texts = {
        "description": "ünïcödé",
        "metadata": {"deep": [1.5, None]},
        "parent_session_id": "ses-1",
        "unique_key": "one",
    }
    call = {
        "call": "m:f",
        "args": (1, ("a",)),
        "kwargs": {"b": {"c": 2}},
        "priority": 3,
        "retries": 2,
        "timeout_ms": 1500,
    }
    launched = manager.launch_many(
        [
            {**call, **texts, "parent_message_id": "m"},
            {"command": ["true"], "unique_key": "one"},
            {"agent": "external", "prompt": "by hand", "model": "big", "delay_ms": 60_000},
            {"command": ["true"], "after": [first.id], "delay_ms": 60_000},
            {"command": ["true"], "after": [ended]},
            {"command": ["true"], "concurrency_key": "stopped"},
        ]
    )
    assert launched == [manager.get_task(task.id) for task in launched]
    assert launched[1] == launched[0]
    waiting = ["supervisor", "supervisor", "delay", "dependency", None, "paused"]
    assert [task.waiting_for for task in launched] == waiting


def test_launch_stores_the_folder_and_the_usual_variables(manager, home, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("SECRET", "hidden")
    monkeypatch.setenv("CLAUDECODE", "1")
    manager.launch(command=["true"], env={"EXTRA": "1", "TAKEN": None})
    with QueueDatabase(home) as queue_db:
        claimed = queue_db.claim()
    assert claimed.cwd == str(tmp_path)
    assert claimed.launcher_env["PATH"] == "/usr/bin:/bin"
    assert claimed.env == {"EXTRA": "1", "TAKEN": None}
    assert not {"SECRET", "CLAUDECODE", "BACKBURNER_HOME"} & claimed.launcher_env.keys()


class Tool:
    @staticmethod
    def use() -> None: ...

    def run(self) -> None: ...


@pytest.mark.parametrize(("function", "name"), [(json.loads, "json:loads"), (Tool.use, f"{__name__}:Tool.use")])
def test_function_of_a_module_is_launched_by_its_name(manager, function, name):
    task = manager.launch(call=function, args=["1"])
    assert (task.call, task.agent, task.interpreter) == (name, "python", sys.executable)
    assert manager.launch(command=["true"]).interpreter is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: 1, r"call: .*<lambda> is defined inside a function; give a function at the top of a module"),
        (functools.partial(json.loads, "1"), "call: partial has no name; give a function of a module"),
        (Tool().run, "call: .* has another .*; give a function that it has by its own name"),
    ],
)
def test_function_that_a_task_cannot_import_is_refused(manager, function, message):
    with pytest.raises(InvalidInput, match=message) as refused:
        manager.launch(call=function)
    assert refused.value.field == "call"


def test_function_of_the_running_program_is_refused(manager, monkeypatch):
    monkeypatch.setattr(Tool.use, "__module__", "__main__")
    with pytest.raises(InvalidInput, match=r"tasks\[1\].call: Tool.use is defined in the program that is running"):
        manager.launch_many([{"call": json.loads}, {"call": Tool.use}])


def test_launch_stores_the_variables_of_pass_env(home, monkeypatch):
    monkeypatch.setenv("API_KEY", "k")
    with BackgroundManager(config={"pass_env": ["API_*"]}) as manager:
        manager.launch(command=["true"])
    with QueueDatabase(home) as queue_db:
        assert queue_db.claim().launcher_env["API_KEY"] == "k"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": 1}, "prompt"),
        ({"command": "true"}, "command"),
        ({"command": ["true"], "delay": -1}, "delay"),
        ({"command": ["true"], "timeout": "5s"}, "timeout"),
        ({"command": ["true"], "timeout": True}, "timeout"),
        ({"command": ["true"], "timeout": float("nan")}, "timeout"),
        ({"command": ["true"], "timeout": 1, "timeout_ms": 1000}, "timeout"),
        ({"command": ["true"], "delay": timedelta(seconds=-1)}, "delay"),
        ({"command": ["true"], "delay_ms": -1}, "delay_ms"),
        ({"command": ["true"], "timeout_ms": "1 min"}, "timeout_ms"),
        ({"command": ["true"], "priority": True}, "priority"),
        ({"command": ["tr\0ue"]}, "command[0]"),
        ({"command": ["true"], "metadata": {"a": object()}}, "metadata"),
        ({"command": ["true"], "sesion_id": "x"}, "sesion_id"),
        ({"command": ["true"], "id": "mine"}, "id"),
        ({}, "prompt"),
    ],
)
def test_launch_names_the_invalid_field(manager, fields, field):
    with pytest.raises(InvalidInput) as refusal:
        manager.launch(**fields)
    assert (refusal.value.field or "").startswith(field)
    assert manager.get_all_tasks() == []


def test_launch_takes_durations_in_seconds_and_timedeltas(manager):
    task = manager.launch(command=["true"], timeout=1.5, delay=timedelta(hours=1))
    assert task.timeout_ms == 1500
    assert (task.not_before - task.queued_at) == timedelta(hours=1)
    assert manager.launch(command=["true"], timeout=0.0001).timeout_ms == 1
    assert manager.launch(command=["true"], timeout=None, delay=None, timeout_ms=7).timeout_ms == 7
    with pytest.raises(InvalidInput, match=r"tasks\[1\].delay: give delay or delay_ms, not both"):
        manager.launch_many([{"command": ["true"]}, {"command": ["true"], "delay": 1, "delay_ms": 1000}])


def test_command_that_is_a_text_is_refused_with_the_ways_to_write_it(manager):
    with pytest.raises(InvalidInput, match=r'\["make", "test"\], or \["sh", "-c", LINE\]'):
        manager.launch(command="echo hi")


def test_unknown_agent_is_refused_with_the_known_ones(manager):
    with pytest.raises(UnknownAgent, match="external"):
        manager.launch(prompt="p", agent="nobody")


def test_launch_many_queues_all_tasks_or_none(manager):
    with pytest.raises(InvalidInput) as refusal:
        manager.launch_many([{"command": ["true"]}, {"command": []}])
    assert refusal.value.field == "tasks[1].command"
    assert manager.get_all_tasks() == []
    tasks = manager.launch_many([{"command": ["true"]}, LaunchInput(call="m:f", args=(1,))])
    assert [task.agent for task in tasks] == ["command", "python"]


def test_launch_many_of_no_launches_returns_no_tasks(manager):
    assert manager.launch_many([]) == []


def test_launch_input_without_a_command_is_refused(manager):
    with pytest.raises(InvalidInput, match="needs a prompt, a command or a call"):
        manager.launch_many([LaunchInput(command=())])
    assert manager.get_all_tasks() == []


def test_launch_input_is_normalized(manager):
    unset = dict.fromkeys(("priority", "retries", "delay_ms", "after", "tags"))
    metadata = MappingProxyType({"a": MappingProxyType({"b": 1})})
    (task,) = manager.launch_many([LaunchInput(command=["true"], metadata=metadata, **unset)])
    assert task == manager.get_task(task.id)
    assert (task.command, task.priority, task.max_attempts, task.tags) == (("true",), 0, 1, ())
    assert task.metadata == {"a": {"b": 1}}


def test_tasks_are_found_by_id_status_and_session(manager):
    one = manager.launch(prompt="a", agent="external", parent_session_id="ses-1")
    two = manager.launch(call="m:f", args=[1], parent_session_id="ses-1")
    three = manager.launch(prompt="c", agent="external", parent_session_id="ses-2")
    manager.cancel_task(three.id)

    def ids(tasks: list[Task]) -> list[str]:
        return [task.id for task in tasks]

    assert manager.get_task(UNKNOWN) is None
    assert manager.get_task(one.id) == one
    assert ids(manager.get_all_tasks()) == [one.id, two.id, three.id]
    assert ids(manager.get_tasks_by_status("pending")) == [one.id, two.id]
    assert ids(manager.get_tasks_by_status(TaskStatus.CANCELLED)) == [three.id]
    assert [(task.prompt, task.args) for task in manager.get_tasks_for_parent("ses-1")] == [("a", None), (None, (1,))]
    with pytest.raises(ValueError, match="asleep"):
        manager.get_tasks_by_status("asleep")


def test_verdict_on_a_task_that_is_not_running_returns_false(manager):
    task = manager.launch(command=["true"])
    assert not manager.complete_task(task.id)
    assert not manager.fail_task(task.id, "no")
    assert manager.get_task(task.id).status is TaskStatus.PENDING
    assert manager.cancel_task(task.id)
    assert not manager.cancel_task(task.id)
    assert not any((manager.complete_task(UNKNOWN), manager.fail_task(UNKNOWN, ""), manager.cancel_task(UNKNOWN)))
    assert manager.retry_task(task.id)
    assert not manager.retry_task(task.id)


def test_verdict_refuses_a_result_that_is_not_text(manager):
    for verdict in (lambda: manager.complete_task(UNKNOWN, 7), lambda: manager.fail_task(UNKNOWN, None)):
        with pytest.raises(InvalidInput):
            verdict()


def test_callbacks_get_every_end_in_order_on_one_thread(manager):
    before = manager.launch(command=["true"])
    manager.cancel_task(before.id)
    seen: list[tuple[str, str]] = []
    threads = set()

    def listen(task: Task) -> None:
        seen.append((task.id, task.status))
        threads.add(threading.current_thread())

    manager.on_complete(listen)
    tasks = [manager.launch(command=["true"]) for _ in range(20)]
    for task in tasks:
        manager.cancel_task(task.id)
    manager.wait(*(task.id for task in tasks), timeout=TIMEOUT)
    assert seen == [(task.id, "cancelled") for task in tasks]
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_exception_in_a_callback_is_logged_and_changes_nothing(manager, caplog):
    seen = []
    manager.on_complete(lambda _task: [][1])
    manager.on_complete(lambda _task: sys.exit("no"))
    manager.on_complete(lambda task: seen.append(task.id))
    for _ in range(2):
        task = manager.launch(command=["true"])
        manager.cancel_task(task.id)
        assert manager.wait(task.id, timeout=TIMEOUT)[0].status is TaskStatus.CANCELLED
        assert seen[-1] == task.id
    assert "IndexError" in caplog.text


def test_removed_callback_is_not_called(manager):
    seen = []
    remove = manager.on_complete(lambda task: seen.append(task.id))
    _end(manager)
    remove()
    remove()
    _end(manager)
    assert len(seen) == 1


def _end(manager: BackgroundManager) -> Task:
    task = manager.launch(command=["true"])
    manager.cancel_task(task.id)
    return manager.wait(task.id, timeout=TIMEOUT)[0]


def test_callback_gets_the_ended_task_although_it_was_retried_since(manager):
    seen = []
    gate = threading.Event()
    manager.on_complete(lambda _task: gate.wait(TIMEOUT))
    manager.on_complete(seen.append)
    task = manager.launch(command=["true"])
    manager.cancel_task(task.id)
    manager.retry_task(task.id)
    gate.set()
    eventually(lambda: seen)
    assert seen[0].status is TaskStatus.CANCELLED
    assert seen[0].completed_at is not None


def test_wait_returns_after_the_callbacks(manager):
    returned = threading.Event()

    def slow(_task: Task) -> None:
        released.wait(TIMEOUT)
        returned.set()

    released = threading.Event()
    manager.on_complete(slow)
    task = manager.launch(command=["true"])
    manager.cancel_task(task.id)
    with pytest.raises(TimeoutError):
        manager.wait(task.id, timeout=0.05)
    released.set()
    manager.wait(task.id, timeout=TIMEOUT)
    assert returned.is_set()


def test_wait_for_all_any_a_session_and_every_task(manager):
    one, two, three = (manager.launch(command=["true"], parent_session_id="ses-1") for _ in range(3))
    other = manager.launch(command=["true"])
    manager.cancel_task(two.id)

    def ids(tasks: list[Task]) -> list[str]:
        return [task.id for task in tasks]

    assert ids(manager.wait(one.id, two.id, any=True, timeout=TIMEOUT)) == [two.id]
    for waiting in ({"parent": "ses-1"}, {"parent": "ses-1", "any": True}, {}):
        with pytest.raises(TimeoutError):
            manager.wait(**waiting, timeout=0.02)
    for task in (one, three):
        manager.cancel_task(task.id)
    assert ids(manager.wait(parent="ses-1", timeout=TIMEOUT)) == [one.id, two.id, three.id]
    manager.cancel_task(other.id)
    assert manager.wait(timeout=TIMEOUT) == []
    with pytest.raises(NotFound):
        manager.wait(UNKNOWN)


def test_wait_returns_when_another_process_cancels_the_task(manager, home):
    task = manager.launch(command=["true"])
    result = []
    waiter = threading.Thread(target=lambda: result.extend(manager.wait(task.id, timeout=TIMEOUT)))
    waiter.start()
    assert backburner(home, "cancel", task.id).returncode == 0
    waiter.join(TIMEOUT)
    assert [task.status for task in result] == ["cancelled"]


def test_callback_may_launch_and_wait(manager):
    seen = []

    def launch_and_wait(task: Task) -> None:
        if not seen:
            following = manager.launch(command=["true"])
            seen.append(following.id)
            manager.cancel_task(following.id)
            seen.extend(manager.wait(following.id, timeout=TIMEOUT))

    manager.on_complete(launch_and_wait)
    _end(manager)
    assert seen[1].id == seen[0]


def test_events_are_read_without_a_bus(manager):
    events = manager.events(parent="ses-1", types=["background_task_completed"])
    task = manager.launch(command=["true"], parent_session_id="ses-1")
    manager.cancel_task(task.id)
    event = next(events)
    assert (event.type, event.parent_session_id) == ("background_task_completed", "ses-1")
    assert event.data["taskId"] == task.id


def test_events_after_a_number_of_another_log_begin_at_the_first(manager):
    manager.cancel_task(manager.launch(command=["true"], parent_session_id="ses-1").id)
    events = manager.events(parent="ses-1", after=1000)
    assert [next(events).type for _ in range(2)] == ["log_truncated", "background_task_completed"]


def test_event_is_acknowledged_when_the_next_one_is_requested(manager):
    for _ in range(2):
        manager.cancel_task(manager.launch(command=["true"], parent_session_id="ses-1").id)
    events = manager.events(parent="ses-1", ack=True)
    first = next(events)
    assert next(manager.events(parent="ses-1")).seq == first.seq
    second = next(events)
    assert next(manager.events(parent="ses-1")).seq == second.seq
    assert next(manager.events(parent="ses-1", consumer="model")).seq == first.seq


def test_events_refuses_unknown_types_and_ack_for_all_sessions(manager):
    with pytest.raises(InvalidInput):
        manager.events(types=["surprise"])
    with pytest.raises(InvalidInput):
        manager.events(ack=True)


def test_event_bus_dispatches_events(manager):
    seen = []
    manager.get_event_bus().subscribe("background_task_completed", seen.append)
    task = _end(manager)
    assert [payload["taskId"] for payload in seen] == [task.id]
    assert manager.get_event_bus() is manager.get_event_bus()


def test_clear_cancels_tasks_and_runs_callbacks_before_it_deletes(manager):
    seen = []
    manager.on_complete(lambda task: seen.append((task.id, task.status, task.agent)))
    task = manager.launch(command=["true"], parent_session_id="ses-1")
    manager.clear()
    assert seen == [(task.id, "cancelled", "command")]
    assert manager.get_all_tasks() == []
    again = _end(manager)
    assert seen[-1][0] == again.id


def test_closed_manager_may_be_closed_again_but_not_used(home):
    manager = BackgroundManager()
    manager.on_complete(print)
    waiting = threading.Thread(target=_refused_waiting, args=(manager, refused := []))
    manager.launch(command=["true"])
    waiting.start()
    eventually(lambda: threading.active_count() > 2)
    manager.close()
    manager.close()
    waiting.join(TIMEOUT)
    assert "closed" in str(refused[0])
    with pytest.raises(BackburnerError, match="closed"):
        manager.get_all_tasks()
    assert "backburner-events" not in [thread.name for thread in threading.enumerate()]


def _refused_waiting(manager: BackgroundManager, refused: list[Exception]) -> None:
    try:
        manager.wait(timeout=TIMEOUT)
    except BackburnerError as error:
        refused.append(error)


def test_close_ends_the_events(home):
    with BackgroundManager() as manager:
        events = manager.events()
        reader = threading.Thread(target=lambda: list(events))
        reader.start()
    reader.join(TIMEOUT)
    assert not reader.is_alive()


def test_interpreter_exits_although_a_manager_was_not_closed(home):
    code = (
        "from backburner import BackgroundManager\n"
        "m = BackgroundManager(); m.on_complete(print); e = m.events(); print('bye')"
    )
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "bye\n", "")


def test_thread_of_a_garbage_collected_manager_ends(home):
    BackgroundManager().get_event_bus()
    eventually(lambda: "backburner-events" not in [thread.name for thread in threading.enumerate()])


def test_forked_child_opens_the_state_directory_again(home):
    code = """
import os, warnings
warnings.simplefilter("ignore")
from backburner import BackgroundManager
manager = BackgroundManager()
manager.on_complete(lambda task: print("parent got", task.id, flush=True))
first = manager.launch(command=["true"])
pid = os.fork()
task = manager.launch(command=["true"])
manager.cancel_task(task.id)
assert manager.wait(task.id, timeout=20)
if pid == 0:
    manager.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert len(manager.get_all_tasks()) == 3
assert manager.cancel_task(first.id) and manager.wait(first.id, timeout=20)
manager.close()
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("parent got") == 3


def test_get_background_manager_returns_one_manager_per_process(home):
    try:
        manager = get_background_manager(home, {"max_workers": 3})
        assert get_background_manager() is manager
        assert get_background_manager(home, {"max_workers": 3}) is manager
        for other in ((home / "other", None), (None, {"max_workers": 4})):
            with pytest.raises(ValueError, match=re.escape(str(home))):
                get_background_manager(*other)
        manager.launch(command=["true"])
    finally:
        reset_background_manager()
    try:
        assert get_background_manager() is not manager
        assert get_background_manager().get_all_tasks() == []
    finally:
        reset_background_manager()
    reset_background_manager()


def test_settings_override_files_and_invalid_ones_are_named(home):
    (home / "config.toml").write_text("max_workers = 5\n")
    with BackgroundManager() as manager:
        assert manager.config.max_workers == 5
    with BackgroundManager(config={"max_workers": 2}) as manager:
        assert manager.config.max_workers == 2
    with BackgroundManager(config=BackgroundConfig(default_concurrency=9)) as manager:
        assert manager.config.default_concurrency == 9
    with pytest.raises(BadConfiguration, match="max_workers"):
        BackgroundManager(config={"max_workers": 0})


def test_task_runs_and_its_callbacks_are_called(served):
    calls = []
    served.on_start(lambda task: calls.append(("start", task.id, task.status)))
    served.on_complete(lambda task: calls.append(("end", task.id, task.status)))
    task = served.launch(command=["sh", "-c", "echo out; echo err >&2"], parent_session_id="ses-1")
    ended = served.wait(task.id, timeout=TIMEOUT)[0]
    assert (ended.status, ended.result, ended.exit_code) == ("completed", "out", 0)
    assert calls == [("start", task.id, "running"), ("end", task.id, "completed")]
    assert (served.output(task.id), served.output(task.id, "stderr")) == ("out\n", "err\n")


def test_task_beyond_the_limit_waits_for_a_slot(served):
    tasks = [served.launch(command=FOREVER, model="opus") for _ in range(3)]
    eventually(lambda: len(served.get_tasks_by_status("running")) == 2, TIMEOUT)
    waiting = served.get_tasks_by_status("pending")
    assert [(task.id, task.waiting_for) for task in waiting] == [(tasks[2].id, "slot")]
    assert served.cancel_task(tasks[0].id)
    eventually(lambda: served.get_task(tasks[2].id).status is TaskStatus.RUNNING, TIMEOUT)


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (lambda manager, id: manager.complete_task(id, "done"), "completed"),
        (lambda manager, id: manager.fail_task(id, "no"), "error"),
        (lambda manager, id: manager.cancel_task(id), "cancelled"),
    ],
)
def test_verdict_frees_the_slot_before_callbacks_are_called(served, verdict, status):
    free = []
    task = served.launch(prompt="by hand", agent="external", model="opus", parent_session_id="ses-1")
    served.on_complete(lambda task: free.append((task.status, len(served.get_tasks_by_status("running")))))
    eventually(lambda: served.get_task(task.id).status is TaskStatus.RUNNING, TIMEOUT)
    assert verdict(served, task.id)
    assert not verdict(served, task.id)
    served.wait(task.id, timeout=TIMEOUT)
    assert free == [(status, 0)]


def test_cancel_returns_when_the_process_tree_has_ended(served):
    task = served.launch(command=["sh", "-c", "sleep 1000 & sleep 1000"])
    tree = eventually(lambda: _tree(served, task.id), TIMEOUT)
    assert served.cancel_task(task.id)
    assert served.get_task(task.id).status is TaskStatus.CANCELLED
    assert [process for process in tree if _is_alive(process)] == []


def _tree(manager: BackgroundManager, id: str) -> list[psutil.Process]:
    """Return the processes of a shell and two sleepers, or nothing until all are running."""
    pid = manager.get_task(id).pid
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)] if pid else []
    return tree if len(tree) == 3 else []


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_cancel_ends_the_tree_of_a_killed_supervisor_and_worker(served, supervised):
    task = served.launch(command=["sh", "-c", "sleep 1000 & sleep 1000"])
    tree = eventually(lambda: _tree(served, task.id), TIMEOUT)
    status = json.loads(backburner(supervised, "status", "--json").stdout)
    for pid in (status["supervisor"]["pid"], status["forkServer"]["pid"], *(one["pid"] for one in status["workers"])):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: holder(Home(supervised).lock("supervisor")) is None, TIMEOUT)
    assert served.cancel_task(task.id)
    assert served.get_task(task.id).status is TaskStatus.CANCELLED
    eventually(lambda: not any(map(_is_alive, tree)), TIMEOUT)
    served.start()


def test_callbacks_continue_after_a_restart_of_the_supervisor(served):
    seen = []
    served.on_complete(lambda task: seen.append(task.id))
    first = served.launch(command=["true"])
    served.wait(first.id, timeout=TIMEOUT)
    served.stop()
    second = served.launch(command=["true"])
    cancelled = served.launch(command=["true"])
    served.cancel_task(cancelled.id)
    served.wait(cancelled.id, timeout=TIMEOUT)
    served.start()
    served.wait(second.id, timeout=TIMEOUT)
    assert seen == [first.id, cancelled.id, second.id]


def test_batches_are_sent_to_subscribers(served):
    events = served.events(parent="ses-1", types=["background_tasks_batch"])
    tasks = served.launch_many([{"command": ["true"], "parent_session_id": "ses-1"}] * 5)
    batch = next(events).data
    assert (batch["count"], batch["allComplete"]) == (5, True)
    assert {task["id"] for task in batch["tasks"]} == {task.id for task in tasks}
    assert batch["message"] == "5 background tasks completed successfully."


def test_clear_sends_the_last_events_before_it_deletes(served):
    events = served.events(parent="ses-1")
    served.launch(command=FOREVER, parent_session_id="ses-1")
    assert next(events).type == "background_task_started"
    served.clear()
    assert next(events).data["status"] == "cancelled"
    assert next(events).data["cancelledCount"] == 1
    assert served.get_all_tasks() == []
    task = served.launch(command=["true"])
    assert served.wait(task.id, timeout=TIMEOUT)[0].status is TaskStatus.COMPLETED


def test_manager_starts_a_supervisor_that_outlives_it(home, no_strays, tmp_path):
    with (tmp_path / "mine").open("w") as mine:
        os.set_inheritable(mine.fileno(), True)
        with BackgroundManager(config={"max_workers": 7, "worker_idle_s": 0}, start=True) as manager:
            task = manager.launch(command=["true"])
            assert manager.wait(task.id, timeout=TIMEOUT)[0].status is TaskStatus.COMPLETED
            manager.start()
        pid = holder(Home(home).lock("supervisor"))
        assert os.getsid(pid) != os.getsid(0)
        assert psutil.Process(pid).ppid() != os.getpid()
        if sys.platform == "linux":
            assert str(tmp_path / "mine") not in [file.path for file in psutil.Process(pid).open_files()]
    status = json.loads(backburner(home, "status", "--json").stdout)
    assert status["supervisor"]["pid"] == pid
    with BackgroundManager() as again:
        again.stop()
        assert holder(Home(home).lock("supervisor")) is None
        assert holder(Home(home).lock("flusher")) is None
        with pytest.raises(BackburnerError, match="No supervisor"):
            again.stop()


def test_start_raises_the_error_of_the_supervisor(home, no_strays):
    with BackgroundManager() as manager:
        (home / "config.toml").write_text("max_workers = 0\n")
        with pytest.raises(Permanent, match="max_workers"):
            manager.start()
        assert holder(Home(home).lock("supervisor")) is None


def test_first_launch_starts_a_supervisor_with_autostart(home, no_strays):
    with BackgroundManager(config={"autostart": True}) as manager:
        task = manager.launch(command=["true"])
        assert (task.status, task.waiting_for) == (TaskStatus.PENDING, None)
        assert manager.wait(task.id, timeout=TIMEOUT)[0].status is TaskStatus.COMPLETED
        manager.stop(now=True)


def test_launch_in_python_ignores_autostart_of_files_and_defaults(home, no_strays):
    (home / "config.toml").write_text("autostart = true\n")
    for config in (None, {"max_workers": 4}, BackgroundConfig()):
        with BackgroundManager(config=config) as manager:
            assert manager.launch(command=["true"]).waiting_for == "supervisor"
    assert holder(Home(home).lock("supervisor")) is None


def test_package_has_every_name_of_all():
    assert all(hasattr(package, name) for name in package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    assert package.BackgroundTask is Task
    assert package.BackgroundTaskStatus is TaskStatus
    with pytest.raises(AttributeError, match="surprise"):
        _ = package.surprise


def test_type_checkers_see_the_names_of_all():
    tree = ast.parse((IPC.parent / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    names = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert names == set(package.__all__)


def test_import_of_the_package_loads_no_heavy_modules():
    done = python(
        "import sys, backburner; print([m for m in sys.modules if m in ('sqlite3', 'asyncio', 'socket', 'json')])"
    )
    assert done.stdout == "[]\n"


def test_package_exports_its_names_and_runs_as_a_command():
    assert python("from backburner import *; print(BackgroundManager.__name__)").stdout == "BackgroundManager\n"
    command = [sys.executable, "-m", "backburner", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=40, check=False, cwd=IMPORT_ROOT)
    assert done.stdout.startswith("backburner ")
