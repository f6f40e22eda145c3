"""The state directory, configuration and store of one command, each opened on first use."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Self

from ...ipc.config.files import Reading, read
from ...ipc.config.settings import BackgroundConfig, ConfigurationMistakes
from ...ipc.errors import BadHome, InvalidInput
from ...ipc.home import Home, check_home_option, current_folder

if TYPE_CHECKING:
    from ...ipc.store.interface import Store
    from ...ipc.store.queue import Queue
    from ...ipc.store.tasks import Tasks


class Context:
    """The resources of one command. `home_option` is the value of `--home`."""

    def __init__(self) -> None:
        self.home_option: str | None = None
        #: True if the command makes no state directory.
        self.only_reads = False
        self._store: Store | None = None
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @cached_property
    def home(self) -> Home:
        """Return the state directory of the command. Raises BadHome, InvalidInput."""
        home = Home.find(self.home_option)
        if self.home_option is not None:
            check_home_option(self.home_option, home, self.only_reads)
        return home

    @property
    def home_label(self) -> str:
        """Return the state directory's path for error messages."""
        try:
            return str(self.home.folder)
        except (BadHome, InvalidInput):
            return "none"

    @property
    def config(self) -> BackgroundConfig:
        """Return the valid part of the configuration. Mistakes are reported once, on stderr."""
        if self._reading.mistakes and not self._warned:
            self._warned = True
            print(f"backburner: {ConfigurationMistakes(self._reading.mistakes)}", file=sys.stderr)
            print("backburner: files with mistakes are ignored here; see: backburner config check", file=sys.stderr)
        return self._reading.config

    @property
    def valid_config(self) -> BackgroundConfig:
        """Return the whole configuration. Raises BadConfiguration, which names all mistakes."""
        if self._reading.mistakes:
            raise ConfigurationMistakes(self._reading.mistakes)
        return self._reading.config

    @property
    def has_database(self) -> bool:
        """Return True if a task was ever launched here."""
        try:
            return self.home.database.exists()
        except PermissionError:  # another user's home, which is reported when it is opened
            return True

    def check_owner(self) -> None:
        """Raise BadHome if the state directory belongs to another user: the supervisor there would not answer."""
        if self.has_database:
            self.home.check()

    @property
    def store(self) -> Store:
        """Return the store. Create it if it is missing. Raises BadHome."""
        if self._store is None:
            self.home.prepare()
            from ...ipc.store import open_store

            self._store = open_store(self.home, self.config, "command")
        return self._store

    @cached_property
    def tasks(self) -> Tasks:
        """Return the existing tasks, to read them. Raises NotFound if no task was ever launched."""
        from ...ipc.store.tasks import Tasks

        return Tasks(self._existing_store(), self.config)

    @cached_property
    def queue(self) -> Queue:
        """Return the existing tasks, to read and change them. Raises NotFound if no task was ever launched."""
        from ...ipc.store.queue import Queue

        return Queue(self._existing_store(), self.config)

    def resolve_id(self, id: str, name: str = "ID") -> str:
        """Return the full ID for a prefix. For `-`, return the ID of the last task launched.

        `name` is the option or argument for error messages. Raises NotFound, Ambiguous, InvalidInput.
        """
        if not id.removeprefix("bg-"):
            raise InvalidInput(f"{name} must not be empty" if not id else f"{name}: {id} is no ID", field="id")
        return self.tasks.find(id)

    def _existing_store(self) -> Store:
        if not self.has_database:
            from ...ipc.store.tasks import no_tasks

            raise no_tasks(self.home)
        return self.store

    @cached_property
    def _reading(self) -> Reading:
        return read(self.home, current_folder())
