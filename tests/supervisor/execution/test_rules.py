"""The rules of agents on hostile and on large outputs."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from backburner.ipc.config.agents import AgentConfig
from backburner.ipc.config.extract import read
from backburner.ipc.config.presets import presets
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG
from backburner.ipc.home import Home
from backburner.supervisor.execution import verdict
from backburner.supervisor.execution.output_files import READABLE, AttemptFiles
from backburner.supervisor.execution.verdict import SLOW_RULES, Output, cause_of, outcome_of, session_of
from backburner.supervisor.system.signals import TimeLimitExceeded, time_limit

#: A regular expression that takes exponential time for `SLOW`.
ENDLESS = "stdout~(a+)+$"
SLOW = "a" * 60 + "b"

#: Parts of texts for which careless patterns take quadratic time or more.
PARTS = [
    " ",
    "\n",
    "Repo-map: ",
    "Repo-map: x\n",
    "\nTokens: a ",
    "litellm.aError: x\n",
    "\nlitellm.",
    'level=ERROR error.error="\\',
    '"result": "',
    "Error: ",
]

REGEXES = [
    (name, rule)
    for name in presets()
    for agent in [DEFAULT_BACKGROUND_CONFIG.agent(name)]
    for rule in (agent.result, *agent.failed_if, *agent.error)
    if rule.startswith(("stdout~", "stderr~"))
]


@pytest.mark.parametrize(("name", "rule"), REGEXES)
def test_pattern_of_a_preset_takes_linear_time(name: str, rule: str):
    size = 4096 if rule.startswith("stderr~") else 200_000
    for part in PARTS:
        text = f"Repo-map: x\n{part * (size // len(part))}x\nRetrying in 1"
        began = time.process_time()
        read(rule, text, text)
        assert time.process_time() - began < 1, part


@pytest.fixture
def _short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "MAX_RULE_SECONDS", 0.1)


@pytest.mark.usefixtures("_short_limit")
def test_pattern_that_takes_too_long_fails_the_attempt_and_not_the_worker():
    for rules in (AgentConfig(failed_if=(ENDLESS,)), AgentConfig(result=ENDLESS)):
        outcome = outcome_of(0, Output(SLOW, ""), rules)
        assert (outcome.error, outcome.error_kind) == (SLOW_RULES, "failed")
    assert cause_of(Output(SLOW, ""), AgentConfig(error=(ENDLESS,))) == ""
    assert outcome_of(256, Output(SLOW, "no"), AgentConfig(error=(ENDLESS,))).error == "exit code 1: no"
    assert session_of(Output(SLOW, "", "assigned"), AgentConfig(session=ENDLESS)) == "assigned"


def test_time_limit_ends_with_its_block():
    former = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeLimitExceeded), time_limit(0.01):
        signal.pause()
    remaining, _ = signal.getitimer(signal.ITIMER_REAL)
    with time_limit(1000):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] <= remaining
    assert signal.getsignal(signal.SIGALRM) is former


def test_other_threads_have_no_time_limit():
    def use() -> None:
        with time_limit(0.001):
            done.append(threading.current_thread().name)

    done: list[str] = []
    thread = threading.Thread(target=use, name="other")
    thread.start()
    thread.join()
    assert done == ["other"]


def test_rules_see_the_head_and_the_tail_of_a_large_output(home: Path):
    files = AttemptFiles(Home(home).prepare(), 7)
    with open(files.paths["stdout"], "wb") as file:
        file.write(b'{"first": 1}\n')
        file.truncate(READABLE * 2)
        file.seek(0, 2)
        file.write(b'\n{"result": "the answer"}\n')
    text = files.text("stdout")
    assert (read("jsonl:result", text), read("jsonl:first", text)) == ("the answer", "1")
    assert len(text) <= READABLE + 1
