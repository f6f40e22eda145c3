"""The documents agree with the code, and read well."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

import backburner as package
from backburner.ipc import errors
from backburner.ipc.bus.protocol import PARAMETERS
from backburner.ipc.config.agents import AGENT_FIELDS
from backburner.ipc.config.presets import presets
from backburner.ipc.config.settings import BackgroundConfig
from backburner.ipc.machine.distribution import INSTALL_COMMAND, UPGRADE_COMMAND
from backburner.ipc.model.event import TYPES
from backburner.ipc.model.task import ERROR_KINDS, MOVES
from backburner.supervisor.cli.app import VERBS
from scripts.prose import LONGEST_SENTENCE, long_sentences
from tests.helpers.places import IPC, ROOT, SUPERVISOR, backburner, checkout_only

DOCS = ROOT / "docs"
PAGES = sorted(str(path.relative_to(ROOT)) for path in DOCS.rglob("*.md"))
TEXTS = {name: (ROOT / name).read_text() for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", *PAGES)}
README, CHANGELOG = TEXTS["README.md"], TEXTS["CHANGELOG.md"]
RECORDING, DRAWING = ((DOCS / "images" / name).read_text() for name in ("claude-code.cast", "claude-code.svg"))

#: The lines of a README that is read in two minutes.
LONGEST_README = 150

#: The rows of the table of promises, at least.
PROMISES = 75

#: Pages and README, which show how to install and to use the program.
USER_TEXTS = {name: text for name, text in TEXTS.items() if name not in ("CHANGELOG.md", "CONTRIBUTING.md")}
TRANSCRIBED = [name for name, text in TEXTS.items() if "<!-- transcript -->" in text]

each_document = pytest.mark.parametrize("name", TEXTS)
each_page = pytest.mark.parametrize("name", USER_TEXTS)


def page(name: str) -> str:
    """Return the text of a page below `docs/`."""
    return TEXTS[f"docs/{name}.md"]


def between(text: str, first: str, last: str) -> str:
    """Return the part of a document from one phrase to the next."""
    return text.split(first, 1)[1].split(last, 1)[0]


def first_cells(text: str) -> list[str]:
    """Return the names in the first columns of all tables."""
    return re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)


def test_diagram_shows_every_move_and_no_other():
    diagram = between(page("explanation/architecture"), "```mermaid\nstateDiagram", "```")
    shown = re.findall(r"^ +(\w+) --> (\w+)", diagram, re.MULTILINE)
    assert len(shown) == len(set(shown))
    assert set(shown) == {(str(was), str(becomes)) for was, becomes in MOVES}
    assert re.findall(r"\[\*\] --> (\w+)", diagram) == ["pending"]


def test_socket_page_has_every_method():
    assert sorted(re.findall(r"^<!-- method: (\w+) -->", page("reference/socket"), re.MULTILINE)) == sorted(PARAMETERS)


def test_configuration_page_has_every_setting():
    assert sorted(first_cells(page("reference/configuration"))) == sorted(BackgroundConfig.__dataclass_fields__)


def test_agents_page_has_every_setting_of_an_agent():
    table = between(page("reference/agents"), "<!-- columns: agent -->", "\n\n")
    assert sorted(first_cells(table)) == sorted(AGENT_FIELDS.fields)


def test_error_kinds_page_has_every_kind():
    assert sorted(first_cells(page("reference/error-kinds"))) == sorted(ERROR_KINDS)


def test_events_page_has_every_type():
    assert sorted(re.findall(r"^## (\w+)", page("reference/events"), re.MULTILINE)) == sorted(TYPES)


def test_exit_codes_page_has_the_code_of_every_error():
    known = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and hasattr(one, "exit_code")}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", page("reference/exit-codes"), re.MULTILINE)}
    assert known <= listed


@checkout_only
def test_manual_page_is_made_of_the_help_of_all_commands():
    from scripts import man_page

    assert man_page.PAGE.read_text() == man_page.page(), "write it with: .venv/bin/python -m scripts.man_page"


def test_python_page_has_every_public_name():
    shown = set(re.findall(r"^<!-- python: (\w+) -->", page("reference/python"), re.MULTILINE))
    public = {name: getattr(package, name) for name in package.__all__}
    known = {name for name, one in public.items() if not (isinstance(one, type) and issubclass(one, Exception))}
    aliases = {name for name in known if getattr(public[name], "__name__", name) != name}
    assert shown == known - aliases


@each_document
def test_commands_that_are_shown_exist(name: str):
    shown = re.findall(r"(?:`|^\$ )backburner (?:--home \S+ )?([a-z]+)", TEXTS[name], re.MULTILINE)
    assert set(shown) <= set(VERBS)


@checkout_only
@each_document
def test_links_lead_to_files(name: str):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", TEXTS[name])
    inner = [link for link in links if not link.startswith("https://")]
    assert [link for link in inner if not (ROOT / name).parent.joinpath(link).exists()] == []


@each_document
def test_source_files_that_are_named_exist(name: str):
    named = re.findall(r"`((?:ipc|supervisor)/[\w/]+\.(?:py|sql))`", TEXTS[name])
    assert [one for one in named if not _place(one).exists()] == []


def _place(name: str) -> Path:
    package, _, rest = name.partition("/")
    return {"ipc": IPC, "supervisor": SUPERVISOR}[package] / rest


@checkout_only
@each_document
def test_scripts_that_are_named_exist(name: str):
    named = re.findall(r"`(?:\w+ )?(scripts/[\w-]+(?:/\w+)?(?:\.\w+)?)", TEXTS[name])
    assert [one for one in named if not (ROOT / one).exists()] == []


@each_page
def test_configuration_that_is_shown_is_valid(name: str):
    for block in re.findall(r"^```toml\n(.*?)^```", TEXTS[name], re.DOTALL | re.MULTILINE):
        BackgroundConfig.of(tomllib.loads(block))


@each_page
def test_only_the_install_and_upgrade_commands_install_the_program(name: str):
    shown = re.findall(r"(?:pipx|pip|uv tool|uv pip) (?:re)?(?:install|upgrade) [^\n`#]*[^\n`# ]", TEXTS[name])
    assert set(shown) <= {INSTALL_COMMAND, UPGRADE_COMMAND}


def test_readme_shows_the_install_command():
    assert f"$ {INSTALL_COMMAND}\n" in README


def test_every_promise_is_kept_by_an_existing_test():
    promises = page("explanation/promises")
    rows = [row.split("|")[1:-1] for row in promises.splitlines() if row.startswith("| ") and "---" not in row]
    kept = [row for row in rows if row[1].strip() != "tests"]
    known = {
        (path.stem, name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def test_(\w+)\(", path.read_text(), re.MULTILINE)
    }
    assert len(kept) >= PROMISES
    assert [row for row in kept if "`" not in row[1]] == []
    assert [name for name in re.findall(r"`(test_\w+)::(\w+)`", promises) if name not in known] == []


def test_every_preset_is_documented_and_has_a_run_unless_it_was_not_tried():
    shown = re.findall(r"^\$ backburner launch --agent ([\w-]+)", page("reference/agents"), re.MULTILINE)
    assert sorted({*shown, "goose", "cursor-agent"}) == sorted(presets())


def recording() -> str:
    """Return what the recorded terminal shows from its beginning to its end."""
    head, *events = map(json.loads, RECORDING.splitlines())
    assert (head["version"], head["width"] > 0, head["height"] > 0) == (2, True, True)
    times = [when for when, kind, text in events if kind == "o" and isinstance(text, str)]
    assert len(times) == len(events)
    assert times == sorted(times)
    return "".join(text for _, _, text in events).replace("\r", "")


def test_recording_shows_a_notification_after_the_task_has_ended():
    launched, after = recording().split("$ backburner wait -\n")
    assert "$ backburner install claude --yes" in launched
    assert "$ claude -p " in launched
    notification = (
        r"hook additional context: <background-tasks>\n1 background task completed.*\n- bg-\S+ \[.+\] completed in "
    )
    assert re.search(notification, after)
    assert not re.search(notification, launched)


def test_recording_names_no_folder_of_the_machine_where_it_was_made():
    assert set(re.findall(r"(?<![\w.:])/\w+/\w+", recording())) <= {"/home/me", "/dev/null"}


def test_drawing_shows_what_was_recorded():
    texts = [text.text or "" for text in ElementTree.fromstring(DRAWING).iter("{http://www.w3.org/2000/svg}text")]
    shown = recording()
    assert [text for text in texts if text not in shown] == []
    assert "<background-tasks>" in "".join(texts)


def test_changelog_has_the_version():
    assert f"## [{backburner().version}]" in CHANGELOG


def test_readme_is_short():
    assert len(README.splitlines()) <= LONGEST_README


@each_document
def test_sentences_are_short(name: str):
    found = [f"line {one.line}, {one.length} words: {one.text}" for one in long_sentences(TEXTS[name])]
    assert found == [], f"a sentence has at most {LONGEST_SENTENCE} words"


@checkout_only
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", TRANSCRIBED)
def test_transcripts_show_what_happens(name: str):
    from scripts.docs.transcript import updated

    assert updated(TEXTS[name]) == TEXTS[name], "run scripts/transcript"
