"""The presets' rules against recorded output of their agents (tests/data/transcripts, of the versions in `tried`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backburner.ipc.config.agents import BUILT_IN, AgentConfig
from backburner.ipc.config.presets import preset, presets
from backburner.ipc.config.settings import DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
from backburner.supervisor.execution.verdict import Output, cause_of, indicates_failure, outcome_of

TRANSCRIPTS = Path(__file__).parents[1] / "data" / "transcripts"
BAD = ("401", "429", "500")
#: Answers of successful runs. Some resemble the agent's failures except for a detail.
GOOD = {
    "ok": "pong from mock",
    "tool": "pong from mock",
    "patch": "pong from mock",
    "quote": "litellm.RateLimitError: RateLimitError: OpenAIException - Rate limit reached",
    "uncommitted": "Applied edit to a.txt",
}
RECORDED = sorted((path.parent.name, path.stem) for path in TRANSCRIPTS.glob("*/*.stdout"))
TRIED = [name for name in presets() if preset(name).get("tried")]

#: A message about each failure contains one of these texts.
CAUSES = {
    "401": ("401", "invalid api key"),
    "429": ("429", "rate limit reached"),
    "500": ("500", "internal server error", "high demand"),
}
#: Syntax of rules and JSON, which must not appear in a cause.
RAW = re.compile(r"[{}\\]|jsonl?\+?:|std(?:out|err)~")


def recorded(name: str, mode: str) -> Output:
    """Return the recorded output of an agent that was given the session `given`."""
    texts = [TRANSCRIPTS / name / f"{mode}.{stream}" for stream in ("stdout", "stderr")]
    return Output(*(path.read_text() if path.exists() else "" for path in texts), session="given")


@pytest.mark.parametrize("name", presets())
def test_preset_is_a_valid_configuration(name: str):
    config = BackgroundConfig.of({"agents": {name: preset(name)}, "default_agent": name})
    assert config.agent(name) == DEFAULT_BACKGROUND_CONFIG.agent(name)
    assert config.agent(name).command


def test_each_tested_agent_has_transcripts_of_a_success_and_of_each_failure():
    expected = {(name, mode) for name in TRIED for mode in ("ok", *BAD)}
    assert expected <= set(RECORDED)
    assert {name for name, _ in RECORDED} == set(TRIED)


@pytest.mark.parametrize(("name", "mode"), [one for one in RECORDED if one[1] in GOOD])
def test_successful_run_has_a_result_and_a_session(name: str, mode: str):
    outcome = outcome_of(0, recorded(name, mode), DEFAULT_BACKGROUND_CONFIG.agent(name))
    assert (outcome.error, outcome.error_kind) == (None, None)
    assert GOOD[mode] in (outcome.result or "")
    assert outcome.session is not None
    assert outcome.session == "given" or outcome.session in recorded(name, mode).stdout


@pytest.mark.parametrize(("name", "mode"), [one for one in RECORDED if one[1] in BAD])
@pytest.mark.parametrize("code", [0, 1])
def test_failed_run_has_an_error_with_a_cause_for_each_exit_code(name: str, mode: str, code: int):
    agent = DEFAULT_BACKGROUND_CONFIG.agent(name)
    if code == 0 and not agent.failed_if:
        pytest.skip(f"{name} reports failures by its exit code")
    outcome = outcome_of(code << 8, recorded(name, mode), agent)
    assert outcome.error_kind == ("exit" if code else "failed")
    assert any(word in (outcome.error or "") for word in CAUSES[mode]), outcome.error
    assert not RAW.search(outcome.error or ""), outcome.error


def test_cause_is_found_for_an_agent_that_retried_until_its_timeout():
    agent = DEFAULT_BACKGROUND_CONFIG.agent("opencode")
    assert cause_of(recorded("opencode", "retrying"), agent) == ": AI_APICallError: mock: rate limit reached"


@pytest.mark.parametrize(
    ("stdout", "error"),
    [
        ('{"bad": true}', 'It says that it failed: {"bad": true}'),
        ("PANIC", "It says that it failed: PANIC"),
        ('{"other": 1}', 'It ended well, but without an answer: {"other": 1}'),
        ("", "It ended well, but without an answer."),
    ],
)
def test_error_of_a_failure_with_exit_code_0_quotes_the_agent(stdout: str, error: str):
    agent = AgentConfig(result="json:answer", failed_if=("json:bad", "stdout~(?s)PANIC.*"))
    assert outcome_of(0, Output(stdout, ""), agent).error == error


@pytest.mark.parametrize(
    ("name", "rule"), [(name, rule) for name in TRIED for rule in DEFAULT_BACKGROUND_CONFIG.agent(name).failed_if]
)
def test_each_failed_if_rule_matches_only_transcripts_of_failures(name: str, rule: str):
    proofs = [mode for agent, mode in RECORDED if agent == name and indicates_failure(rule, recorded(name, mode))]
    assert proofs and set(proofs) <= set(BAD)


def test_configured_agent_overrides_its_preset_key_by_key():
    plain = DEFAULT_BACKGROUND_CONFIG.agent("claude")
    config = BackgroundConfig.of({"agents": {"claude": {"model": "opus", "env": {"A": "b"}, "failed_if": []}}})
    changed = config.agent("claude")
    assert (changed.model, changed.failed_if) == ("opus", ())
    assert changed.env == {**plain.env, "A": "b"}
    assert (changed.command, changed.result) == (plain.command, plain.result)
    assert config.to_json()["agents"] == {"claude": {"model": "opus", "env": changed.env, "failed_if": []}}
    assert BackgroundConfig.from_json(config.to_json()) == config


def test_built_in_agents_have_no_preset():
    assert not set(BUILT_IN) & set(presets())
