"""A command of the user's is told of every batch, whatever is killed; only the user's own file says which."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.stage import Stage
from tests.helpers.wait import eventually

#: Adds what it is told to a file, a line a batch, and then does as another file says.
HERALD = """\
#!/bin/sh
hold=; [ ! -e "$1/hold" ] || hold=1
echo "$2|$3|$BACKBURNER_HOME" >> "$1/words"
env > "$1/environment"
cat >> "$1/told"; echo >> "$1/told"
[ -z "$hold" ] || exec sleep 600
[ ! -e "$1/fail" ] || { rm "$1/fail"; exit 3; }
"""


@pytest.fixture
def ear(tmp_path: Path) -> Path:
    """The folder where the command writes; it is what the user's configuration names."""
    script = tmp_path / "herald"
    script.write_text(HERALD)
    script.chmod(0o755)
    configure([str(script), str(tmp_path), "{message}", "{parent_session_id}"])
    return tmp_path


def configure(command: list[str]) -> None:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"on_batch = {json.dumps(command)}\nnotification_batch_window_ms = 10\n")


def told(ear: Path) -> list[dict[str, Any]]:
    path = ear / "told"
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def until_told(stage: Stage, ear: Path, *ids: str) -> None:
    """Wait until these tasks, and no other, were told of, in this order; repetitions count once."""

    def heard() -> list[str]:
        return list(dict.fromkeys(task["id"] for batch in told(ear) for task in batch["tasks"]))

    eventually(lambda: heard() == list(ids), stage.patience, f"{ids} to be told")


def run(stage: Stage, parent: str = "P") -> str:
    id = stage.launch("true", parentSessionId=parent)
    stage.until(id)
    return id


def test_every_batch_from_then_on_is_told_once_with_its_json(stage: Stage, ear: Path):
    stage.up(notification_batch_window_ms=10)
    ids = [run(stage, parent) for parent in ("P", "Q")]
    until_told(stage, ear, *ids)
    assert [(batch["parentSessionId"], batch["type"]) for batch in told(ear)] == [
        ("P", "background_tasks_batch"),
        ("Q", "background_tasks_batch"),
    ]
    words = (ear / "words").read_text().splitlines()
    assert words[0] == f"1 background task completed successfully.|P|{stage.folder}"
    stage.say("down")
    stage.up(notification_batch_window_ms=10)
    third = run(stage)
    until_told(stage, ear, *ids, third)
    assert len(told(ear)) == 3


def test_the_command_has_nothing_in_its_environment_that_is_said_to_our_processes(stage: Stage, ear: Path):
    stage.up(notification_batch_window_ms=10)
    until_told(stage, ear, run(stage))
    lines = (ear / "environment").read_text().splitlines()
    assert [line for line in lines if line.startswith("BACKBURNER_")] == [f"BACKBURNER_HOME={stage.folder}"]
    assert any(line.startswith("PATH=") for line in lines)


def test_what_failed_is_told_again(stage: Stage, ear: Path):
    (ear / "fail").touch()
    stage.up(notification_batch_window_ms=10)
    id = run(stage)
    eventually(lambda: len(told(ear)) == 2, stage.patience)
    until_told(stage, ear, id)
    assert "on_batch failed (exit code 3)" in stage.home.log.read_text()


def test_what_a_killed_flusher_was_telling_the_next_one_tells(stage: Stage, ear: Path):
    (ear / "hold").touch()
    stage.up(notification_batch_window_ms=10)
    id = run(stage)
    eventually(lambda: len(told(ear)) == 1, stage.patience)
    (ear / "hold").unlink()
    stage.kill("flusher")
    eventually(lambda: len(told(ear)) == 2, stage.patience)
    until_told(stage, ear, id)


def test_while_the_command_hangs_everybody_else_is_served(stage: Stage, ear: Path):
    (ear / "hold").touch()
    stage.up(notification_batch_window_ms=10)
    first = run(stage)
    eventually(lambda: len(told(ear)) == 1, stage.patience)
    second = run(stage, "Q")
    assert stage.say("wait", second) == "1 background task completed successfully.\n"
    assert json.loads(stage.say("status", "--json"))["flusher"] is not None
    until_told(stage, ear, first)
    stage.down()


def test_a_command_that_is_not_there_harms_nobody(stage: Stage, tmp_path: Path):
    configure(["no-such-program-anywhere"])
    stage.up(notification_batch_window_ms=10)
    run(stage)
    eventually(lambda: "on_batch failed (No such file" in stage.home.log.read_text(), stage.patience)
    run(stage)


