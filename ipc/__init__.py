"""Put work on the back burner; be told when it is done. What a program needs is here; each name is imported on use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipc.asyncio_manager import AsyncBackgroundManager
    from ipc.client import AsyncClient, Client
    from ipc.config import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
    from ipc.errors import (
        AlreadyRunning,
        Ambiguous,
        BackburnerError,
        BadConfiguration,
        BadHome,
        Disconnected,
        GateBusy,
        InvalidInput,
        MoveNotAllowed,
        NewerSchema,
        NoSupervisor,
        NotFound,
        OverCap,
        Permanent,
        Temporary,
        UnknownAgent,
    )
    from ipc.event import Event, EventBus
    from ipc.manager import BackgroundManager, get_background_manager, reset_background_manager
    from ipc.notifications import (
        NotificationConfig,
        NotificationManager,
        create_notification_manager,
        format_batch_notification,
    )
    from ipc.state import (
        BackgroundState,
        clear_background_state,
        create_empty_state,
        load_background_state,
        save_background_state,
    )
    from ipc.task import LaunchInput, Task, TaskStatus
    from ipc.task import Task as BackgroundTask
    from ipc.task import TaskStatus as BackgroundTaskStatus

__all__ = [
    "DEFAULT_BACKGROUND_CONFIG",
    "AlreadyRunning",
    "Ambiguous",
    "AsyncBackgroundManager",
    "AsyncClient",
    "BackburnerError",
    "BackgroundConfig",
    "BackgroundManager",
    "BackgroundState",
    "BackgroundTask",
    "BackgroundTaskStatus",
    "BadConfiguration",
    "BadHome",
    "Client",
    "Disconnected",
    "Event",
    "EventBus",
    "GateBusy",
    "InvalidInput",
    "LaunchInput",
    "MoveNotAllowed",
    "NewerSchema",
    "NoSupervisor",
    "NotFound",
    "NotificationConfig",
    "NotificationManager",
    "OverCap",
    "Permanent",
    "Task",
    "TaskStatus",
    "Temporary",
    "UnknownAgent",
    "clear_background_state",
    "create_empty_state",
    "create_notification_manager",
    "format_batch_notification",
    "get_background_manager",
    "load_background_state",
    "reset_background_manager",
    "save_background_state",
]

#: Where the names are that are not errors.
_PLACES = {
    "ipc.asyncio_manager": "AsyncBackgroundManager",
    "ipc.client": "AsyncClient Client",
    "ipc.config": "BackgroundConfig DEFAULT_BACKGROUND_CONFIG",
    "ipc.event": "Event EventBus",
    "ipc.manager": "BackgroundManager get_background_manager reset_background_manager",
    "ipc.notifications": (
        "NotificationConfig NotificationManager create_notification_manager format_batch_notification"
    ),
    "ipc.state": (
        "BackgroundState clear_background_state create_empty_state load_background_state save_background_state"
    ),
    "ipc.task": "LaunchInput Task TaskStatus",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}

#: Two names for one thing.
_ALIASES = {"BackgroundTask": "Task", "BackgroundTaskStatus": "TaskStatus"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    own = _ALIASES.get(name, name)
    found: object = getattr(importlib.import_module(_MODULES.get(own, "ipc.errors")), own)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
