"""What the documents say is what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from backburner.ipc.bus.handlers import PARAMETERS
from backburner.ipc.config.presets import presets
from backburner.ipc.config.settings import AGENT, BackgroundConfig
from backburner.ipc.model.task import MOVES
from backburner.supervisor.cli.app import VERBS
from tests.helpers.places import IPC, ROOT, SUPERVISOR, backburner, checkout_only

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/agents.md")
RECORDING, DRAWING = ((ROOT / "docs" / name).read_text() for name in ("told.cast", "told.svg"))
README, ARCHITECTURE, CHANGELOG, _, AGENTS = texts = [(ROOT / name).read_text() for name in DOCUMENTS]

#: What README's longest documents may not outgrow, in lines.
LONGEST_README = 260

#: What users of others suffer, in rows.
MOST_PAINS = 75

WORD = r"`([a-zA-Z]+)`"


def between(text: str, first: str, last: str) -> str:
    """The part of a document from one phrase to the next."""
    return text.split(first, 1)[1].split(last, 1)[0]


def test_the_diagram_shows_the_moves_and_no_other():
    diagram = between(ARCHITECTURE, "```mermaid", "```")
    shown = re.findall(r"^ +(\w+) --> (\w+)", diagram, re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert set(shown) == {(str(was), str(becomes)) for was, becomes in MOVES}
    assert re.findall(r"\[\*\] --> (\w+)", diagram) == ["pending"]


def test_the_table_of_methods_has_every_method_of_the_socket():
    rows = between(README, "| method |", "\n\n").splitlines()[2:]
    shown = [name for row in rows for name in re.findall(WORD, row.split("|")[1])]
    assert sorted(shown) == sorted(PARAMETERS)


def test_every_command_is_documented_and_no_other():
    listed = between(README, "`backburner COMMAND --help`", "\n\n")
    assert sorted(re.findall(WORD, listed)) == sorted(VERBS)


@pytest.mark.parametrize("text", texts, ids=DOCUMENTS)
def test_every_command_that_is_shown_exists(text: str):
    shown = re.findall(r"(?:`|^\$ )backburner ([a-z]+)", text, re.MULTILINE)
    assert set(shown) <= set(VERBS)


def test_a_command_that_is_planned_does_not_exist_yet():
    planned = between(CHANGELOG, "Planned, and not there yet:", "\n#")
    assert set(re.findall(WORD, planned)) & set(VERBS) <= {"prune"}


@checkout_only
@pytest.mark.parametrize("text", texts, ids=DOCUMENTS)
def test_links_lead_somewhere(text: str):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("https://")]
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("text", texts, ids=DOCUMENTS)
def test_files_that_are_named_exist(text: str):
    named = re.findall(r"`((?:ipc|supervisor)/[\w/]+\.(?:py|sql))`", text)
    assert [name for name in named if not _place(name).exists()] == []


def _place(name: str) -> Path:
    package, _, rest = name.partition("/")
    return {"ipc": IPC, "supervisor": SUPERVISOR}[package] / rest


def test_every_promise_is_kept_by_a_test_that_is_there():
    promises = ARCHITECTURE.split("## Promises", 1)[1]
    rows = [row.split("|")[1:-1] for row in promises.splitlines() if row.startswith("| ") and "---" not in row]
    named = re.findall(r"`(test_\w+)::(\w+)`", promises)
    known = {
        (path.stem, name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def test_(\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(rows) > MOST_PAINS
    assert [row for row in rows[1:] if "`" not in row[1] and row[1].strip() != "kept by"] == []
    assert [name for name in named if name not in known] == []


@checkout_only
def test_every_script_that_is_named_is_there():
    named = {name for text in texts for name in re.findall(r"`(?:\w+ )?(scripts/[\w-]+(?:\.\w+)?)", text)}
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_configuration_in_the_readme_is_one():
    BackgroundConfig.of(tomllib.loads(between(README, "```toml\n", "```")))


def test_the_agents_that_are_documented_are_those_that_are_known():
    shown = re.findall(r"launch --agent ([\w-]+)", AGENTS)
    assert sorted({*shown, "goose", "cursor-agent"}) == sorted(presets())
    tables = [tomllib.loads(part) for part in re.findall(r"```toml\n(.*?)```", AGENTS, re.DOTALL)]
    assert all(BackgroundConfig.of(table) for table in tables)


def test_the_readme_has_a_run_of_five_lines_of_every_agent_that_was_tried():
    runs = [
        run.splitlines() for run in re.findall(r"```console\n(\$ backburner launch --agent .*?)```", README, re.DOTALL)
    ]
    shown = [run[0].split("--agent ")[1].split()[0] for run in runs]
    assert sorted([*shown, "goose", "cursor-agent"]) == sorted(presets())
    assert [run for run in runs if len(run) != 5 or not run[4].startswith("result ")] == []


def recording() -> str:
    """What the recorded terminal shows from its beginning to its end."""
    head, *events = map(json.loads, RECORDING.splitlines())
    assert (head["version"], head["width"] > 0, head["height"] > 0) == (2, True, True)
    times = [when for when, kind, text in events if kind == "o" and isinstance(text, str)]
    assert len(times) == len(events)
    assert times == sorted(times)
    return "".join(text for _, _, text in events).replace("\r", "")


def test_the_recording_shows_an_agent_being_told():
    shown = recording()
    (launched, after) = shown.split("$ backburner wait -\n")
    assert "$ backburner install claude --yes" in launched
    assert "$ claude -p " in launched
    notice = (
        r"hook additional context: <background-tasks>\n1 background task completed.*\n- bg-\S+ \[.+\] completed in "
    )
    assert re.search(notice, after)
    assert not re.search(notice, launched)


def test_the_recording_has_no_folder_of_the_machine_where_it_was_made():
    assert set(re.findall(r"(?<![\w.:])/\w+/\w+", recording())) == {"/home/me"}


def test_the_drawing_shows_what_was_recorded():
    texts = [text.text or "" for text in ElementTree.fromstring(DRAWING).iter("{http://www.w3.org/2000/svg}text")]
    shown = recording()
    assert [text for text in texts if text not in shown] == []
    assert "<background-tasks>" in "".join(texts)


def test_every_setting_of_an_agent_is_documented():
    listed = re.findall(r"`(\w+)`", between(AGENTS, "| key | says |", "\n\n"))
    assert set(AGENT.fields) <= set(listed)


def test_the_version_has_its_changes():
    assert f"## [{backburner().version}]" in CHANGELOG


def test_the_readme_is_short():
    assert len(README.splitlines()) <= LONGEST_README


@checkout_only
def test_the_transcripts_are_what_happens():
    check = [sys.executable, str(ROOT / "scripts" / "transcript.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, f"run scripts/transcript\n{done.stdout}{done.stderr}"
