from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import fields, replace
from pathlib import Path

import pytest

from backburner.ipc.config.agents import BUILT_IN, AgentConfig
from backburner.ipc.config.files import FILE_LIMIT, check, load, read, sources
from backburner.ipc.config.presets import presets
from backburner.ipc.config.settings import CONFIG, DEFAULT_BACKGROUND_CONFIG, BackgroundConfig
from backburner.ipc.errors import BadConfiguration, UnknownAgent
from backburner.ipc.home import Home
from tests.helpers.places import IMPORT_ROOT

CLAUDE = """
    [agents.claude]
    command = ["claude", "-p", "--model", "{model}", "--output-format", "json"]
    stdin = "{prompt}"
    result = "json:result"
    failed_if = ["json:is_error", "stdout~^Error"]
    session = "json:session_id"
    model = "sonnet"
    completion = "exit"
    leave_children = false
    env = { SOME_FLAG = "1" }
    [agents.python]
    interpreter = "/usr/bin/python3"
"""


class Places:
    """A user's, a project's and a home's configuration file, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.deep = self.project / "a" / "b"
        self.home = Home(self.project / ".backburner")
        self.files = {
            "user": folder / "xdg" / "backburner" / "config.toml",
            "project": self.project / "backburner.toml",
            "home": self.home.config,
        }
        self.deep.mkdir(parents=True)

    def write(self, which: str, text: str) -> Path:
        path = self.files[which]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(0o600)
        return path

    def load(self, **overrides: object) -> BackgroundConfig:
        return load(self.home, self.deep, overrides)

    def mistakes(self) -> list[tuple[str, str]]:
        return [(Path(one.file).parent.name, one.key) for one in check(self.home, self.deep)]


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return Places(tmp_path)


def refused(values: object) -> BadConfiguration:
    with pytest.raises(BadConfiguration) as caught:
        BackgroundConfig.of(values)
    return caught.value


def test_without_any_file_the_defaults_are_in_force(places):
    assert places.load() == DEFAULT_BACKGROUND_CONFIG == BackgroundConfig()
    assert sources(places.home, places.deep) == []


def test_the_defaults_are_those_that_are_documented():
    document = DEFAULT_BACKGROUND_CONFIG.to_json()
    assert document == {
        "default_agent": "",
        "default_concurrency": 3,
        "max_workers": 16,
        "max_tasks_per_parent": 0,
        "autostart": True,
        "polling_interval_ms": 2000,
        "stability_threshold": 3,
        "min_stability_time_ms": 10000,
        "progress_interval_ms": 5000,
        "stale_timeout_ms": 2700000,
        "stale_action": "notify",
        "output_limit_mb": 64,
        "notification_batch_window_ms": 1000,
        "notification_max_batch": 5,
        "max_queue_wait_s": 0,
        "task_timeout_s": 0,
        "retry_base_ms": 1000,
        "retry_max_ms": 300000,
        "shutdown_grace_s": 30,
        "kill_grace_s": 5,
        "worker_idle_s": 10,
        "durability": "full",
        "retention_days": 30,
        "pass_env": [],
        "on_batch": [],
        "model_concurrency": {"opus": 2, "sonnet": 3, "haiku": 5},
        "agents": {},
    }


def test_later_files_win_key_by_key_and_overrides_win_over_all(places):
    places.write("user", "max_workers = 1\nkill_grace_s = 1\nretention_days = 1\ntask_timeout_s = 1")
    places.write("project", "max_workers = 2\nkill_grace_s = 2\nretention_days = 2")
    places.write("home", "max_workers = 3\nkill_grace_s = 0.5")
    config = places.load(max_workers=4)
    assert (config.max_workers, config.kill_grace_s, config.retention_days, config.task_timeout_s) == (
        4,
        0.5,
        2,
        1,
    )


def test_the_nearest_project_file_upward_counts_and_no_farther_one(places):
    places.write("project", "max_workers = 2\nretention_days = 2")
    near = places.deep.parent / "backburner.toml"
    near.write_text("max_workers = 3")
    near.chmod(0o644)
    assert (places.load().max_workers, places.load().retention_days) == (3, 30)
    assert sources(places.home, places.deep) == [near]


def test_the_user_file_is_below_config_in_the_users_folder_when_xdg_says_nothing(places, monkeypatch, tmp_path):
    places.files["user"] = tmp_path / "me" / ".config" / "backburner" / "config.toml"
    path = places.write("user", "max_workers = 9")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert sources(places.home, places.deep) == [path]


def test_models_and_agents_are_merged_key_by_key(places):
    places.write("user", CLAUDE + '[model_concurrency]\nopus = 7\n"anthropic/*" = 8')
    places.write("project", '[agents.claude]\nmodel = "opus"\nenv = { OTHER = "2" }\n[model_concurrency]\nopus = 1')
    config = places.load()
    assert config.model_concurrency == {"opus": 1, "sonnet": 3, "haiku": 5, "anthropic/*": 8}
    claude = config.agent("claude")
    assert (claude.command[0], claude.model) == ("claude", "opus")
    assert claude.env.items() >= {"SOME_FLAG": "1", "OTHER": "2"}.items()


def test_the_documented_agent_is_taken_whole(places):
    places.write("home", CLAUDE)
    config = places.load(default_agent="claude")
    assert config.agent("claude") == replace(
        DEFAULT_BACKGROUND_CONFIG.agent("claude"),
        command=("claude", "-p", "--model", "{model}", "--output-format", "json"),
        stdin="{prompt}",
        result="json:result",
        failed_if=("json:is_error", "stdout~^Error"),
        session="json:session_id",
        model="sonnet",
        env={**DEFAULT_BACKGROUND_CONFIG.agent("claude").env, "SOME_FLAG": "1"},
    )
    assert config.agent("python").interpreter == "/usr/bin/python3"
    assert config.agent_names[:4] == (*BUILT_IN, "claude")
    assert set(config.agent_names) == {*BUILT_IN, *presets()}


def test_an_unknown_agent_is_refused_naming_those_there_are(places):
    places.write("home", CLAUDE)
    with pytest.raises(UnknownAgent, match=r"'nobody'.*command, python, external, claude"):
        places.load().agent("nobody")


def test_a_built_in_agent_needs_no_entry():
    assert [DEFAULT_BACKGROUND_CONFIG.agent(name) for name in BUILT_IN] == [AgentConfig()] * 3


def test_all_mistakes_of_all_files_are_told_at_once_with_file_key_and_what_was_expected(places):
    user = places.write("user", "max_workers = 0\n[model_concurrency]\nopus = -1")
    project = places.write("project", 'colour = "red"\n[agents.x]\ncommand = ["run", "{nothing}"]')
    home = places.write("home", 'durability = "some"\nkill_grace_s = "5"\ndefault_agent = "y"')
    with pytest.raises(BadConfiguration) as caught:
        places.load()
    lines = str(caught.value).splitlines()
    assert lines[0] == "The configuration has 7 mistakes:"
    assert lines[1:3] == [
        f"{user}: max_workers: expected a whole number from 1 to 1000000, got 0",
        f"{user}: model_concurrency.opus: expected a whole number from 0 to 1000000, got -1",
    ]
    assert lines[3].startswith(f"{project}: colour: expected a known name")
    assert lines[4].startswith(f"{project}: agents.x.command[1]: expected no other placeholders than {{prompt}} ")
    assert lines[5:] == [
        f"{home}: durability: expected one of full, normal, got 'some'",
        f"{home}: kill_grace_s: expected a number from 0 to 315360000, got '5'",
        f"{home}: default_agent: expected one of command, python, external, x, {', '.join(presets())}, got 'y'",
    ]
    assert caught.value.exit_code == 100


def test_a_mistake_in_an_override_is_blamed_on_the_flags(places):
    found = check(places.home, places.deep, {"max_workers": "many"})
    assert [(one.file, one.key) for one in found] == [("flags", "max_workers")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("max_workers = 3\n\nmax_workers == 4\n", 3),
        ("max_workers = 3\nmax_workers = 4\n", 2),
        ('a = 1\nb = """open', 2),
        ("a = 1\nb = " + "9" * 10_000, 2),
    ],
)
def test_a_syntax_error_is_a_mistake_with_its_line(places, text, line):
    path = places.write("project", text)
    (found,) = check(places.home, places.deep)
    assert (found.file, found.line) == (str(path), line)
    assert str(found).startswith(f"{path}:{line}: expected valid TOML (")


