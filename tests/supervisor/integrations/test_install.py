"""An agent's client is set up by additions to its files, which are shown, made, and taken back byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.supervisor.integrations import json_edit
from backburner.supervisor.integrations.client_files import CLIENTS
from tests.helpers.commands import backburner

#: What a user may have in a file already, as hard to keep as it can be.
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
PLAIN = '{"a":1,"mcp":{}}'
TOML = 'model = "x"  # mine\n\n[mcp_servers.other]\ncommand = "other"'

FILES = {
    "claude": {".claude.json": PLAIN, ".claude/settings.json": COMMENTED},
    "codex": {".codex/config.toml": TOML, ".codex/hooks.json": COMMENTED},
    "opencode": {".config/opencode/opencode.jsonc": COMMENTED},
    "gemini": {".gemini/settings.json": COMMENTED},
}


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user's folder."""
    folder = tmp_path / "person"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name in ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return folder


def install(*words: str) -> subprocess.CompletedProcess[str]:
    return backburner(Path("unused"), "install", *words)


def done(*words: str) -> str:
    """What a command prints that must succeed."""
    found = install(*words)
    assert found.returncode == 0, found.stderr
    return found.stdout


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The user's files, but for what we remember."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".local" not in path.parts]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode) for path in files}


def fill(folder: Path, client: str) -> dict[str, tuple[bytes, int]]:
    """Give the user files of that client."""
    for name, text in FILES[client].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o640)
    return snapshot(folder)


