"""`AsyncBackgroundManager` with and without a supervisor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest

from backburner import AsyncBackgroundManager, BackgroundManager, InvalidInput, Task, TaskStatus
from backburner.ipc.api import async_manager as module
from backburner.ipc.home import Home
from backburner.ipc.machine.lock import holder
from tests.helpers.wait import eventually

TIMEOUT = 30.0
UNKNOWN = "bg-00000000-0000-4000-8000-000000000000"

Story = Callable[[AsyncBackgroundManager], Awaitable[None]]


def run_story(story: Story, **arguments) -> None:
    async def whole() -> None:
        async with asyncio.timeout(TIMEOUT), AsyncBackgroundManager(**arguments) as manager:
            await story(manager)

    asyncio.run(whole())


def manager_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("backburner")}


@pytest.fixture(autouse=True)
def no_threads():
    before = manager_threads()  # one of a previous test may still be about to end
    yield
    eventually(lambda: manager_threads() <= before, message="the threads of this test to be gone")


def test_async_manager_has_every_method_of_the_manager():
    names = {name for name in vars(BackgroundManager) if not name.startswith("_")}
    assert names <= set(vars(AsyncBackgroundManager))


def test_events_begin_at_the_call_and_not_at_the_first_read(home):
    async def story(manager):
        events = manager.events()
        task = await manager.launch(command=["true"])
        await manager.cancel_task(task.id)
        async with aclosing(events):
            assert (await anext(events)).data["taskId"] == task.id

    run_story(story)


def test_async_manager_launches_finds_and_ends_tasks(home):
    async def story(manager):
        task = await manager.launch(command=["true"], parent_session_id="ses-1")
        two = await manager.launch_many([{"command": ["true"]}] * 2)
        assert (await manager.get_task(task.id)) == task
        assert await manager.get_task(UNKNOWN) is None
        assert len(await manager.get_all_tasks()) == 3
        assert len(await manager.get_tasks_by_status("pending")) == 3
        assert [one.id for one in await manager.get_tasks_for_parent("ses-1")] == [task.id]
        assert not await manager.complete_task(task.id)
        assert not await manager.fail_task(task.id, "no")
        assert await manager.cancel_task(task.id)
        assert await manager.retry_task(task.id)
        assert await manager.output(two[0].id) == ""
        assert (await manager.adopt("ses-1", "ses-2")).tasks == 1
        assert [one.id for one in await manager.get_tasks_for_parent("ses-2")] == [task.id]
        await manager.clear()
        assert await manager.get_all_tasks() == []
        assert manager.home == home

    run_story(story)


def test_launch_names_the_invalid_field(home):
    async def story(manager):
        with pytest.raises(InvalidInput) as refusal:
            await manager.launch(command=["true"], retries=-1)
        assert refusal.value.field == "retries"

    run_story(story)


def test_callbacks_and_coroutines_run_on_the_loop(home):
    seen = []

    async def slow(task):
        await asyncio.sleep(0)
        seen.append(("slow", task.status, threading.current_thread()))

    async def story(manager):
        manager.on_complete(slow)
        remove = manager.on_complete(lambda task: seen.append(("quick", task.status, threading.current_thread())))
        task = await manager.launch(command=["true"])
        await manager.cancel_task(task.id)
        await manager.wait(task.id)
        remove()
        me = threading.current_thread()
        assert seen == [("slow", "cancelled", me), ("quick", "cancelled", me)]

    run_story(story)


def test_async_callback_may_wait_for_a_task_that_it_launches(home):
    waited = []

    async def launch_and_wait(task, manager):
        if not waited:
            waited.append(following := await manager.launch(command=["true"]))
            await manager.cancel_task(following.id)
            waited.extend(await manager.wait(following.id, timeout=TIMEOUT))

    async def story(manager):
        manager.on_complete(lambda task: launch_and_wait(task, manager))
        task = await manager.launch(command=["true"])
        await manager.cancel_task(task.id)
        await manager.wait(task.id)
        assert waited[1].id == waited[0].id

    run_story(story)


def test_hundreds_of_waits_need_no_threads(home):
    async def story(manager):
        tasks = await manager.launch_many([{"command": ["true"]}] * 200)
        waits = [asyncio.create_task(manager.wait(task.id)) for task in tasks]
        before = threading.active_count()
        for task in tasks:
            await manager.cancel_task(task.id)
        ended = await asyncio.gather(*waits)
        assert [one[0].id for one in ended] == [task.id for task in tasks]
        assert before < 50

    run_story(story)


def test_async_wait_times_out_and_can_be_cancelled(home):
    async def story(manager):
        task = await manager.launch(command=["true"], parent_session_id="ses-1")
        with pytest.raises(TimeoutError):
            await manager.wait(task.id, timeout=0.02)
        waiting = asyncio.create_task(manager.wait(parent="ses-1"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await manager.cancel_task(task.id)
        assert (await manager.wait(parent="ses-1", any=True)) == []
        assert [one.id for one in await manager.wait(parent="ses-1")] == [task.id]

    run_story(story)


def test_iteration_of_events_may_end_early(home):
    async def story(manager):
        events = manager.events(parent="ses-1")
        for _ in range(2):
            task = await manager.launch(command=["true"], parent_session_id="ses-1")
            await manager.cancel_task(task.id)
        async with aclosing(events):
            async for event in events:
                assert event.data["status"] == "cancelled"
                if event.data["taskId"] == task.id:
                    break
        listening = asyncio.create_task(anext(manager.events()))
        await asyncio.sleep(0.01)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await listening

    run_story(story)


def test_async_event_is_acknowledged_when_the_next_one_is_requested(home):
    async def story(manager):
        for _ in range(3):
            task = await manager.launch(command=["true"], parent_session_id="ses-1")
            await manager.cancel_task(task.id)
        seen = []
        async with aclosing(manager.events(parent="ses-1", ack=True)) as events:
            async for event in events:
                seen.append(event.seq)
                if len(seen) == 2:
                    break
        async with aclosing(manager.events(parent="ses-1")) as again:
            assert (await anext(again)).seq == seen[1]

    run_story(story)


def test_slow_reader_gets_every_event(home):
    async def story(manager):
        tasks = await manager.launch_many([{"command": ["true"], "parent_session_id": "ses-1"}] * 300)
        async with aclosing(manager.events(parent="ses-1")) as events:
            for task in tasks:
                await manager.cancel_task(task.id)
            seen = [(await anext(events)).data["taskId"] for _ in tasks]
        assert seen == [task.id for task in tasks]

    run_story(story)


def test_async_events_end_when_the_manager_is_closed(home):
    async def story(manager):
        listening = asyncio.create_task(_all(manager))
        await asyncio.sleep(0.01)
        await manager.close()
        assert await listening == []

    run_story(story)


async def _all(manager: AsyncBackgroundManager) -> list[object]:
    return [event async for event in manager.events()]


def test_manager_can_be_closed_after_its_loop_has_ended(home):
    managers = []

    async def story() -> None:
        manager = AsyncBackgroundManager()
        managers.append(manager)
        manager.on_complete(lambda _task: None)
        task = await manager.launch(command=["true"])
        await manager.cancel_task(task.id)

    asyncio.run(story())
    asyncio.run(managers[0].close())


def test_callback_for_a_closed_loop_does_not_block_its_thread(monkeypatch):
    monkeypatch.setattr(module, "LOOP_CHECK_INTERVAL", 0.01)

    async def made() -> Callable[[Task], object]:
        return module._on_loop(lambda _task: None)

    loop = asyncio.new_event_loop()
    call = loop.run_until_complete(made())
    caller = threading.Thread(target=call, args=(None,), name="backburner-test", daemon=True)
    caller.start()
    eventually(lambda: loop._ready, message="the callback to be given to the loop")
    loop.close()
    caller.join(TIMEOUT)
    assert not caller.is_alive()
    call(None)


def test_async_manager_runs_tasks_and_gets_batches(home, no_strays):
    async def story(manager):
        events = manager.events(parent="ses-1", types=["background_tasks_batch"])
        tasks = await manager.launch_many([{"command": ["echo", "hi"], "parent_session_id": "ses-1"}] * 5)
        ended = await manager.wait(parent="ses-1")
        assert [(task.id, task.status, task.result) for task in ended] == [
            (task.id, TaskStatus.COMPLETED, "hi") for task in tasks
        ]
        async with aclosing(events):
            assert (await anext(events)).data["count"] == 5
        await manager.stop()
        assert holder(Home(home).lock("supervisor")) is None

    run_story(story, start=True)


def test_cancelling_a_running_task_does_not_block_the_loop(home, no_strays):
    async def story(manager):
        task = await manager.launch(command=["sh", "-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"])
        while (await manager.get_task(task.id)).status is not TaskStatus.RUNNING:
            await asyncio.sleep(0.01)
        cancelling = asyncio.create_task(manager.cancel_task(task.id))
        assert await manager.get_all_tasks()
        assert await cancelling
        await manager.stop(now=True)

    run_story(story, config={"kill_grace_s": 0.2}, start=True)