def test_text_that_is_not_utf_8_is_a_mistake_with_its_line(places):
    path = places.write("home", "")
    path.write_bytes(b"max_workers = 3\n# caf\xe9\n")
    (found,) = check(places.home, places.deep)
    assert (found.line, found.expected) == (2, "UTF-8")


def test_a_file_nested_beyond_reason_is_a_mistake_and_no_crash(places):
    places.write("home", "a = " + "[" * 200_000)
    assert places.mistakes() == [(".backburner", "")]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(places, mode):
    places.write("project", "max_workers = 2").chmod(mode)
    with pytest.raises(BadConfiguration, match=f"others may not write .*, got mode {mode:04o}"):
        places.load()


def test_a_file_of_another_user_is_refused(places, monkeypatch):
    path = places.write("project", "max_workers = 2")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BadConfiguration, match="a file of yours or of root's, got one that belongs to uid"):
        places.load()


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(places):
    places.files["home"].parent.mkdir()
    os.mkfifo(places.files["home"], 0o600)
    places.files["project"].mkdir()
    assert places.mistakes() == [("project", ""), (".backburner", "")]


def test_a_huge_file_is_refused(places):
    places.write("home", "#" * (FILE_LIMIT + 1))
    assert places.mistakes() == [(".backburner", "")]


