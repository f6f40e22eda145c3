"""Ready-made commands for `on_batch`: notify the desktop or a service, or prompt a session of opencode."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
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
from ...ipc.model.cause import cause_in
from ...ipc.model.task import command_line
from ...ipc.store import open_store
from ...ipc.text.screen import one_line
from .inbox import Inbox, delivering

#: Seconds to wait for a response of opencode.
TIMEOUT = 20
#: The maximum number of characters of a task's title, and of lines, in a notification for people.
MAX_TITLE, MAX_LINES = 80, 20

Batch = Mapping[str, Any]


def desktop(batch: Batch) -> None:
    """Replace this process by the program that shows a desktop notification. Raises Permanent if it is missing."""
    names = ", ".join(map(_title, batch["tasks"]))
    command = ["notify-send", "--app-name=backburner", "--", batch["message"], names]
    if sys.platform == "darwin":
        script = "on run words\ndisplay notification (item 2 of words) with title (item 1 of words)\nend run"
        command = ["osascript", "-e", script, batch["message"], names]
    _replace_process(command, "install it (Debian: apt install libnotify-bin)")


def apprise(batch: Batch, config: str | None) -> None:
    """Replace this process by Apprise, which sends the batch to the services that it knows. Raises Permanent."""
    failed = batch.get("failedCount", 0)
    options = [
        f"--title={batch['message']}",
        f"--body={_body(batch)}",
        f"--notification-type={'failure' if failed else 'success'}",
        *([f"--config={config}"] if config else []),
    ]
    program = ["apprise"]
    if shutil.which("apprise") is None and importlib.util.find_spec("apprise") is not None:
        program = [sys.executable, "-P", "-c", "from apprise.cli import main; main()"]
    _replace_process([*program, *options], "install it (pipx install apprise), or backburner with the extra 'notify'")


def _replace_process(command: list[str], advice: str) -> None:
    try:
        with failpoint("wake.exec"):
            os.execvp(command[0], command)
    except FileNotFoundError as error:
        raise Permanent(f"{command[0]}: program not found; {advice}") from error


def _title(task: Mapping[str, Any]) -> str:
    title = task.get("description") or command_line(task.get("command") or ()) or task.get("call")
    return one_line(title or "", MAX_TITLE) or task["id"][:11]


def _body(batch: Batch) -> str:
    """Return a line for each of the first tasks: its title, and how it ended."""
    tasks = batch["tasks"]
    lines = [": ".join(filter(None, [_title(task), task.get("status"), cause_in(task)])) for task in tasks[:MAX_LINES]]
    return "\n".join([*lines, *([f"and {len(tasks) - MAX_LINES} more"] if len(tasks) > MAX_LINES else [])])


class Opencode:
    """A server of opencode, which `opencode serve` or the terminal UI (`opencode --port N`) starts."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        """Use the server at `url`, with the password from the variable that opencode itself reads."""
        self._url = url.rstrip("/")
        password = environ.get("OPENCODE_SERVER_PASSWORD")
        user = environ.get("OPENCODE_SERVER_USERNAME") or "opencode"
        key = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Basic {key}"} if password else {})}

    def wake(self, home: Home, parent: str | None) -> None:
        """Prompt a session once with its unread notifications. Ignore a parent that is not a session of opencode.

        Raises Temporary if opencode does not respond.
        """
        session = parent and self._session(parent)
        if not (parent and session):
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
