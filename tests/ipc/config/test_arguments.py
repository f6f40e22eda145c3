from __future__ import annotations

import pytest

from backburner.ipc.config.agents import AgentConfig
from backburner.ipc.config.arguments import arguments_of
from backburner.ipc.config.settings import BackgroundConfig

TEMPLATE = ("agent", "-p", "--mode", "edit", ("--model", "{model}"), "{args}", "-")
VALUES = {"{model}": "", "{prompt}": "hello"}


@pytest.mark.parametrize(
    ("further", "found"),
    [
        ((), ["-p", "--mode", "edit", "-"]),
        (("--verbose", "x"), ["-p", "--mode", "edit", "--verbose", "x", "-"]),
        (("--mode=plan",), ["-p", "--mode=plan", "-"]),
        (("--mode", "plan"), ["-p", "--mode", "plan", "-"]),
        (("-p", "--model", "m"), ["--mode", "edit", "-p", "--model", "m", "-"]),
        (('{"{prompt}": 1}',), ["-p", "--mode", "edit", '{"{prompt}": 1}', "-"]),
    ],
)
def test_further_arguments_replace_options_of_the_same_name(further: tuple[str, ...], found: list[str]):
    assert list(arguments_of(TEMPLATE, further, VALUES)) == ["agent", *found]


def test_further_arguments_come_last_if_the_template_has_no_place_for_them():
    assert list(arguments_of(("agent", ("--model", "{model}")), ("-v",), {"{model}": "m"})) == [
        "agent",
        "--model",
        "m",
        "-v",
    ]


def test_args_of_an_agent_are_checked_like_its_command():
    config = BackgroundConfig.of({"agents": {"claude": {"args": ["--add-dir", "/tmp"]}}})
    assert config.agent("claude").args == ("--add-dir", "/tmp")
    assert config.agent("claude").credentials, "the preset has the others"
    assert AgentConfig().args == ()
