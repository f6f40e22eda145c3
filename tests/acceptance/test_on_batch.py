"""The user's `on_batch` command gets every batch, whatever is killed. Only the user's own file configures it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backburner.ipc.bus.protocol import EVENTS
from tests.helpers.instance import Instance
from tests.helpers.wait import eventually

#: Appends each batch to a file as a line; then hangs or fails if the files `hold` or `fail` exist.
SCRIPT = """\
#!/bin/sh
hold=; [ ! -e "$1/hold" ] || hold=1
echo "$2|$3|$BACKBURNER_HOME" >> "$1/arguments"
env > "$1/environment"
printf '%s\\n' "$(cat)" >> "$1/batches"
[ -z "$hold" ] || exec sleep 600
[ ! -e "$1/fail" ] || { rm "$1/fail"; exit 3; }
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Configure an `on_batch` command for the user, and return the folder to which it writes."""
    script = tmp_path / "batch-script"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    configure([str(script), str(tmp_path), "{message}", "{parent_session_id}"])
    return tmp_path


def configure(command: list[str]) -> None:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"on_batch = {json.dumps(command)}\nnotification_batch_window_ms = 10\n")


def delivered(output: Path) -> list[dict[str, Any]]:
    path = output / "batches"
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def wait_for_delivery(instance: Instance, output: Path, *ids: str) -> None:
    """Wait until exactly these tasks were delivered, in this order; repetitions count once."""

    def found() -> list[str]:
        return list(dict.fromkeys(task["id"] for batch in delivered(output) for task in batch["tasks"]))

    eventually(lambda: found() == list(ids), instance.timeout, f"the delivery of {ids}")


def run(instance: Instance, parent: str = "P") -> str:
    id = instance.launch("true", parentSessionId=parent)
    instance.until(id)
    return id


def test_command_gets_every_new_batch_once_as_json(instance: Instance, output: Path):
    instance.up(notification_batch_window_ms=10)
    ids = [run(instance, parent) for parent in ("P", "Q")]
    wait_for_delivery(instance, output, *ids)
    assert [(batch["parentSessionId"], batch["type"]) for batch in delivered(output)] == [
        ("P", "background_tasks_batch"),
        ("Q", "background_tasks_batch"),
    ]
    arguments = (output / "arguments").read_text().splitlines()
    assert arguments[0] == f"1 background task completed successfully.|P|{instance.folder}"
    instance.check("down")
    instance.up(notification_batch_window_ms=10)
    third = run(instance)
    wait_for_delivery(instance, output, *ids, third)
    assert len(delivered(output)) == 3


def test_command_gets_no_internal_environment_variables(instance: Instance, output: Path):
    instance.up(notification_batch_window_ms=10)
    wait_for_delivery(instance, output, run(instance))
    lines = (output / "environment").read_text().splitlines()
    assert [line for line in lines if line.startswith("BACKBURNER_")] == [f"BACKBURNER_HOME={instance.folder}"]
    assert any(line.startswith("PATH=") for line in lines)


def test_batch_is_delivered_again_after_a_failure(instance: Instance, output: Path):
    (output / "fail").touch()
    instance.up(notification_batch_window_ms=10)
    id = run(instance)
    eventually(lambda: len(delivered(output)) == 2, instance.timeout)
    wait_for_delivery(instance, output, id)
    assert "on_batch failed (exit code 3)" in instance.home.log.read_text()


def test_next_flusher_delivers_the_batch_of_a_killed_one(instance: Instance, output: Path):
    (output / "hold").touch()
    instance.up(notification_batch_window_ms=10)
    id = run(instance)
    eventually(lambda: len(delivered(output)) == 1, instance.timeout)
    (output / "hold").unlink()
    instance.kill("flusher")
    eventually(lambda: len(delivered(output)) == 2, instance.timeout)
    wait_for_delivery(instance, output, id)


def test_hanging_command_does_not_block_other_clients(instance: Instance, output: Path):
    (output / "hold").touch()
    instance.up(notification_batch_window_ms=10)
    first = run(instance)
    eventually(lambda: len(delivered(output)) == 1, instance.timeout)
    second = run(instance, "Q")
    assert instance.check("wait", second) == "1 background task completed successfully.\n"
    assert json.loads(instance.check("status", "--json"))["flusher"] is not None
    wait_for_delivery(instance, output, first)
    instance.down()


def test_missing_on_batch_command_is_logged_and_tasks_still_run(instance: Instance, tmp_path: Path):
    configure(["no-such-program-anywhere"])
    instance.up(notification_batch_window_ms=10)
    run(instance)
    eventually(lambda: "on_batch failed (No such file" in instance.home.log.read_text(), instance.timeout)
    run(instance)


def test_reload_applies_a_new_command_to_later_batches(instance: Instance, tmp_path: Path, output: Path):
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    text = path.read_text()
    path.write_text("notification_batch_window_ms = 10\n")
    instance.up()
    run(instance)
    instance.check("flush")
    path.write_text(text)
    instance.check("reload")
    eventually(lambda: instance.check("config", "show").count("batch-script") == 1, instance.timeout)

    def later_batch_is_delivered() -> bool:
        run(instance, "later")
        return bool(delivered(output))

    eventually(later_batch_is_delivered, instance.timeout)
    assert {batch["parentSessionId"] for batch in delivered(output)} == {"later"}


@pytest.mark.parametrize("where", ["backburner.toml", ".backburner/config.toml"])
def test_command_in_a_file_of_the_checkout_is_refused(instance: Instance, output: Path, where: str):
    path = instance.folder.parent / where
    path.write_text('on_batch = ["touch", "/tmp/owned"]\n')
    os.chdir(instance.folder.parent)
    done = instance.run("config", "check")
    assert done.returncode == 100
    assert done.stdout.startswith(f"{path}: on_batch: expected to be set only in the user's own file")
    assert instance.run("up", "--detach").returncode == 100


def by_session(output: Path, parent: str | None) -> list[list[str]]:
    """Return the tasks of each batch of a session."""
    batches = [batch for batch in delivered(output) if batch["parentSessionId"] == parent]
    return [[task["id"] for task in batch["tasks"]] for batch in batches]


def test_people_get_tasks_without_a_session_and_the_log_has_no_batch_of_them(instance: Instance, output: Path):
    instance.up(notification_batch_window_ms=1000)
    ids = [instance.launch("sh", "-c", f"exit {code}") for code in (0, 3)]
    eventually(lambda: by_session(output, None) != [], instance.timeout)
    (batch,) = delivered(output)
    assert batch.keys() == batch_keys()
    assert {task["id"] for task in batch["tasks"]} == set(ids)
    assert (batch["count"], batch["failedCount"], batch["allComplete"]) == (2, 1, True)
    assert batch["message"] == "2 background tasks finished: 1 completed, 1 failed."
    assert (output / "arguments").read_text() == f"{batch['message']}||{instance.folder}\n"
    assert {event["type"] for event in instance.events()} == {"background_task_started", "background_task_completed"}


def batch_keys() -> set[str]:
    """Return the fields of a batch on the socket."""
    return set(EVENTS["background_tasks_batch"].fields)


def test_command_added_before_the_first_start_gets_the_first_end(instance: Instance, output: Path):
    id = instance.launch("true")
    instance.up(notification_batch_window_ms=10)
    eventually(lambda: by_session(output, None) == [[id]], instance.timeout)


def test_next_flusher_delivers_ends_of_people_once(instance: Instance, output: Path):
    instance.up(notification_batch_window_ms=10)
    first = instance.launch("true")
    eventually(lambda: by_session(output, None) == [[first]], instance.timeout)
    instance.kill("flusher")
    (output / "hold").touch()
    second = instance.launch("true")
    eventually(lambda: by_session(output, None) == [[first], [second]], instance.timeout)
    (output / "hold").unlink()
    instance.kill("flusher")
    third = instance.launch("true")
    wait_for_delivery(instance, output, first, second, third)
    assert [ids for ids in by_session(output, None) if first in ids] == [[first]]


@pytest.mark.parametrize("parent", [None, "P"])
def test_task_that_notifies_a_person_is_passed_by_itself_at_once(instance: Instance, output: Path, parent):
    instance.up(notification_batch_window_ms=600_000)
    others = [instance.launch("true") for _ in range(2)]
    for id in others:
        instance.until(id)
    id = instance.launch("true", notify="person", parentSessionId=parent)
    eventually(lambda: by_session(output, parent) == [[id]], instance.timeout)
    instance.check("flush")
    eventually(lambda: sorted(others) in map(sorted, by_session(output, None)), instance.timeout)


class Opencode(BaseHTTPRequestHandler):
    """The part of opencode's server that backburner uses."""

    requests: list[tuple[str, Any]]
    fails = False

    def do_GET(self) -> None:
        sessions = [
            {"id": "ses_old", "directory": "/work", "time": {"updated": 1}},
            {"id": "ses_new", "directory": "/work", "time": {"updated": 2}},
            {"id": "ses_helper", "directory": "/work", "parentID": "ses_new", "time": {"updated": 3}},
            {"id": "ses_elsewhere", "directory": "/other", "time": {"updated": 4}},
        ]
        self._answer(200, json.dumps(sessions).encode())

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.requests.append((self.path, document))
        self._answer(500 if self.fails else 204, b"")

    def _answer(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *words: Any) -> None:
        """Log nothing: the tests look at `requests`."""


