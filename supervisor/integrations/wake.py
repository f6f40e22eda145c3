"""Ready-made commands for `on_batch`: notify the desktop, or prompt a session of opencode."""

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

from ...ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from ...ipc.errors import Permanent, Temporary
from ...ipc.failpoints import failpoint
from ...ipc.home import Home
from ...ipc.store import open_store
from .inbox import Inbox, delivering

#: Seconds to wait for a response of opencode.
TIMEOUT = 20

Batch = Mapping[str, Any]


def desktop(batch: Batch) -> None:
    """Replace this process by the program that shows a desktop notification. Raises Permanent if it is missing."""
    names = ", ".join(task.get("description") or task["id"][:11] for task in batch["tasks"])
    command = ["notify-send", "--app-name=backburner", batch["message"], names]
    if sys.platform == "darwin":
        script = "on run words\ndisplay notification (item 2 of words) with title (item 1 of words)\nend run"
        command = ["osascript", "-e", script, batch["message"], names]
    try:
        with failpoint("wake.exec"):
            os.execvp(command[0], command)
    except FileNotFoundError as error:
        raise Permanent(f"{command[0]}: program not found; install it (Debian: apt install libnotify-bin)") from error


class Opencode:
    """A server of opencode, which `opencode serve` or the terminal UI (`opencode --port N`) starts."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        """Use the server at `url`, with the password from the variable that opencode itself reads."""
        self._url = url.rstrip("/")
        password = environ.get("OPENCODE_SERVER_PASSWORD")
        user = environ.get("OPENCODE_SERVER_USERNAME") or "opencode"
        key = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Basic {key}"} if password else {})}

    def wake(self, home: Home, parent: str) -> None:
        """Prompt a session once with its unread notifications. Ignore a parent that is not a session of opencode.

        Raises Temporary if opencode does not respond.
        """
        session = self._session(parent)
        if session is None:
            return
        store = open_store(home, DEFAULT_BACKGROUND_CONFIG, "command")
        try:
            with delivering(home, parent):
                inbox = Inbox(store, parent)
                unread = inbox.unread()
                if unread is not None:
                    prompt = {"parts": [{"type": "text", "text": unread.text}]}
                    self._request(f"/session/{quote(session)}/prompt_async", prompt)
                    inbox.acknowledge(unread.seq)
        finally:
            store.close()

    def _session(self, parent: str) -> str | None:
        """Return the session that `parent` names, or the last used session of its folder."""
        if parent.startswith("ses_"):
            return parent
        if not parent.startswith("cwd:"):
            return None
        folder = parent.removeprefix("cwd:")
        sessions = self._request(f"/session?directory={quote(folder)}", None) or []
        own = [session for session in sessions if session.get("directory") == folder and not session.get("parentID")]
        return max(own, key=lambda session: session["time"]["updated"])["id"] if own else None

    def _request(self, path: str, document: object) -> Any:
        data = None if document is None else json.dumps(document).encode()
        request = Request(self._url + path, data, self._headers)  # noqa: S310 (the user gives the address)
        try:
            with urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 (as above)
                text = response.read()
        except HTTPError as error:
            raise Temporary(f"opencode at {self._url} refused {path}: {error.code} {error.reason}") from error
        except (URLError, OSError) as error:
            raise Temporary(f"opencode does not respond at {self._url}: {error}") from error
        return json.loads(text) if text else None