def test_a_link_that_leads_nowhere_is_a_mistake(places):
    places.files["project"].symlink_to("nowhere")
    (found,) = check(places.home, places.deep)
    assert (found.expected, found.got) == ("a file that can be read", "No such file or directory")


def test_an_agent_needs_a_command_in_one_of_the_files(places):
    places.write("user", '[agents.x]\nstdin = "{prompt}"')
    places.write("home", '[agents.x]\nmodel = "opus"')
    (found,) = check(places.home, places.deep)
    assert (found.file, found.key) == (str(places.home.config), "agents.x.command")
    places.write("project", '[agents.x]\ncommand = ["run"]')
    assert check(places.home, places.deep) == []


def test_an_agent_that_may_stand_in_an_unreadable_file_is_not_called_missing(places):
    places.write("user", "= broken")
    places.write("home", 'default_agent = "claude"')
    assert places.mistakes() == [("backburner", "")]


def test_commands_that_need_nothing_of_a_broken_file_get_the_rest(places):
    places.write("user", "max_workers = 5")
    places.write("project", "= broken")
    places.write("home", "retention_days = -1")
    config, mistakes = read(places.home, places.deep)
    assert (config.max_workers, config.retention_days, len(mistakes)) == (5, 30, 2)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"stale_action": "kill"}, "stale_action"),
        ({"stability_threshold": 0}, "stability_threshold"),
        ({"polling_interval_ms": 0}, "polling_interval_ms"),
        ({"max_workers": True}, "max_workers"),
        ({"retry_base_ms": 0.5}, "retry_base_ms"),
        ({"shutdown_grace_s": float("inf")}, "shutdown_grace_s"),
        ({"autostart": "yes"}, "autostart"),
        ({"pass_env": "HOME"}, "pass_env"),
        ({"pass_env": ["HOME", ""]}, "pass_env[1]"),
        ({"model_concurrency": {"anthropic/*": "many"}}, "model_concurrency.'anthropic/*'"),
        ({"model_concurrency": ["opus"]}, "model_concurrency"),
        ({"default_agent": "nobody"}, "default_agent"),
        ({"agents": {"a b": {"command": ["x"]}}}, "agents.'a b'"),
        ({"agents": {"x": {}}}, "agents.x.command"),
        ({"agents": {"x": {"command": []}}}, "agents.x.command"),
        ({"agents": {"x": {"command": "claude -p"}}}, "agents.x.command"),
        ({"agents": {"x": {"command": ["a", 1]}}}, "agents.x.command[1]"),
        ({"agents": {"x": {"command": ["a", "--id={uid}"]}}}, "agents.x.command[1]"),
        ({"agents": {"x": {"command": ["a"], "stdin": "{Prompt} {prompts}"}}}, "agents.x.stdin"),
        ({"agents": {"x": {"command": ["a"], "result": "json"}}}, "agents.x.result"),
        ({"agents": {"x": {"command": ["a"], "result": "json:"}}}, "agents.x.result"),
        ({"agents": {"x": {"command": ["a"], "session": "stdout"}}}, "agents.x.session"),
        ({"agents": {"x": {"command": ["a"], "failed_if": ["json:"]}}}, "agents.x.failed_if[0]"),
        ({"agents": {"x": {"command": ["a"], "failed_if": ["stdout~("]}}}, "agents.x.failed_if[0]"),
        ({"agents": {"x": {"command": ["a"], "failed_if": ["stdin~x"]}}}, "agents.x.failed_if[0]"),
        ({"agents": {"x": {"command": ["a"], "error": ["stderr~("]}}}, "agents.x.error[0]"),
        ({"agents": {"x": {"command": ["a"], "result": "jsonl:a[b]"}}}, "agents.x.result"),
        ({"agents": {"x": {"command": ["a", []]}}}, "agents.x.command[1]"),
        ({"agents": {"x": {"command": ["a", ["{uid}"]]}}}, "agents.x.command[1][0]"),
        ({"agents": {"x": {"command": ["a", "{session}"]}}}, "agents.x.command[1]"),
        ({"agents": {"x": {"command": ["a"], "resume": ["{session} {id}"]}}}, "agents.x.resume[0]"),
        ({"agents": {"x": {"command": ["a"], "progress": {"tools": []}}}}, "agents.x.progress.tools"),
        ({"agents": {"x": {"command": ["a"], "progress": {"tool": ["stdout~x"]}}}}, "agents.x.progress.tool[0]"),
        ({"agents": {"x": {"command": ["a"], "timeout_s": -1}}}, "agents.x.timeout_s"),
        ({"agents": {"x": {"command": ["a"], "completion": "never"}}}, "agents.x.completion"),
        ({"agents": {"x": {"command": ["a"], "env": {"A=B": "c"}}}}, "agents.x.env.'A=B'"),
        ({"agents": {"x": {"command": ["a"], "env": {"A": 1}}}}, "agents.x.env.A"),
        ({"agents": {"x": {"command": ["a"], "interpreter": "python"}}}, "agents.x.interpreter"),
        ({"agents": {"python": {"command": ["python"]}}}, "agents.python.command"),
        ({"agents": {"command": {"command": ["sh"]}}}, "agents.command.command"),
        ({"agents": {"external": {"env": {}}}}, "agents.external.env"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(values, key):
    assert refused(values).field == key


@pytest.mark.parametrize(
    "agent",
    [
        {"command": ["sh", "-c", "echo ${HOME} ${x}", '{"json": 1}', "{}"]},
        {"command": ["a"], "result": "jsonl:item.text"},
        {"command": ["a"], "result": "last-line"},
        {"command": ["a", ["-m", "{model}"]], "resume": ["a", "{session}", ["-m", "{model}"]], "session": "{uuid}"},
        {"command": ["a"], "result": "jsonl+:a.*.b[c=d][e.f=]", "error": ["stderr~x", "json:a"]},
        {"command": ["a"], "progress": {"tool": ["jsonl:a"], "cost": ["jsonl:b", "jsonl:c"]}},
        {"command": ["a", "{prompt_file}", "{description}{task_id}{parent_session_id}{uuid}"]},
        {"command": ["a"], "failed_if": ["stdout~^\\[API Error:", "json:error.code"], "session": "jsonl:id"},
        {"command": ["a"], "completion": "stable", "leave_children": True, "session": ""},
    ],
)
def test_a_right_agent_is_taken(agent):
    assert BackgroundConfig.of({"agents": {"x": agent}}).to_json()["agents"]["x"].items() <= agent.items()


def test_a_part_given_in_python_is_completed_by_the_defaults():
    config = BackgroundConfig.of({"default_concurrency": 5, "model_concurrency": {"opus": 1}})
    assert config == BackgroundConfig(default_concurrency=5, model_concurrency={"opus": 1})
    assert config.model_concurrency == {"opus": 1, "sonnet": 3, "haiku": 5}
    assert BackgroundConfig.of(config) is config
    assert BackgroundConfig.of(None) == DEFAULT_BACKGROUND_CONFIG


def test_what_is_wrong_in_python_is_named_whole():
    message = str(refused({"max_workers": -1, "colour": "red", "default_agent": "nobody"}))
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == [
        "max_workers",
        "colour",
        "default_agent",
    ]


@pytest.mark.parametrize("rubbish", [3, "max_workers", [], [("max_workers", 3)], {3: 4}])
def test_rubbish_for_a_configuration_is_refused(rubbish):
    assert refused(rubbish).exit_code == 100


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"max_workers": 0}, "max_workers"),
        ({"model_concurrency": 3}, "model_concurrency"),
        ({"agents": ["claude"]}, "agents"),
        ({"agents": {"x": AgentConfig()}}, "agents.x.command"),
        ({"agents": {"x": AgentConfig(command="claude")}}, "agents.x.command"),
        ({"agents": {"python": AgentConfig(command=("python",))}}, "agents.python.command"),
    ],
)
def test_a_configuration_with_mistakes_cannot_be_built(values, key):
    with pytest.raises(BadConfiguration) as caught:
        BackgroundConfig(**values)
    assert caught.value.field == key


