from __future__ import annotations

import os

import pytest

from backburner.ipc.config.environment import captured, inherited, is_foreign

ENVIRONMENT = {
    "PATH": "/bin",
    "LANG": "C",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/home/me",
    "MY_TOKEN": "secret",
    "CLAUDECODE": "1",
    "CLAUDE_CODE_SESSION_ID": "ses-1",
    "OPENCODE": "1",
    "BACKBURNER_TASK_ID": "bg-1",
    "AI_AGENT": "x",
    "AI_AGENTS": "two",
    "LATIN": "\udce9",
}


def test_only_program_paths_and_language_are_stored_by_default():
    assert captured(ENVIRONMENT) == {"PATH": "/bin", "LANG": "C", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def test_variables_that_match_pass_env_are_stored_too():
    found = captured(ENVIRONMENT, ["HOME", "*_TOK?N"])
    assert {"HOME", "MY_TOKEN"} < found.keys()


def test_variables_of_another_session_are_never_stored():
    assert captured(ENVIRONMENT, ["*"]) == inherited(ENVIRONMENT)
    assert set(inherited(ENVIRONMENT)) == {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "MY_TOKEN", "AI_AGENTS"}


def test_foreign_variables_are_recognised_by_name():
    assert is_foreign("QWEN_CODE_X")
    assert is_foreign("GEMINI_CLI")
    assert not is_foreign("GEMINI_CLI_X")
    assert not is_foreign("CLAUDE")


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a monkeypatch to change os.environ, which was captured once."""
    monkeypatch.setenv("LC_TIME", "C")
    assert captured(os.environ)["LC_TIME"] == "C"
    return monkeypatch


def test_captured_environment_of_this_process_equals_that_of_its_copy():
    assert captured(os.environ, ["HOME"]) == captured(dict(os.environ), ["HOME"])


def test_changed_variable_is_captured_at_once(environ):
    environ.setenv("LC_TIME", "de_DE.UTF-8")
    assert captured(os.environ)["LC_TIME"] == "de_DE.UTF-8"
    environ.delenv("LC_TIME")
    assert "LC_TIME" not in captured(os.environ)


def test_changed_patterns_are_applied_at_once(environ):
    environ.setenv("MY_TOKEN", "secret")
    assert "MY_TOKEN" not in captured(os.environ)
    assert captured(os.environ, ["MY_*"])["MY_TOKEN"] == "secret"


def test_changing_a_captured_environment_does_not_change_the_next(environ):
    captured(os.environ)["LC_TIME"] = "changed"
    assert captured(os.environ)["LC_TIME"] == "C"


def test_variable_that_is_not_utf8_is_not_captured(environ):
    environ.setenv("LC_NAME", os.fsdecode(b"\xe9"))
    assert "LC_NAME" not in captured(os.environ)
