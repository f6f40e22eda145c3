"""The public names as their users write them; mypy reads this file; it is never run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

from backburner import (
    DEFAULT_BACKGROUND_CONFIG,
    AsyncBackgroundManager,
    BackburnerError,
    BackgroundConfig,
    BackgroundManager,
    BackgroundState,
    BackgroundTask,
    BackgroundTaskStatus,
    Client,
    Event,
    EventBus,
    InvalidInput,
    LaunchInput,
    NotificationConfig,
    NotificationManager,
    Task,
    TaskStatus,
    clear_background_state,
    create_empty_state,
    create_notification_manager,
    format_batch_notification,
    get_background_manager,
    load_background_state,
    reset_background_manager,
    save_background_state,
)
from backburner.ipc.home import Home
from backburner.supervisor.concurrency import ConcurrencyManager
from backburner.supervisor.stability import StabilityDetector


def launching(manager: BackgroundManager) -> None:
    task = manager.launch(prompt="Refactor", agent="claude", model="opus", parent_session_id="ses-1")
    assert_type(task, Task)
    assert_type(task.id, str)
    assert_type(task.status, TaskStatus)
    assert_type(task.completed_at, datetime | None)
    assert_type(task.metadata, Mapping[str, Any])
    manager.launch(command=["make", "test"], after=[task.id], delay_ms=500, env={"A": "b", "C": None}, retries=2)
    manager.launch(call=calling)
    manager.launch(call="pkg.mod:func", args=[1, "a"], kwargs={"b": True}, leave_children=False)
    many = manager.launch_many([{"command": ["true"]}, LaunchInput(prompt="p", priority=3)])
    assert_type(many, list[Task])
    manager.launch(priority="high")  # type: ignore[arg-type]
    manager.launch(surprise=1)  # type: ignore[call-arg]


def operating(manager: BackgroundManager) -> None:
    task = manager.launch(command=["make"], delay=timedelta(minutes=1), timeout=90)
    assert_type(manager.get(task), Task)
    assert_type(manager.list("pending", tags=["a"], limit=3), list[Task])
    assert_type(manager.wait(task.id, [task], timeout=timedelta(seconds=5)), list[Task])
    assert_type(manager.edit("1a2b", priority=3, timeout=5.5), Task)
    assert_type(manager.cancel(task), Task)
    assert_type(manager.limit("opus", "default"), dict[str, Any])
    manager.remove(task, [task.id])
    manager.limit("opus", "many")  # type: ignore[arg-type]
    manager.edit(task, prompt="other")  # type: ignore[call-arg]


def looking(manager: BackgroundManager) -> None:
    assert_type(manager.get_task("bg-1"), Task | None)
    assert_type(manager.get_all_tasks(), list[Task])
    assert_type(manager.get_tasks_by_status("pending"), list[Task])
    assert_type(manager.get_tasks_by_status(BackgroundTaskStatus.ERROR), list[Task])
    assert_type(manager.get_tasks_for_parent("ses-1"), list[Task])
    assert_type(manager.output("bg-1", "stderr"), str)
    assert_type(manager.home, Path)
    assert_type(manager.config, BackgroundConfig)
    assert_type(manager.wait("bg-1", parent="ses-1", any=True, timeout=1.5), list[Task])


def deciding(manager: BackgroundManager) -> None:
    assert_type(manager.complete_task("bg-1", "result"), bool)
    assert_type(manager.fail_task("bg-1", "error"), bool)
    assert_type(manager.cancel_task("bg-1"), bool)
    assert_type(manager.retry_task("bg-1"), bool)
    assert_type(manager.adopt("ses-1", "ses-2").notices, int)


def hearing(manager: BackgroundManager) -> None:
    remove = manager.on_complete(lambda task: logging.info(task.id))
    assert_type(remove, Callable[[], None])
    manager.on_start(lambda task: None)()
    assert_type(manager.get_event_bus(), EventBus)
    for event in manager.events(parent="ses-1", after=3, types=["background_tasks_batch"], ack=True):
        assert_type(event, Event)
        assert_type(event.at, datetime)


def living() -> None:
    with BackgroundManager(Path("home"), {"max_workers": 3}, start=True) as manager:
        manager.start()
        manager.stop(now=True)
        manager.clear()
    manager.close()
    assert_type(get_background_manager("home", DEFAULT_BACKGROUND_CONFIG), BackgroundManager)
    reset_background_manager()


async def in_asyncio() -> None:
    async with AsyncBackgroundManager(start=True) as manager:
        task = await manager.launch(command=["true"])
        assert_type(task, Task)
        assert_type(await manager.wait(task.id, timeout=3), list[Task])
        assert_type(await manager.get_task(task.id), Task | None)

        async def notified(task: BackgroundTask) -> None:
            logging.info(task.id)

        manager.on_complete(notified)
        manager.on_complete(lambda task: None)
        async for event in manager.events(parent="ses-1"):
            assert_type(event, Event)


def state() -> None:
    found = load_background_state("home")
    assert_type(found, BackgroundState | None)
    if found is not None:
        assert_type(found.tasks["bg-1"], Task)
        assert_type(found.active_count["opus"], int)
        assert_type(save_background_state(found), bool)
    assert_type(clear_background_state(), bool)
    assert_type(create_empty_state(), BackgroundState)


def alone(task: Task) -> None:
    notices = NotificationManager(NotificationConfig(batch_window_ms=500), EventBus())
    notices.get_event_bus().subscribe("background_tasks_batch", lambda payload: logging.info(payload["count"]))
    notices.notify(task)
    notices.flush_parent("ses-1")
    assert_type(notices.due(), float | None)
    assert_type(create_notification_manager(), NotificationManager)
    assert_type(format_batch_notification(5, 4, 1), str)
    slots = ConcurrencyManager({"model_concurrency": {"opus": 2}})
    assert_type(slots.acquire("opus"), int | None)
    assert_type(StabilityDetector.of(BackgroundConfig()), StabilityDetector)


def failing(manager: BackgroundManager) -> None:
    try:
        manager.launch()
    except InvalidInput as error:
        assert_type(error.field, str | None)
    except BackburnerError as error:
        assert_type(error.exit_code, int)


def calling() -> None:
    with Client(Home.find()) as client:
        client.call("subscribe", parentSessionId="ses-1")