def test_reload_makes_a_new_command_count_for_what_comes_then(stage: Stage, tmp_path: Path, ear: Path):
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "backburner" / "config.toml"
    text = path.read_text()
    path.write_text("notification_batch_window_ms = 10\n")
    stage.up()
    run(stage)
    stage.say("flush")
    path.write_text(text)
    stage.say("reload")
    eventually(lambda: stage.say("config", "show").count("herald") == 1, stage.patience)

    def a_later_one_is_told() -> bool:
        run(stage, "later")
        return bool(told(ear))

    eventually(a_later_one_is_told, stage.patience)
    assert {batch["parentSessionId"] for batch in told(ear)} == {"later"}


@pytest.mark.parametrize("where", ["backburner.toml", ".backburner/config.toml"])
def test_a_checkouts_file_that_names_a_command_is_a_mistake_and_is_not_believed(stage: Stage, ear: Path, where: str):
    path = stage.folder.parent / where
    path.write_text('on_batch = ["touch", "/tmp/owned"]\n')
    os.chdir(stage.folder.parent)
    done = stage.run("config", "check")
    assert done.returncode == 100
    assert done.stdout.startswith(f"{path}: on_batch: expected it in the user's own file alone")
    assert stage.run("up", "--detach").returncode == 100


class Opencode(BaseHTTPRequestHandler):
    """As much of opencode's server as is asked."""

    asked: list[tuple[str, Any]]
    down = False

    def do_GET(self) -> None:
        sessions = [
            {"id": "ses_old", "directory": "/work", "time": {"updated": 1}},
            {"id": "ses_new", "directory": "/work", "time": {"updated": 2}},
            {"id": "ses_helper", "directory": "/work", "parentID": "ses_new", "time": {"updated": 3}},
            {"id": "ses_elsewhere", "directory": "/other", "time": {"updated": 4}},
        ]
        self._answer(200, json.dumps(sessions).encode())

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, said))
        self._answer(500 if self.down else 204, b"")

    def _answer(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *words: Any) -> None:
        """The test looks at what was asked."""


@pytest.fixture
def opencode() -> Iterator[tuple[type[Opencode], str]]:
    handler = type("Handler", (Opencode,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield handler, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("parent", "session"), [("ses_1", "ses_1"), ("cwd:/work", "ses_new")])
def test_a_session_of_opencode_is_prompted_with_what_it_was_not_told_once(live: Stage, opencode, parent, session):
    handler, url = opencode
    id = run(live, parent)
    live.say("flush")
    batch = json.dumps({"parentSessionId": parent, "message": "1 task", "tasks": []})
    for _ in range(2):
        live.say("wake", "opencode", "--url", url, stdin=batch)
    ((path, said),) = handler.asked
    assert path == f"/session/{session}/prompt_async"
    assert f"- {id}" in said["parts"][0]["text"]


def test_what_opencode_refuses_is_not_acknowledged(live: Stage, opencode):
    handler, url = opencode
    run(live, "ses_1")
    handler.down = True
    batch = json.dumps({"parentSessionId": "ses_1", "message": "1 task", "tasks": []})
    assert live.run("wake", "opencode", "--url", url, stdin=batch).returncode == 111
    handler.down = False
    live.say("wake", "opencode", "--url", url, stdin=batch)
    assert len(handler.asked) == 2


def test_a_parent_that_is_no_session_of_opencodes_is_left_alone(live: Stage, opencode):
    handler, url = opencode
    run(live, "somebody")
    live.say("wake", "opencode", "--url", url, stdin='{"parentSessionId": "somebody", "message": "", "tasks": []}')
    assert handler.asked == []


def test_the_desktop_is_told_by_notify_send(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "notify-send"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/shown\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    task = {"id": "bg-1", "description": "count lines"}
    stage.say("wake", "desktop", stdin=json.dumps({"parentSessionId": "P", "message": "1 task", "tasks": [task]}))
    assert (tmp_path / "shown").read_text().splitlines()[-2:] == ["1 task", "count lines"]
    monkeypatch.setenv("PATH", "/nowhere")
    assert stage.run("wake", "desktop", stdin='{"parentSessionId": "P", "message": "", "tasks": []}').returncode == 100


@pytest.mark.parametrize("text", ["", "[]", "{}", "no"])
def test_what_is_no_batch_is_refused(stage: Stage, text: str):
    assert stage.run("wake", "desktop", stdin=text).returncode == 2