def test_a_configuration_does_not_change_with_what_it_was_made_of():
    limits = {"opus": 1}
    config = BackgroundConfig(model_concurrency=limits)
    limits["opus"] = 9
    assert config.model_concurrency["opus"] == 1
    assert DEFAULT_BACKGROUND_CONFIG.model_concurrency["opus"] == 2


def test_a_configuration_comes_back_from_json_as_it_was(places):
    places.write("home", CLAUDE + '[model_concurrency]\n"anthropic/*" = 8')
    config = places.load(pass_env=["AWS_*"], kill_grace_s=0.25, default_agent="claude")
    assert BackgroundConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_schema_knows_every_setting():
    schema = CONFIG.schema()
    assert list(schema["properties"]) == [one.name for one in fields(BackgroundConfig)]
    assert set(schema["properties"]["agents"]["properties"]) == set(BUILT_IN)
    assert "command" not in schema["properties"]["agents"]["properties"]["python"]["properties"]


def test_a_project_file_is_not_sought_from_a_folder_that_is_gone(places, monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert sources(places.home) == []


def test_importing_the_configuration_does_not_import_the_reader_of_files():
    code = "import sys; import backburner.ipc.config.settings; print({'tomllib', 'difflib', 'json'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=IMPORT_ROOT,
    )
    assert done.stdout == "set()\n"
