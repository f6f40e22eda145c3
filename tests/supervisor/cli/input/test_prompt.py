from __future__ import annotations

import pytest

from backburner.supervisor.cli.commands.launch import command
from backburner.supervisor.cli.input.prompt import after_options, arrange, suggest_command


@pytest.mark.parametrize(
    ("given", "arranged"),
    [
        (["-x is wrong"], ["--", "-x is wrong"]),
        (["-x is wrong", "--agent", "claude"], ["--agent", "claude", "--", "-x is wrong"]),
        (["--key is missing, add it"], ["--", "--key is missing, add it"]),
        (["-d", "-x is wrong"], ["-d", "-x is wrong"]),
        (["--description=a b", "look"], ["--description=a b", "look"]),
        (["--json", "-x\tis wrong"], ["--json", "--", "-x\tis wrong"]),
        (["-x"], ["-x"]),
    ],
)
def test_word_with_a_blank_and_a_dash_is_a_prompt(given: list[str], arranged: list[str]):
    assert arrange(command, given) == arranged


def test_words_after_the_options_are_found():
    assert after_options(command, ["-k", "make", "--json", "make", "-j4"]) == ["make", "-j4"]


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["make", "test"], "-- make test"),
        (["make test"], "-- make test"),
        (["echo", "a b"], "-- echo 'a b'"),
        (["cat x | wc"], "-c 'cat x | wc'"),
        (["x" * 100], "-- COMMAND [ARG]..."),
        (["two\nlines"], "-- COMMAND [ARG]..."),
        ([], "-- COMMAND [ARG]..."),
    ],
)
def test_suggestion_repeats_a_short_command(words: list[str], written: str):
    assert suggest_command("launch", words) == f"to run a command, write: backburner launch {written}"