@pytest.mark.parametrize("filled", [False, True], ids=["nothing there", "full of the user's own"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_change_is_shown_made_once_and_taken_back_byte_for_byte(person, client, filled):
    before = fill(person, client) if filled else {}
    shown = done(client)
    assert snapshot(person) == before
    assert done(client, "--yes") == shown
    after = snapshot(person)
    assert after.keys() == {str(file.path.relative_to(person)) for file in CLIENTS[client](["x"], person, {})}
    assert done(client) == done(client, "--yes") == ""
    assert snapshot(person) == after
    removed = {line for text, _ in before.values() for line in text.decode().splitlines()} - {
        line for text, _ in after.values() for line in text.decode().splitlines()
    }
    assert all(line.rstrip(" []{},") in shown for line in removed)
    assert done(client, "--undo") != ""
    assert snapshot(person) == before
    assert done(client, "--undo") == ""


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Puts the installation that the commands name into another folder; where its program is then."""

    def move(name: str) -> Path:
        program = tmp_path / name / "bin" / "backburner"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return program

    return move


def texts(folder: Path) -> str:
    return "".join(text.decode() for text, _ in snapshot(folder).values())


@pytest.mark.parametrize("filled", [False, True], ids=["nothing there", "full of the user's own"])
@pytest.mark.parametrize("client", CLIENTS)
def test_an_installation_that_was_moved_is_named_where_it_is_now(person, client, filled, moved):
    before = fill(person, client) if filled else {}
    old = moved("old venv")
    done(client, "--yes")
    count = texts(person).count(str(old))
    new = moved("new")
    shown = done(client, "--yes")
    assert str(old) in shown and str(new) in shown
    assert (texts(person).count(str(old)), texts(person).count(str(new))) == (0, count)
    assert install(client, "--yes").stderr == f"backburner: {client} is set up already\n"
    assert done(client, "--undo") != ""
    assert snapshot(person) == before


@pytest.mark.parametrize("client", CLIENTS)
def test_the_layout_of_the_first_installation_is_that_of_the_second(person, client, moved):
    fill(person, client)
    old = moved("old")
    done(client, "--yes")
    before = texts(person)
    new = moved("new")
    done(client, "--yes")
    assert texts(person) == before.replace(str(old), str(new))


@pytest.mark.parametrize("client", CLIENTS)
def test_what_others_wrote_between_two_installations_stays_and_all_of_ours_goes(person, client, moved):
    moved("old")
    done(client, "--yes")
    for name in snapshot(person):
        with (person / name).open("r+") as file:
            text = file.read()
            file.seek(0)
            file.write(
                f"{text}# since\n" if name.endswith("toml") else json_edit.add(text, (), "since", {"mine": True})
            )
    moved("new")
    done(client, "--yes")
    assert done(client, "--undo") != ""
    assert "backburner" not in texts(person)
    assert texts(person).count("since") == len(snapshot(person))


def test_what_the_user_added_to_ours_is_kept_when_the_installation_was_moved(person, moved):
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
        {"command": "backburner", "args": ["mcp"]},
        {"command": "/opt/backburner", "args": ["--home", "/x", "mcp"]},
        {"command": "/opt/other", "args": ["mcp"]},
        {"command": 7, "args": 7},
        ["/opt/backburner", "mcp"],
    ],
)
def test_what_no_installation_of_ours_wrote_is_the_users(person, own):
    before = json.dumps({"mcpServers": {"backburner": own}})
    (person / ".claude.json").write_text(before)
    done("claude", "--yes")
    assert (person / ".claude.json").read_text() == before


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
def test_a_damaged_memory_is_named_with_what_to_do_and_nothing_is_changed(person, text):
    fill(person, "claude")
    done("claude", "--yes")
    after = snapshot(person)
    (memory,) = (person / ".local").rglob("install-claude.json")
    memory.write_text(text, encoding="latin-1")
    found = install("claude", "--undo")
    assert found.returncode == 100
    assert f"{memory} is damaged" in found.stderr
    assert "Delete it" in found.stderr
    assert "Traceback" not in found.stderr
    assert snapshot(person) == after
    memory.unlink()
    done("claude", "--undo")
    assert "backburner" not in texts(person)


def test_a_damaged_memory_is_found_before_a_file_is_changed(person):
    memory = person / ".local/state/backburner/install-claude.json"
    memory.parent.mkdir(parents=True)
    memory.write_text("{")
    before = fill(person, "claude")
    assert install("claude", "--yes").returncode == 100
    assert snapshot(person) == before


def renamed(plain: Path, commented: Path) -> None:
    plain.rename(commented)


def written_anew(plain: Path, commented: Path) -> None:
    commented.write_text("{ // mine\n}")


def copied(plain: Path, commented: Path) -> None:
    commented.write_bytes(plain.read_bytes())


def moved_on(plain: Path, commented: Path) -> None:
    plain.unlink()
    commented.write_text("{ // mine\n}")


def deleted(plain: Path, commented: Path) -> None:
    plain.unlink()


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("switch", [renamed, written_anew, copied, moved_on, deleted])
def test_whichever_of_its_files_the_user_went_on_with_undo_takes_ours_out(person, switch, filled):
    folder = person / ".config/opencode"
    folder.mkdir(parents=True)
    plain, commented = folder / "opencode.json", folder / "opencode.jsonc"
    if filled:
        plain.write_text('{"theme": "dark"}')
    done("opencode", "--yes")
    switch(plain, commented)
    done("opencode", "--undo")
    assert "backburner" not in texts(person)
    assert texts(person).count("mine") == (switch in (written_anew, moved_on))
    if plain.exists():
        assert plain.read_text() == '{"theme": "dark"}'
    assert done("opencode", "--undo") == ""


@pytest.mark.parametrize("client", ["claude", "gemini"])
def test_comments_and_layout_of_the_user_stay_as_they_are(person, client):
    fill(person, client)
    done(client, "--yes")
    name = ".claude/settings.json" if client == "claude" else ".gemini/settings.json"
    text = (person / name).read_text()
    for line in ("// mine, since 2024", '\t"theme": "dark", /* not light */', "// keep", '"command": "say done"'):
        assert line in text
    events = json_edit.found(text, ("hooks",))
    assert len(events["Stop"]) == (2 if client == "claude" else 1)
    assert [name for name, hooks in events.items() if "hook --client" in str(hooks)]


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("{\n  // mine\n}\n", '{\n  // mine\n  "k": {\n    "ours": 1\n  }\n}\n'),
        ("{ // mine\n}", '{ // mine\n  "k": {\n    "ours": 1\n  }\n}'),
        ("{ /* mine */\n}", '{ /* mine */\n  "k": {\n    "ours": 1\n  }\n}'),
        ('{"k": { // mine\n}}', '{"k": { // mine\n  "ours": 1\n}}'),
        ('{\n  "k": {\n    // mine\n  }\n}', '{\n  "k": {\n    // mine\n    "ours": 1\n  }\n}'),
        ('{"k": {\n  "a": [] // of a\n}}', '{"k": {\n  "a": [], // of a\n  "ours": 1\n}}'),
        (
            '{"k": {\n  "a": [] /* of a */ // too\n  // last\n}}',
            '{"k": {\n  "a": [], /* of a */ // too\n  "ours": 1\n  // last\n}}',
        ),
        ('{"k": {"a": "http://x"}} // mine', '{"k": {"a": "http://x", "ours": 1}} // mine'),
    ],
)
def test_no_comment_is_lost_and_none_is_about_something_else_when_ours_comes_and_goes(text, more):
    assert json_edit.add(text, ("k",), "ours", 1) == more
    assert json_edit.remove(more, ("k", "ours")) == text


def test_of_a_list_of_members_with_a_comma_at_its_end_the_comment_is_still_about_the_last_one():
    more = json_edit.add('{\n  "a": 1, // of a\n}', (), "ours", 1)
    assert more == '{\n  "a": 1, // of a\n  "ours": 1\n}'
    assert json_edit.remove(more, ("ours",)) == '{\n  "a": 1 // of a\n}'


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"ours": 1, // about ours\n "a": 1}', '{// about ours\n "a": 1}'),
        ('{"a": 1, // about a\n "ours": 1}', '{"a": 1 // about a\n}'),
        ('{"ours": 1 // about ours\n}', "{ // about ours\n}"),
        ('{// about ours\n"ours": 1}', "{// about ours\n}"),
        ('{"ours": 1, /* c */}', "{ /* c */}"),
        ('{"a": 1, "ours": 2, "b": 3}', '{"a": 1, "b": 3}'),
        ('{"ours": 1, "a": "//", "b": 3}', '{"a": "//", "b": 3}'),
    ],
)
def test_what_is_taken_away_leaves_the_comments_beside_it(text, left):
    assert json_edit.remove(text, ("ours",)) == left
    assert "ours" not in json_edit.parse(left).value


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"k": [] /* mine */, "b": 1}', '{/* mine */ "b": 1}'),
        ('{"k": [] // mine\n, "b": 1}', '{// mine\n "b": 1}'),
        ('{\n  "k": [] /* mine */, // too\n  "b": 1\n}', '{\n  /* mine */ // too\n  "b": 1\n}'),
        ('{"k": /* mine */ [], "b": 1}', '{/* mine */ "b": 1}'),
        ('{"k": // mine\n []}', "{ // mine\n}"),
        ('{"a": 1, "k" /* mine */: /* too */ []}', '{"a": 1 /* mine */ /* too */}'),
        ('{"a": 1, "k": // mine\n [], "b": 1}', '{"a": 1 // mine\n, "b": 1}'),
    ],
)
def test_of_the_users_empty_list_that_goes_with_ours_every_comment_stays(text, left):
    assert json_edit.remove(json_edit.add(text, ("k",), None, "ours"), ("k", 0)) == left
    assert "k" not in json_edit.parse(left).value


@pytest.mark.parametrize("client", CLIENTS)
def test_lines_end_as_the_users_do(person, client):
    fill(person, client)
    for name in FILES[client]:
        (person / name).write_bytes((person / name).read_bytes().replace(b"\n", b"\r\n"))
    before = snapshot(person)
    done(client, "--yes")
    after = snapshot(person)
    assert all(
        text.count(b"\r\n") == text.count(b"\n") for name, (text, _) in after.items() if b"\n" in before[name][0]
    )
    for name in before:  # where the files themselves are not known any more
        (person / name).write_bytes((person / name).read_bytes() + b"\r\n")
    done(client, "--undo")
    assert "backburner" not in texts(person)
    assert all(text.count(b"\r\n") == text.count(b"\n") for text, _ in snapshot(person).values())


def test_lines_that_end_in_different_ways_stay_as_they_are(person):
    (person / ".claude.json").write_bytes(b'{\r\n  "a": 1,\n  "b": 2\r\n}')
    done("claude", "--yes")
    text = (person / ".claude.json").read_bytes()
    assert text.startswith(b'{\r\n  "a": 1,\n  "b": 2,\n')
    assert text.endswith(b"\r\n}")


def test_what_is_added_to_a_comment_that_ends_its_file_is_no_part_of_it():
    text = json_edit.add("// mine", ("mcp",), "backburner", {"enabled": True})
    assert json_edit.parse(text).value == {"mcp": {"backburner": {"enabled": True}}}


def test_what_the_user_changed_since_stays_and_ours_goes(person):
    fill(person, "claude")
    done("claude", "--yes")
    for name in (".claude.json", ".claude/settings.json"):
        path = person / name
        path.write_text(json_edit.add(path.read_text(), (), "since", {"mine": True}))
    done("claude", "--undo")
    servers, settings = ((person / name).read_text() for name in (".claude.json", ".claude/settings.json"))
    assert json_edit.parse(servers).value == {"a": 1, "mcp": {}, "since": {"mine": True}}
    assert json_edit.parse(settings).value["since"] == {"mine": True}
    assert "backburner" not in servers + settings
    assert "// mine, since 2024" in settings


def test_a_server_of_that_name_that_the_user_made_is_left_to_the_user(person):
    own = {"mcpServers": {"backburner": {"command": "mine"}}}
    (person / ".claude.json").write_text(json.dumps(own))
    done("claude", "--yes")
    assert json.loads((person / ".claude.json").read_text()) == own
    done("claude", "--undo")
    assert json.loads((person / ".claude.json").read_text()) == own


@pytest.mark.parametrize(
    ("client", "name", "text"),
    [
        ("claude", ".claude.json", "{ broken"),
        ("claude", ".claude/settings.json", '{"hooks": []}'),
        ("codex", ".codex/config.toml", "mcp_servers = {other = {command = 'x'}}\n"),
        ("codex", ".codex/config.toml", "= broken"),
        ("gemini", ".gemini/settings.json", "[1, 2]"),
    ],
)
def test_a_file_that_is_not_as_expected_is_left_as_it_is_and_named(person, client, name, text):
    path = person / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    before = snapshot(person)
    found = install(client, "--yes")
    assert found.returncode == 100
    assert str(path) in found.stderr
    assert "Traceback" not in found.stderr
    assert snapshot(person) == before


@pytest.mark.parametrize(
    "text", ["[mcp_servers.backburner]\ncommand = '/x/backburner mcp'\n", "mcp_servers.backburner = 'mine'\n"]
)
def test_a_table_that_is_not_in_our_form_is_left_to_the_user(person, text):
    path = person / ".codex/config.toml"
    path.parent.mkdir()
    path.write_text(text)
    before = snapshot(person)
    assert done("codex", "--undo") == ""
    assert snapshot(person) == before


def test_a_link_to_a_file_stays_a_link(person):
    (person / "dotfiles").mkdir()
    (person / "dotfiles" / "claude.json").write_text(PLAIN)
    (person / ".claude.json").symlink_to("dotfiles/claude.json")
    done("claude", "--yes")
    assert (person / ".claude.json").is_symlink()
    assert "backburner" in (person / "dotfiles" / "claude.json").read_text()
    done("claude", "--undo")
    assert (person / "dotfiles" / "claude.json").read_text() == PLAIN


def test_codex_gets_toml_that_says_what_it_said_before_and_our_server(person):
    fill(person, "codex")
    done("codex", "--yes")
    text = (person / ".codex/config.toml").read_text()
    assert text.startswith(TOML)
    found = tomllib.loads(text)
    assert found["mcp_servers"]["backburner"]["args"][-1] == "mcp"
    assert found["mcp_servers"]["other"] == {"command": "other"}


def test_what_is_written_for_a_hook_can_be_run(person):
    done("claude", "--yes")
    hooks = json.loads((person / ".claude/settings.json").read_text())["hooks"]
    assert sorted(hooks) == ["PostToolUse", "SessionStart", "Stop", "UserPromptSubmit"]
    command = hooks["Stop"][0]["hooks"][0]["command"]
    question = json.dumps({"session_id": "S", "hook_event_name": "Stop", "cwd": str(person)})
    ran = subprocess.run(["sh", "-c", command], input=question, capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.sampled_from([None, 1, 2, "\t"]), VALUES)
def test_an_addition_says_what_was_said_and_one_thing_more_and_can_be_taken_away(document, indent, value):
    text = json.dumps(document, indent=indent)
    for key in ("k-new", "k-newer"):
        more = json_edit.add(text, (), key, value)
        assert json_edit.parse(more).value == json.loads(more) == {**document, key: value}
        if document:
            assert json_edit.remove(more, (key,)) == text
        text, document = more, {**document, key: value}


@pytest.mark.parametrize("text", ["{", "[1 2]", '{"a" 1}', '{"a": }', "{} {}", '{"a": 1 "b": 2}', "nonsense", "{1: 2}"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError):
        json_edit.parse(text)
