"""Run jobs and coding agents in the background. Each name is imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ipc.api.async_manager import AsyncBackgroundManager
    from .ipc.api.manager import BackgroundManager, get_background_manager, reset_background_manager
    from .ipc.api.state import (
        BackgroundState,
        clear_background_state,
        create_empty_state,
        load_background_state,
        save_background_state,
    )
    from .ipc.bus.client import Client
    from .ipc.config.settings import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
    from .ipc.errors import (
        AlreadyRunning,
        Ambiguous,
        BackburnerError,
        BadConfiguration,
        BadHome,
        Damaged,
        Disconnected,
        GateBusy,
        HeldByWorker,
        InvalidInput,
        MoveNotAllowed,
        NewerSchema,
        NoSupervisor,
        NotFound,
        OlderProcesses,
        OverCap,
        Permanent,
        Temporary,
        UnknownAgent,
        Unsynced,
    )
    from .ipc.model.batch import (
        NotificationConfig,
        NotificationManager,
        create_notification_manager,
        format_batch_notification,
    )
    from .ipc.model.event import Event, EventBus
    from .ipc.model.launch import LaunchInput
    from .ipc.model.task import Task, TaskStatus
    from .ipc.model.task import Task as BackgroundTask
    from .ipc.model.task import TaskStatus as BackgroundTaskStatus

__all__ = [
    "DEFAULT_BACKGROUND_CONFIG",
    "AlreadyRunning",
    "Ambiguous",
    "AsyncBackgroundManager",
    "BackburnerError",
    "BackgroundConfig",
    "BackgroundManager",
    "BackgroundState",
    "BackgroundTask",
    "BackgroundTaskStatus",
    "BadConfiguration",
    "BadHome",
    "Client",
    "Damaged",
    "Disconnected",
    "Event",
    "EventBus",
    "GateBusy",
    "HeldByWorker",
    "InvalidInput",
    "LaunchInput",
    "MoveNotAllowed",
    "NewerSchema",
    "NoSupervisor",
    "NotFound",
    "NotificationConfig",
    "NotificationManager",
    "OlderProcesses",
    "OverCap",
    "Permanent",
    "Task",
    "TaskStatus",
    "Temporary",
    "UnknownAgent",
    "Unsynced",
    "clear_background_state",
    "create_empty_state",
    "create_notification_manager",
    "format_batch_notification",
    "get_background_manager",
    "load_background_state",
    "reset_background_manager",
    "save_background_state",
]

#: The names of each module. All other names are in `ipc.errors`.
_NAMES = {
    ".ipc.api.async_manager": "AsyncBackgroundManager",
    ".ipc.bus.client": "Client",
    ".ipc.config.settings": "BackgroundConfig DEFAULT_BACKGROUND_CONFIG",
    ".ipc.model.event": "Event EventBus",
    ".ipc.api.manager": "BackgroundManager get_background_manager reset_background_manager",
    ".ipc.model.batch": (
        "NotificationConfig NotificationManager create_notification_manager format_batch_notification"
    ),
    ".ipc.api.state": (
        "BackgroundState clear_background_state create_empty_state load_background_state save_background_state"
    ),
    ".ipc.model.launch": "LaunchInput",
    ".ipc.model.task": "Task TaskStatus",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

#: Other names of the same classes.
_ALIASES = {"BackgroundTask": "Task", "BackgroundTaskStatus": "TaskStatus"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    own_name = _ALIASES.get(name, name)
    module = importlib.import_module(_MODULES.get(own_name, ".ipc.errors"), __name__)
    found: object = getattr(module, own_name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
