"""The progress of an agent, by the lines in its output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.supervisor.execution import progress
from backburner.supervisor.execution.progress import Progress

RULES = {"tool": ["jsonl:tool"], "message": ["jsonl:say"], "tokens": ["jsonl:in", "jsonl:out"], "cost": ["jsonl:cost"]}
TRANSCRIPTS = Path(__file__).parents[2] / "data" / "transcripts"


def write(path: Path, *documents: object, end: str = "\n") -> None:
    """Append lines of JSON."""
    with path.open("a") as file:
        file.write("\n".join(json.dumps(document) for document in documents) + end)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_progress_is_reported_once_per_change(path: Path):
    watched = Progress(str(path), RULES, 1000, 0.0)
    assert watched.check(1.0) is None
    write(path, {"tool": "Bash"}, {"say": "working\non it"})
    assert watched.check(2.0) == "1 tool call, last Bash: working on it"
    assert watched.check(3.0) is None
    write(path, {"tool": "Read"}, {"in": 1000, "out": 234}, {"out": 1, "cost": 0.25, "say": None}, {"cost": 0.5})
    assert watched.check(4.0) == "2 tool calls, last Read; 1,235 tokens; $0.7500: working on it"


def test_incomplete_line_is_read_once_it_is_complete(path: Path):
    watched = Progress(str(path), RULES, 1000, 0.0)
    write(path, {"say": "first"}, {"say": "second"}, end="")
    assert watched.check(1.0) == "first"
    with path.open("a") as file:
        file.write("\nnoise {\n\n[1]\n")
    assert watched.check(2.0) == "second"


def test_long_message_is_cut(path: Path):
    write(path, {"say": "x" * 1000})
    found = Progress(str(path), RULES, 1000, 0.0).check(1.0)
    assert found is not None and len(found) == progress.MAX_MESSAGE and found.endswith("x…")


def test_output_that_grows_too_fast_is_read_from_its_end(path: Path, monkeypatch):
    monkeypatch.setattr(progress, "MAX_READ", 1000)
    watched = Progress(str(path), RULES, 1000, 0.0)
    write(path, {"say": "old"}, *({"x": "y" * 100} for _ in range(50)), {"say": "new"})
    assert watched.check(1.0) == "new"


def test_line_longer_than_a_check_reads_is_skipped(path: Path, monkeypatch):
    monkeypatch.setattr(progress, "MAX_READ", 100)
    watched = Progress(str(path), RULES, 1000, 0.0)
    for _ in range(3):
        with path.open("a") as file:
            file.write("x" * 60)
        assert watched.check(1.0) is None
    write(path, {"say": "rest of the long line"}, {"say": "new"})
    assert watched.check(2.0) == "new"


def test_check_is_due_after_each_interval_and_never_without_rules(path: Path):
    watched = Progress(str(path), RULES, 1500, 10.0)
    assert watched.next_at == 11.5
    watched.check(12.0)
    assert watched.next_at == 13.5
    write(path, {"say": "x"})
    for rules, interval in (({}, 1000), (RULES, 0)):
        silent = Progress(path, rules, interval, 0.0)
        assert silent.check(1.0) is None
        assert silent.next_at == float("inf")


@pytest.mark.parametrize(
    ("name", "mode", "text"),
    [
        ("claude", "tool", "1 tool call, last Write; 36 tokens; $0.0003: pong from mock"),
        ("codex", "tool", "1 tool call, last /bin/bash -lc 'printf hello > a.txt'; 36 tokens: pong from mock"),
        ("codex", "patch", "2 tool calls, last file_change; 54 tokens: pong from mock"),
        ("gemini", "tool", "1 tool call, last write_file; 36 tokens: pong from mock"),
        ("opencode", "tool", "1 tool call, last write; 36 tokens; $0.0064: pong from mock"),
        ("qwen", "tool", "1 tool call, last write_file; 36 tokens: pong from mock"),
    ],
)
def test_presets_report_tools_tokens_cost_and_messages(name: str, mode: str, text: str):
    rules = DEFAULT_BACKGROUND_CONFIG.agent(name).progress
    assert Progress(TRANSCRIPTS / name / f"{mode}.stdout", rules, 1000, 0.0).check(1.0) == text
