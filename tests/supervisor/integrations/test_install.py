"""`install` shows, makes and takes back the changes to a client's files, and keeps everything else in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import json5
import pytest

from backburner.ipc.machine.distribution import INSTALL_COMMAND, extra_command
from backburner.supervisor.integrations.client_files import CLIENTS
from tests.helpers.commands import backburner, backburner_here

#: JSON that a user has laid out and commented by hand.
COMMENTED = """\
// mine, since 2024
{
\t"theme": "dark", /* not light */
\t"mcpServers": {
\t\t"other": {"command": "other", "args": []}, // keep
\t},
\t"hooks": {
\t\t"Stop": [{"hooks": [{"type": "command", "command": "say done"}]}],
\t\t"SessionStart": [],
\t}
}
"""
COMMENTS = ("// mine, since 2024", '\t"theme": "dark", /* not light */', "// keep", '"command": "say done"')
PLAIN = '{"a":1,"mcp":{},"half":"\\ud83d"}'
TOML = 'model = "x"  # mine\n\n[mcp_servers.other]\ncommand = "other"'

FILES = {
    "claude": {".claude.json": PLAIN, ".claude/settings.json": COMMENTED},
    "codex": {".codex/config.toml": TOML, ".codex/hooks.json": COMMENTED},
    "opencode": {".config/opencode/opencode.jsonc": COMMENTED},
    "gemini": {".gemini/settings.json": COMMENTED},
}


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the home directory of a user."""
    folder = tmp_path / "person"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def install(*words: str) -> subprocess.CompletedProcess[str]:
    return backburner_here(Path("unused"), "install", *words)


def done(*words: str) -> str:
    """Run `install`, which must succeed, and return what it prints."""
    found = install(*words)
    assert found.returncode == 0, found.stderr
    return found.stdout


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the contents and modes of the user's files, without the copies that `install` keeps."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".local" not in path.parts]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode) for path in files}


def texts(folder: Path) -> str:
    return "".join(text.decode() for text, _ in snapshot(folder).values())


def fill(folder: Path, client: str) -> dict[str, tuple[bytes, int]]:
    """Create files of the user for that client."""
    for name, text in FILES[client].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)
    return snapshot(folder)


def read(path: Path) -> Any:
    return tomllib.loads(path.read_text()) if path.suffix == ".toml" else json5.loads(path.read_text())


def edit_by_hand(path: Path) -> None:
    """Add a comment or a member, as the user may do later."""
    if path.suffix == ".toml":
        path.write_text(f"{path.read_text()}# since\n")
    else:
        path.write_text(path.read_text().replace("{", '{"since": {"mine": true},', 1))


def without_ours(value: Any) -> Any:
    """Return a document without all that names backburner, and without the containers that are empty then."""
    if isinstance(value, dict):
        found = {name: without_ours(member) for name, member in value.items() if name != "backburner"}
        return {name: member for name, member in found.items() if member not in ({}, [])}
    if isinstance(value, list):
        return [without_ours(element) for element in value if "backburner" not in str(element)]
    return value


filled_or_not = pytest.mark.parametrize("filled", [False, True], ids=["no files", "user's files"])
every_client = pytest.mark.parametrize("client", CLIENTS)


@filled_or_not
@every_client
def test_change_is_shown_then_made_once_then_undone_exactly(person, client, filled):
    before = fill(person, client) if filled else {}
    shown = done(client)
    assert snapshot(person) == before
    assert done(client, "--yes") == shown
    after = snapshot(person)
    assert after.keys() == {str(file.path.relative_to(person)) for file in CLIENTS[client](["x"], person, {})}
    assert all(after[name][1] == mode for name, (_, mode) in before.items())
    assert done(client) == done(client, "--yes") == ""
    assert snapshot(person) == after
    assert done(client, "--undo") != ""
    assert snapshot(person) == before
    assert done(client, "--undo") == ""


def folders(person: Path) -> set[str]:
    """Return the folders of a user."""
    return {str(path.relative_to(person)) for path in person.rglob("*") if path.is_dir()}


@every_client
def test_undo_removes_the_folders_that_it_created(person, client):
    (person / ".local").mkdir()
    done(client, "--yes")
    assert len(folders(person)) > 2
    done(client, "--undo")
    assert folders(person) == {".local"}


