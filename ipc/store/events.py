"""The event log: what its readers and writers agree on."""

from __future__ import annotations

#: Bytes after which a page, a list and a batch end.
ROOM = 1024 * 1024

#: The type of a batch, as subscribers receive it.
BATCH = "background_tasks_batch"
