"""Ready commands for `on_batch`: what wakes a person, or a session that waits for its user."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from ...ipc.errors import Permanent, Temporary
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.store.inbox import Inbox, telling
from ...ipc.store.sqlite.database import Database

#: Seconds that opencode may take to answer.
PATIENCE = 20

Batch = Mapping[str, Any]


def desktop(batch: Batch) -> None:
    """Become the program that shows a notification. Raises Permanent where there is none."""
    names = ", ".join(task.get("description") or task["id"][:11] for task in batch["tasks"])
    command = ["notify-send", "--app-name=backburner", batch["message"], names]
    if sys.platform == "darwin":
        script = "on run words\ndisplay notification (item 2 of words) with title (item 1 of words)\nend run"
        command = ["osascript", "-e", script, batch["message"], names]
    try:
        with failpoint("wake.exec"):
            os.execvp(command[0], command)
    except FileNotFoundError as error:
        raise Permanent(f"There is no program {command[0]}; install it (Debian: libnotify-bin).") from error


class Opencode:
    """A server of opencode (`opencode serve`, or the one behind its window, `--port N`)."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        """Talk to that one, with the password that opencode itself takes from the environment."""
        self._url = url.rstrip("/")
        password = environ.get("OPENCODE_SERVER_PASSWORD")
        user = environ.get("OPENCODE_SERVER_USERNAME") or "opencode"
        key = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Basic {key}"} if password else {})}

    def wake(self, home: Home, parent: str) -> None:
        """Prompt a session with what it was not told yet, once; what is no session of opencode's is left alone.

        Raises Temporary where opencode does not answer.
        """
        session = self._session(parent)
        if session is None:
            return
        database = Database(home)
        try:
            with telling(home, parent):
                inbox = Inbox(database, parent)
                unread = inbox.unread()
                if unread is not None:
                    self._ask(
                        f"/session/{quote(session)}/prompt_async", {"parts": [{"type": "text", "text": unread.text}]}
                    )
                    inbox.acknowledge(unread.seq)
        finally:
            database.close()

    def _session(self, parent: str) -> str | None:
        """The session that is meant: by its id, or the one last used in a folder."""
        if parent.startswith("ses_"):
            return parent
        if not parent.startswith("cwd:"):
            return None
        folder = parent.removeprefix("cwd:")
        there = self._ask(f"/session?directory={quote(folder)}", None) or []
        own = [one for one in there if one.get("directory") == folder and not one.get("parentID")]
        return max(own, key=lambda one: one["time"]["updated"])["id"] if own else None

    def _ask(self, path: str, said: object) -> Any:
        data = None if said is None else json.dumps(said).encode()
        request = Request(self._url + path, data, self._headers)  # noqa: S310 (the user says which address)
        try:
            with urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 (as above)
                text = answer.read()
        except HTTPError as error:
            raise Temporary(f"opencode at {self._url} refused {path}: {error.code} {error.reason}.") from error
        except (URLError, OSError) as error:
            raise Temporary(f"opencode does not answer at {self._url}: {error}.") from error
        return json.loads(text) if text else None