def test_undo_keeps_folders_that_the_client_uses_now(person):
    done("claude", "--yes")
    (person / ".claude/history").write_text("")
    done("claude", "--undo")
    assert folders(person) == {".claude"}


def test_interrupted_undo_is_completed_by_the_next_one(person):
    done("claude", "--yes")
    (person / ".claude.json").unlink()
    (person / ".claude/settings.json").unlink()
    assert done("claude", "--undo") == ""
    assert folders(person) == set()


def test_setup_whose_server_could_not_start_is_refused(person, monkeypatch, tmp_path):
    program = tmp_path / "backburner"
    program.write_text('#!/bin/sh\necho "it is broken" >&2; exit 100\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = install("claude", "--yes")
    assert found.returncode == 100
    assert f"{program} mcp, which the client would start, fails: it is broken" in found.stderr
    assert snapshot(person) == {}


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/.local/share/pipx/venvs/backburner-supervisor", "pipx inject backburner-supervisor "),
        ("/home/me/.local/share/uv/tools/backburner-supervisor", "uv pip install --python /python "),
        ("/work/.venv", "/python -m pip install "),
    ],
)
def test_advice_fits_the_program_that_installed_backburner(monkeypatch, prefix, command):
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "executable", "/python")
    found = extra_command("mcp")
    assert found.startswith(command)
    assert "'mcp<3,>=2.3'" in found
    assert "backburner[" not in found


@every_client
def test_diff_shows_every_line_that_is_removed(person, client):
    before = fill(person, client)
    shown = done(client, "--yes")
    after = texts(person).splitlines()
    for text, _ in before.values():
        for line in text.decode().splitlines():
            assert line in after or f"-{line}" in shown


@every_client
def test_other_entries_keep_their_values_and_order(person, client):
    fill(person, client)
    before = {name: read(person / name) for name in FILES[client]}
    done(client, "--yes")
    for name, document in before.items():
        after = read(person / name)
        assert without_ours(after) == without_ours(document)
        assert [key for key in after if key in document] == list(document)


@pytest.mark.parametrize("client", ["claude", "codex", "gemini", "opencode"])
def test_comments_and_layout_are_kept_in_json_with_comments(person, client):
    fill(person, client)
    done(client, "--yes")
    (name,) = [name for name, text in FILES[client].items() if text == COMMENTED]
    edit_by_hand(person / name)
    for _ in range(2):
        assert all(line in (person / name).read_text() for line in COMMENTS)
        done(client, "--undo")
    assert "backburner" not in texts(person)


def test_comments_are_kept_in_toml(person):
    fill(person, "codex")
    done("codex", "--yes")
    text = (person / ".codex/config.toml").read_text()
    assert text.startswith(TOML)
    found = tomllib.loads(text)
    assert found["mcp_servers"]["backburner"]["args"][-1] == "mcp"
    assert found["mcp_servers"]["other"] == {"command": "other"}


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that moves the installation into another folder and returns the program's new path."""

    def move(name: str) -> Path:
        program = tmp_path / name / "bin" / "backburner"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return program

    return move


@filled_or_not
@every_client
def test_second_install_updates_the_path_of_a_moved_program(person, client, filled, moved):
    before = fill(person, client) if filled else {}
    old = moved("old venv")
    done(client, "--yes")
    count = texts(person).count(str(old))
    new = moved("new")
    shown = done(client, "--yes")
    assert str(old) in shown and str(new) in shown
    assert (texts(person).count(str(old)), texts(person).count(str(new))) == (0, count)
    assert install(client, "--yes").stderr == f"backburner: {client} is already set up\n"
    assert done(client, "--undo") != ""
    assert snapshot(person) == before


@every_client
def test_undo_keeps_edits_made_between_two_installs(person, client, moved):
    moved("old")
    done(client, "--yes")
    for name in snapshot(person):
        edit_by_hand(person / name)
    moved("new")
    done(client, "--yes")
    assert done(client, "--undo") != ""
    assert "backburner" not in texts(person)
    assert texts(person).count("since") == len(snapshot(person))