@pytest.fixture
def opencode() -> Iterator[tuple[type[Opencode], str]]:
    handler = type("Handler", (Opencode,), {"requests": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("parent", "session"), [("ses_1", "ses_1"), ("cwd:/work", "ses_new")])
def test_opencode_session_is_prompted_once(shared: Instance, opencode, parent, session):
    handler, url = opencode
    id = run(shared, parent)
    shared.check("flush")
    batch = json.dumps({"parentSessionId": parent, "message": "1 task", "tasks": []})
    for _ in range(2):
        shared.check("wake", "opencode", "--url", url, stdin=batch)
    ((path, document),) = handler.requests
    assert path == f"/session/{session}/prompt_async"
    assert f"- {id}" in document["parts"][0]["text"]


def test_prompt_that_opencode_refuses_is_not_acknowledged(shared: Instance, opencode):
    handler, url = opencode
    run(shared, "ses_1")
    handler.fails = True
    batch = json.dumps({"parentSessionId": "ses_1", "message": "1 task", "tasks": []})
    assert shared.run("wake", "opencode", "--url", url, stdin=batch).returncode == 111
    handler.fails = False
    shared.check("wake", "opencode", "--url", url, stdin=batch)
    assert len(handler.requests) == 2


def test_parent_that_is_no_opencode_session_is_ignored(shared: Instance, opencode):
    handler, url = opencode
    run(shared, "other")
    shared.check("wake", "opencode", "--url", url, stdin='{"parentSessionId": "other", "message": "", "tasks": []}')
    assert handler.requests == []


def test_desktop_is_notified_by_notify_send(instance: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    task = {"id": "bg-1", "description": "count lines"}
    batch = json.dumps({"parentSessionId": "P", "message": "1 task", "tasks": [task]})
    assert instance.run("wake", "desktop", stdin=batch).returncode == 0
    assert (tmp_path / "shown").read_text().splitlines()[-2:] == ["1 task", "count lines"]
    monkeypatch.setenv("PATH", "/nowhere")
    empty = json.dumps({"parentSessionId": "P", "message": "", "tasks": []})
    assert instance.run("wake", "desktop", stdin=empty).returncode == 100


def test_apprise_gets_the_batch_and_its_own_configuration_file(instance: Instance, tmp_path, monkeypatch):
    program = tmp_path / "apprise"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    failed = {"id": "bg-1", "description": "-x count", "status": "error", "errorKind": "exit", "exitCode": 3}
    done = {"id": "bg-2", "command": ["make", "test"], "status": "completed"}
    batch = json.dumps({"parentSessionId": None, "message": "2 tasks", "tasks": [failed, done], "failedCount": 1})
    assert instance.run("wake", "apprise", "--config", "/etc/mine", stdin=batch).returncode == 0
    assert (tmp_path / "shown").read_text().splitlines() == [
        "--title=2 tasks",
        "--body=-x count: error: exit code 3",
        "make test: completed",
        "--notification-type=failure",
        "--config=/etc/mine",
    ]
    monkeypatch.setenv("PATH", "/nowhere")
    refused = instance.run("wake", "apprise", stdin=batch)
    assert refused.returncode == 100
    assert "apprise: program not found; install it" in refused.stderr


def test_batch_for_people_is_no_business_of_opencode(shared: Instance, opencode):
    handler, url = opencode
    shared.check("wake", "opencode", "--url", url, stdin='{"parentSessionId": null, "message": "", "tasks": []}')
    assert handler.requests == []


def test_notification_of_a_person_without_a_command_is_named(shared: Instance):
    done = shared.run("launch", "--notify", "person", "--", "true")
    assert "no on_batch command is configured" in done.stderr
    assert shared.run("launch", "--notify", "group", "--", "true").returncode == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", "no"])
def test_input_that_is_no_batch_is_refused(instance: Instance, text: str):
    assert instance.run("wake", "desktop", stdin=text).returncode == 2
