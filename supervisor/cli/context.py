"""What a command works with: the home, its configuration, its database; each opened when first asked for."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ...ipc.config.settings import BackgroundConfig, ConfigurationMistakes, Reading, read
from ...ipc.errors import BadHome, InvalidInput, NotFound
from ...ipc.home import Home

if TYPE_CHECKING:
    from ...ipc.store.queue import Queue
    from ...ipc.store.sqlite.database import Database
    from ...ipc.store.tasks import Tasks


class Desk:
    """One command's surroundings. `named` is what `--home` said."""

    def __init__(self) -> None:
        """Nothing is looked at yet."""
        self.named: str | None = None
        self._database: Database | None = None
        self._warned = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Close what was opened."""
        if self._database is not None:
            self._database.close()
            self._database = None

    @cached_property
    def home(self) -> Home:
        """The home that is meant. Raises BadHome."""
        try:
            return Home.find(self.named)
        except FileNotFoundError:
            raise BadHome("The current folder is gone; go to another one, or name a home: --home DIR.") from None

    @property
    def place(self) -> str:
        """The home's folder, as errors name it."""
        try:
            return str(self.home.folder)
        except BadHome:
            return "none"

    @property
    def config(self) -> BackgroundConfig:
        """As much of the configuration as is sound; the rest is warned about, once."""
        if self._reading.mistakes and not self._warned:
            self._warned = True
            print(f"backburner: {ConfigurationMistakes(self._reading.mistakes)}", file=sys.stderr)
            print("backburner: going on without; mend it: backburner config check", file=sys.stderr)
        return self._reading.config

    @property
    def sound_config(self) -> BackgroundConfig:
        """The whole configuration. Raises BadConfiguration, naming all mistakes."""
        if self._reading.mistakes:
            raise ConfigurationMistakes(self._reading.mistakes)
        return self._reading.config

    @property
    def exists(self) -> bool:
        """Whether anything was ever launched here."""
        try:
            return self.home.database.exists()
        except PermissionError:  # a home that is not ours; opening it says so
            return True

    def refuse_foreign(self) -> None:
        """Raise BadHome where the home is another user's: nobody answers there, whoever runs."""
        if self.exists:
            self.home.check()

    @property
    def database(self) -> Database:
        """The home's database, made where it is missing. Raises BadHome."""
        if self._database is None:
            from ...ipc.store.sqlite.database import Database

            self.home.prepare()
            durability = self._reading.config.durability
            self._database = Database(self.home, durability)
        return self._database

    @cached_property
    def tasks(self) -> Tasks:
        """The tasks there are, to read. Raises NotFound where there never was one."""
        from ...ipc.store.tasks import Tasks

        return Tasks(self._existing(), self.config)

    @cached_property
    def queue(self) -> Queue:
        """The tasks there are, to move. Raises NotFound where there never was one."""
        from ...ipc.store.queue import Queue

        return Queue(self._existing(), self.config)

    def find(self, id: str) -> str:
        """The whole id that a part from its start, or `-`, means. Raises NotFound, Ambiguous, InvalidInput."""
        if not id.removeprefix("bg-"):
            raise InvalidInput("id: expected some of the id's digits, got none.", field="id")
        return self.tasks.find(id)

    def _existing(self) -> Database:
        if not self.exists:
            raise NotFound(f"There are no tasks in {self.home.folder}.", field="id")
        return self.database

    @cached_property
    def _reading(self) -> Reading:
        return read(self.home, _current_folder())


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None