def test_fields_that_the_user_added_survive_an_update_of_the_path(person, moved):
    old = moved("old")
    own = {"command": str(old), "args": ["mcp"], "type": "stdio", "env": {"MINE": "1"}}
    (person / ".claude.json").write_text(json.dumps({"mcpServers": {"backburner": own}}))
    (person / ".codex").mkdir()
    (person / ".codex/config.toml").write_text(
        f'[mcp_servers.backburner]\ncommand = "{old}"  # mine\nargs = ["mcp"]\ntool_timeout_sec = 70'
    )
    new = moved("new")
    done("claude", "--yes")
    done("codex", "--yes")
    servers = json.loads((person / ".claude.json").read_text())["mcpServers"]
    assert servers == {"backburner": {**own, "command": str(new)}}
    text = (person / ".codex/config.toml").read_text()
    assert text == f'[mcp_servers.backburner]\ncommand = "{new}"  # mine\nargs = ["mcp"]\ntool_timeout_sec = 70'


@pytest.mark.parametrize(
    "own",
    [
        {"command": "mine"},
        {"command": "backburner", "args": ["mcp"]},
        {"command": "/opt/backburner", "args": ["--home", "/x", "mcp"]},
        {"command": "/opt/backburner mcp"},
        {"command": "/opt/other", "args": ["mcp"]},
        {"command": 7, "args": 7},
        ["/opt/backburner", "mcp"],
        "mine",
    ],
)
@pytest.mark.parametrize("client", ["claude", "codex"])
def test_server_that_the_user_defined_is_left_alone(person, client, own):
    (person / ".codex").mkdir()
    (person / ".claude.json").write_text(json.dumps({"mcpServers": {"backburner": own}}))
    value = "\n".join(f"{name} = {json.dumps(member)}" for name, member in own.items()) if isinstance(own, dict) else ""
    (person / ".codex/config.toml").write_text(
        f"[mcp_servers.backburner]\n{value}" if value else f"mcp_servers.backburner = {json.dumps(own)}"
    )
    name = ".claude.json" if client == "claude" else ".codex/config.toml"
    before = (person / name).read_text()
    done(client, "--yes")
    assert (person / name).read_text() == before
    done(client, "--undo")
    assert (person / name).read_text() == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "\xff",
        "[" * 9999,
        '{"/x": 1}',
        '{"/x": {}}',
        '{"/x": {"before": 1, "after": ""}}',
        '{"/x": {"before": "a", "after": ""}}',
    ],
)
def test_damaged_copies_are_named_with_a_remedy_and_nothing_changes(person, text):
    fill(person, "claude")
    done("claude", "--yes")
    after = snapshot(person)
    (copies,) = (person / ".local").rglob("install-claude.json")
    copies.write_text(text, encoding="latin-1")
    found = install("claude", "--undo")
    assert found.returncode == 100
    assert f"{copies} is damaged" in found.stderr
    assert "Delete it" in found.stderr
    assert "Traceback" not in found.stderr
    assert snapshot(person) == after
    copies.unlink()
    done("claude", "--undo")
    assert "backburner" not in texts(person)


def test_damaged_copies_are_found_before_any_file_is_changed(person):
    copies = person / ".local/state/backburner/install-claude.json"
    copies.parent.mkdir(parents=True)
    copies.write_text("{")
    before = fill(person, "claude")
    assert install("claude", "--yes").returncode == 100
    assert snapshot(person) == before


def renamed(plain: Path, commented: Path) -> None:
    plain.rename(commented)


def rewritten(plain: Path, commented: Path) -> None:
    commented.write_text("{ // mine\n}")


def copied(plain: Path, commented: Path) -> None:
    commented.write_bytes(plain.read_bytes())


def replaced(plain: Path, commented: Path) -> None:
    plain.unlink()
    commented.write_text("{ // mine\n}")


def deleted(plain: Path, commented: Path) -> None:
    plain.unlink()


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("switch", [renamed, rewritten, copied, replaced, deleted])
def test_undo_finds_the_entries_after_the_file_was_switched(person, switch, filled):
    folder = person / ".config/opencode"
    folder.mkdir(parents=True)
    plain, commented = folder / "opencode.json", folder / "opencode.jsonc"
    if filled:
        plain.write_text('{"theme": "dark"}')
    done("opencode", "--yes")
    switch(plain, commented)
    done("opencode", "--undo")
    assert "backburner" not in texts(person)
    assert texts(person).count("mine") == (switch in (rewritten, replaced))
    if plain.exists():
        assert plain.read_text() == '{"theme": "dark"}'
    assert done("opencode", "--undo") == ""


