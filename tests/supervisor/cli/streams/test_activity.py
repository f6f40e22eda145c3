from __future__ import annotations

import io
import json
from typing import Any

import pytest

from backburner.ipc.config.agents import AgentConfig
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.supervisor.cli.streams.activity import activity, is_readable
from backburner.supervisor.cli.streams.sinks import Descriptor

CLAUDE: list[Any] = [
    {"type": "system", "subtype": "init", "session_id": "s"},
    {"type": "assistant", "message": {"content": [{"type": "text", "text": "I run\nthe tests."}]}},
    {
        "type": "assistant",
        "message": {"content": [{"type": "tool_use", "name": "Bash", "input": {"command": "make \x1b[31mtest\n"}}]},
    },
    {"type": "user", "message": {"content": [{"type": "tool_result", "content": "ok"}]}},
    {"type": "assistant", "message": {"content": [{"type": "text", "text": "All is well."}]}},
    {"type": "result", "is_error": False, "result": "All is well.", "usage": {"input_tokens": 1}},
]
CODEX: list[Any] = [
    {"type": "thread.started", "thread_id": "t"},
    {"type": "item.started", "item": {"type": "command_execution", "command": "bash -lc ls"}},
    {"type": "item.completed", "item": {"type": "agent_message", "text": "Two files."}},
    {"type": "turn.failed", "error": {"message": "no more quota"}},
]
GEMINI: list[Any] = [
    {"type": "message", "role": "assistant", "content": "Hello, I ", "delta": True},
    {"type": "message", "role": "assistant", "content": "read it.\nThen", "delta": True},
    {"type": "tool_use", "tool_name": "read_file", "parameters": {"path": "a.py"}},
    {"type": "message", "role": "assistant", "content": "Done.", "delta": True},
    {"type": "result", "stats": {"total_tokens": 3}},
]
OPENCODE: list[Any] = [
    {"type": "tool_use", "part": {"tool": "edit", "state": {"input": {"filePath": "x.py", "old": "a"}}}},
    {"type": "text", "part": {"text": "Edited."}},
]
GOOSE: list[Any] = [{"messages": [{"content": [{"text": "The answer."}]}]}]


def shown(agent: AgentConfig, output: bytes, size: int = 7) -> list[str]:
    """Return the lines for an output that arrives in pieces of this many bytes."""
    file = io.BytesIO()
    sink = activity(Descriptor(file), agent)
    for start in range(0, len(output), size):
        sink.write(output[start : start + size])
        sink.flush()
    sink.finish()
    return file.getvalue().decode().splitlines()


@pytest.mark.parametrize(
    ("name", "documents", "lines"),
    [
        ("claude", CLAUDE, ["I run", "the tests.", "• Bash: make test", "All is well."]),
        ("codex", CODEX, ["• bash -lc ls", "Two files.", "no more quota"]),
        ("gemini", GEMINI, ["Hello, I read it.", "Then", "• read_file: a.py", "Done."]),
        ("opencode", OPENCODE, ["• edit: x.py", "Edited."]),
        ("goose", GOOSE, ["The answer."]),
    ],
)
def test_output_of_an_agent_becomes_messages_and_tool_calls(name: str, documents: list[Any], lines: list[str]):
    agent = DEFAULT_BACKGROUND_CONFIG.agent(name)
    assert is_readable(agent)
    assert shown(agent, b"".join(json.dumps(document).encode() + b"\n" for document in documents)) == lines


@pytest.mark.parametrize("line", [b"a warning \x1b[2J\x07of node", b"{not json", b'[1, "{"]', b"\xff\xfe"])
def test_line_that_is_not_json_is_shown_without_controls(line: bytes):
    assert all(text.isprintable() for text in shown(DEFAULT_BACKGROUND_CONFIG.agent("claude"), line))


def test_incomplete_document_is_shown_as_it_is():
    assert shown(DEFAULT_BACKGROUND_CONFIG.agent("goose"), b'{"messages": [') == ['{"messages": [']


@pytest.mark.parametrize("name", ["aider", "command", "external"])
def test_agent_that_writes_text_needs_no_rules(name: str):
    assert not is_readable(DEFAULT_BACKGROUND_CONFIG.agent(name))
