from __future__ import annotations

from ipc.environment import captured, inherited, is_foreign

AROUND = {
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


def test_what_is_stored_unasked_is_where_programs_are_and_how_they_talk():
    assert captured(AROUND) == {"PATH": "/bin", "LANG": "C", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def test_names_and_patterns_are_stored_besides():
    found = captured(AROUND, ["HOME", "*_TOK?N"])
    assert {"HOME", "MY_TOKEN"} < found.keys()


def test_nobody_elses_session_is_stored_even_by_a_pattern_for_all():
    assert captured(AROUND, ["*"]) == inherited(AROUND)
    assert set(inherited(AROUND)) == {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "MY_TOKEN", "AI_AGENTS"}


def test_what_is_foreign_is_told_by_its_name():
    assert is_foreign("QWEN_CODE_X")
    assert is_foreign("GEMINI_CLI")
    assert not is_foreign("GEMINI_CLI_X")
    assert not is_foreign("CLAUDE")