@every_client
def test_crlf_line_ends_are_kept(person, client):
    fill(person, client)
    for name in FILES[client]:
        (person / name).write_bytes((person / name).read_bytes().replace(b"\n", b"\r\n"))
    before = snapshot(person)
    done(client, "--yes")
    for name in before:
        if b"\n" in before[name][0]:
            text = (person / name).read_bytes()
            assert text.count(b"\r\n") == text.count(b"\n")
        edit_by_hand(person / name)
    done(client, "--undo")
    assert "backburner" not in texts(person)


def test_undo_removes_only_our_entries_from_an_edited_file(person):
    fill(person, "claude")
    done("claude", "--yes")
    for name in (".claude.json", ".claude/settings.json"):
        edit_by_hand(person / name)
    done("claude", "--undo")
    assert read(person / ".claude.json") == {"since": {"mine": True}, "a": 1, "mcp": {}, "half": "\ud83d"}
    settings = without_ours(read(person / ".claude/settings.json"))
    assert settings == {"since": {"mine": True}, **without_ours(json5.loads(COMMENTED))}


@pytest.mark.parametrize(
    ("client", "name", "text", "reason"),
    [
        ("claude", ".claude.json", "{ broken", "line 1 column 9"),
        ("claude", ".claude/settings.json", '{"hooks": []}', "hooks: expected an object, found []"),
        ("claude", ".claude/settings.json", '{"hooks": {"Stop": {}}}', "Stop: expected a list, found {}"),
        ("codex", ".codex/config.toml", "= broken", "line 1, column 1"),
        ("codex", ".codex/config.toml", "mcp_servers = 3", "mcp_servers: expected an object, found 3"),
        ("codex", ".codex/config.toml", 'mcp_servers.a.command = "b"\nc = 1\n', "edit it by hand"),
        ("gemini", ".gemini/settings.json", "[1, 2]", "expected an object, found [1, 2]"),
        ("gemini", ".gemini/settings.json", '{"a": 1e999}', "not JSON compliant"),
        ("opencode", ".config/opencode/opencode.jsonc", '{"mcp": {}, /* */ "mcp": {}}', "two members of the same name"),
        ("opencode", ".config/opencode/opencode.jsonc", "// nothing", "Unexpected EOF"),
    ],
)
def test_file_of_an_unexpected_form_is_named_and_left_unchanged(person, client, name, text, reason):
    path = person / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    before = snapshot(person)
    found = install(client, "--yes")
    assert found.returncode == 100
    assert str(path) in found.stderr
    assert reason in found.stderr
    assert "Traceback" not in found.stderr
    assert snapshot(person) == before


@pytest.mark.parametrize("text", ["mcp_servers = {other = {command = 'x'}}\n", "[mcp_servers]\n# mine\n"])
def test_inline_and_empty_toml_tables_get_the_server(person, text):
    path = person / ".codex/config.toml"
    path.parent.mkdir()
    path.write_text(text)
    done("codex", "--yes")
    assert "backburner" in tomllib.loads(path.read_text())["mcp_servers"]
    done("codex", "--undo")
    assert path.read_text() == text


def test_link_to_a_file_stays_a_link(person):
    (person / "dotfiles").mkdir()
    (person / "dotfiles" / "claude.json").write_text(PLAIN)
    (person / ".claude.json").symlink_to("dotfiles/claude.json")
    done("claude", "--yes")
    assert (person / ".claude.json").is_symlink()
    assert "backburner" in (person / "dotfiles" / "claude.json").read_text()
    done("claude", "--undo")
    assert (person / "dotfiles" / "claude.json").read_text() == PLAIN


@pytest.mark.parametrize("module", ["json5", "tomlkit"])
def test_install_without_its_libraries_names_the_install_command(person, monkeypatch, tmp_path, module):
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError(name={module!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = backburner(Path("unused"), "install", "claude", "--yes")
    assert found.returncode == 100
    assert INSTALL_COMMAND in found.stderr
    assert "Traceback" not in found.stderr
    assert snapshot(person) == {}


def test_installed_hook_command_runs(person):
    done("claude", "--yes")
    hooks = json.loads((person / ".claude/settings.json").read_text())["hooks"]
    assert sorted(hooks) == ["PostToolUse", "SessionStart", "Stop", "UserPromptSubmit"]
    command = hooks["Stop"][0]["hooks"][0]["command"]
    question = json.dumps({"session_id": "S", "hook_event_name": "Stop", "cwd": str(person)})
    ran = subprocess.run(["sh", "-c", command], input=question, capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
