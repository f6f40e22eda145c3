from __future__ import annotations

import os

import pytest

from backburner.ipc.config.environment import (
    EVERYTHING,
    SESSION_MARKS,
    Wanted,
    captured,
    inherited,
    is_foreign,
    layered,
)
from backburner.ipc.config.presets import presets

ENVIRONMENT = {
    "PATH": "/bin",
    "LANG": "C",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "https_proxy": "http://proxy",
    "HOME": "/home/me",
    "MY_TOKEN": "secret",
    "CLAUDECODE": "1",
    "CLAUDE_CODE_SESSION_ID": "ses-1",
    "CLAUDE_CODE_USE_BEDROCK": "1",
    "OPENCODE": "1",
    "BACKBURNER_TASK_ID": "bg-1",
    "AI_AGENT": "x",
    "AI_AGENTS": "two",
    "GIT_DIR": "/elsewhere/.git",
    "LATIN": "\udce9",
}

DEFAULT = Wanted()


def taken(wanted: Wanted = DEFAULT) -> dict[str, str]:
    variables = captured(ENVIRONMENT, wanted).variables
    return {name: value for name, value in variables.items() if value is not None}


def test_program_paths_language_and_proxies_are_stored_by_default():
    names = ("PATH", "LANG", "LC_ALL", "TZ", "https_proxy")
    assert taken() == {name: ENVIRONMENT[name] for name in names}


def test_variables_that_are_not_taken_are_named():
    dropped = captured(ENVIRONMENT, DEFAULT).dropped
    assert set(dropped) == ENVIRONMENT.keys() - taken().keys()
    assert list(dropped) == sorted(dropped)


def test_variables_that_match_a_pattern_are_stored_too():
    assert {"HOME", "MY_TOKEN"} < taken(Wanted(("HOME", "*_TOK?N"))).keys() | {"PATH"}


def test_pattern_takes_no_marks_and_no_place_but_a_full_name_does():
    assert taken(EVERYTHING) == {name: ENVIRONMENT[name] for name in inherited(ENVIRONMENT) if name != "LATIN"}
    assert "CLAUDE_CODE_USE_BEDROCK" in taken(Wanted(("CLAUDE_*",)))
    assert taken(Wanted(("CLAUDECODE", "GIT_DIR"))) == {"CLAUDECODE": "1", "GIT_DIR": "/elsewhere/.git"}


def test_author_of_a_commit_is_not_inherited_from_its_hook_but_from_a_user():
    user = {"GIT_AUTHOR_NAME": "Bot", "GIT_AUTHOR_EMAIL": "bot@example.org"}
    hook = {**user, "GIT_AUTHOR_DATE": "@0 +0000"}
    assert (inherited(user), inherited(hook)) == (user, {})
    assert dict(captured(user, EVERYTHING).variables) == {"*": None, **user}
    assert dict(captured(hook, EVERYTHING).variables) == {"*": None}
    assert dict(captured(hook, Wanted(("GIT_AUTHOR_NAME",))).variables) == {"GIT_AUTHOR_NAME": "Bot"}


def test_variables_that_the_launcher_lacks_hide_those_of_the_supervisor():
    launcher = captured({"PATH": "/bin"}, DEFAULT).variables
    assert layered({"PATH": "/old", "VIRTUAL_ENV": "/v", "LC_TIME": "C", "HOME": "/h"}, launcher) == {
        "PATH": "/bin",
        "HOME": "/h",
    }
    everything = captured({"A": "1"}, EVERYTHING).variables
    assert layered({"HOME": "/h"}, everything) == {"A": "1"}


def test_credentials_are_taken_together_or_not_at_all():
    wanted = Wanted((), ("KEY_*", "URL"))
    assert captured({"HOME": "/h"}, wanted).variables == {}
    mixed = layered({"KEY_A": "old", "URL": "old"}, captured({"KEY_B": "new"}, wanted).variables)
    assert mixed == {"KEY_B": "new"}


def test_foreign_variables_are_recognised_by_name():
    assert all(
        map(is_foreign, ("QWEN_CODE_SESSION_ID", "GEMINI_CLI", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "npm_x", "_"))
    )
    assert not any(map(is_foreign, ("GEMINI_CLI_X", "CLAUDE", "GIT_AUTHOR_NAME", "CODEX_HOME", "OPENCODE_CONFIG")))


def test_session_marks_belong_to_presets_of_which_they_are_no_credentials():
    assert SESSION_MARKS.keys() <= set(presets())


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a monkeypatch to change os.environ, which was captured once."""
    monkeypatch.setenv("LC_TIME", "C")
    assert own()["LC_TIME"] == "C"
    return monkeypatch


def own(wanted: Wanted = DEFAULT):
    return captured(os.environ, wanted).variables


def test_captured_environment_of_this_process_equals_that_of_its_copy():
    assert captured(os.environ, DEFAULT) == captured(dict(os.environ), DEFAULT)


def test_changed_variable_is_captured_at_once(environ):
    environ.setenv("LC_TIME", "de_DE.UTF-8")
    assert own()["LC_TIME"] == "de_DE.UTF-8"
    environ.delenv("LC_TIME")
    assert "LC_TIME" not in own()


def test_changed_patterns_are_applied_at_once(environ):
    environ.setenv("MY_TOKEN", "secret")
    assert "MY_TOKEN" not in own()
    assert own(Wanted(("MY_*",)))["MY_TOKEN"] == "secret"


def test_captured_environment_cannot_be_changed(environ):
    with pytest.raises(TypeError):
        own()["LC_TIME"] = "changed"


def test_variable_that_is_not_utf8_is_not_captured_but_named(environ):
    environ.setenv("LC_NAME", os.fsdecode(b"\xe9"))
    assert "LC_NAME" not in own()
    assert "LC_NAME" in captured(os.environ, DEFAULT).dropped
