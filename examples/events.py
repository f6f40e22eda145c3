"""Launch a task from asyncio and follow the events of its session until the task is reported."""

import asyncio

from backburner import AsyncBackgroundManager


async def main() -> None:
    """Print each event as it arrives."""
    async with AsyncBackgroundManager(start=True) as manager:
        task = await manager.launch(command=["echo", "hello"], parent_session_id="ses-2", timeout_ms=10_000)
        async for event in manager.events(parent="ses-2", ack=True):
            print(event.type, event.data.get("status") or event.data.get("message") or "")
            if task.id in [ended["id"] for ended in event.data.get("tasks", ())]:
                return


asyncio.run(main())
