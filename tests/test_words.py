"""The check of words reports prose that a reader would read twice, and accepts plain English."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.words import MAX_SUBJECT, check_comments, check_document, check_source, check_statement, check_subject
from tests.helpers.places import ROOT, checkout_only

pytestmark = checkout_only

#: Docstrings, comments, help and sentences that must be rewritten.
OLD_STYLE = {
    "docstring": [
        "Whether any of it is left.",
        "What a task wrote.",
        "Who holds the role.",
        "Return what was told next, if anything was.",
        "Bury the dead worker and begin its task anew.",
        "The supervisor hears of a change on this pipe.",
    ],
    "comment": [
        "whoever holds the lock is dead by now",
        "nobody waits for this answer",
        "it goes on as before",
        "so it stays",
        "what comes of it is stored",
        "mend what the crash left",
    ],
    "help": ["Say so many words.", "Print it without a word.", "Run it in a session of its own."],
    "script": ["makes the folder anew", "for whoever runs it"],
    "document": [
        "The session is told when its tasks end.",
        "There is no task of that name.",
        "The supervisor says in clear words what is wrong.",
        "A program who connects is served.",
        "The heirs of a session get its events.",
    ],
}

PLAIN = {
    "docstring": ["Return the next notification, or None.", "Yield the tasks whose owner has died."],
    "comment": ["SQLite keeps its locks per process, not per descriptor"],
    "script": ["recreates the folder"],
    "help": ["Print a task's output.", "Stop an attempt that runs longer. [default: no timeout]"],
    "document": ["The session that launched the task is notified.", "Ask a person who knows `whoever`."],
}


def findings(kind: str, sentence: str, folder: Path) -> list[str]:
    texts = {
        "docstring": f'"""A module."""\n\n\ndef work():\n    """{sentence}"""\n',
        "comment": f"# {sentence}\n",
        "help": f"option(help={sentence!r})\n",
        "script": f"#!/bin/sh\nset -e  # {sentence}\n",
        "document": f"# Title\n\n{sentence}\n",
    }
    path = folder / "text"
    path.write_text(texts[kind])
    check = {"document": check_document, "script": check_comments}.get(kind, check_source)
    return [str(one) for one in check(path, path.name)]


def listed(texts: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(kind, sentence) for kind, sentences in texts.items() for sentence in sentences]


@pytest.mark.parametrize(("kind", "sentence"), listed(OLD_STYLE))
def test_sentence_of_the_old_style_is_reported(kind: str, sentence: str, tmp_path: Path):
    assert findings(kind, sentence, tmp_path)


@pytest.mark.parametrize(("kind", "sentence"), listed(PLAIN))
def test_plain_sentence_is_accepted(kind: str, sentence: str, tmp_path: Path):
    assert findings(kind, sentence, tmp_path) == []


def test_long_sentence_of_a_document_is_reported_with_its_line(tmp_path: Path):
    (found,) = findings("document", "word " * 30 + "end.", tmp_path)
    assert found.startswith("text:3: a sentence of 31 words (at most 30)")


def test_row_of_a_table_is_checked(tmp_path: Path):
    assert findings("document", "| key | What nobody reads. |", tmp_path)


def test_name_of_a_function_is_checked(tmp_path: Path):
    path = tmp_path / "test_it.py"
    path.write_text("def test_list_says_what_it_waits_for():\n    pass\n")
    assert len(list(check_source(path, path.name))) == 1


@pytest.mark.parametrize(("length", "count"), [(80, 0), (81, 1)])
def test_name_of_a_test_has_at_most_80_characters(length: int, count: int, tmp_path: Path):
    path = tmp_path / "test_it.py"
    path.write_text(f"def test_{'x' * (length - 5)}():\n    pass\n")
    assert len(list(check_source(path, path.name))) == count


def test_comment_of_a_statement_is_checked(tmp_path: Path):
    path = tmp_path / "get_it.sql"
    path.write_text("-- What nobody reads.\nSELECT 1\n")
    assert [str(one)[:12] for one in check_statement(path, path.name)] == ["get_it.sql:1"]


@pytest.mark.parametrize(
    "subject",
    [
        "Closed the pipe",
        "Closes the pipe",
        "close the pipe",
        "Close the pipe.",
        "Tell whoever waits",
        "x".join(["Close "] * 14),
    ],
)
def test_subject_that_is_no_plain_imperative_is_reported(subject: str):
    assert list(check_subject(subject))


def test_plain_subject_is_accepted():
    subject = "Close inherited worker pipes in forked children"
    assert len(subject) <= MAX_SUBJECT
    assert list(check_subject(subject)) == []


def test_commit_message_hook_fails_and_names_what_is_wrong(tmp_path: Path):
    message = tmp_path / "message"
    message.write_text("Closed the pipe\n\nWhy.\n")
    command = [sys.executable, ROOT / "scripts" / "words.py", "--message", message]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "imperative" in done.stdout
