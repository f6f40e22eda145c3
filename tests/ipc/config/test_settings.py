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


class ConfigFiles:
    """The configuration files of a user, a project and a home, in a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        self.deep = self.project / "a" / "b"
        self.home = Home(self.project / ".backburner")
        self.paths = {
            "user": folder / "xdg" / "backburner" / "config.toml",
            "project": self.project / "backburner.toml",
            "home": self.home.config,
        }
        self.deep.mkdir(parents=True)

    def write(self, which: str, text: str) -> Path:
        path = self.paths[which]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        path.chmod(0o600)
        return path

    def load(self, **overrides: object) -> BackgroundConfig:
        return load(self.home, self.deep, overrides)

    def mistakes(self) -> list[tuple[str, str]]:
        return [(Path(one.file).parent.name, one.key) for one in check(self.home, self.deep)]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    return ConfigFiles(tmp_path)


def refused(values: object) -> BadConfiguration:
    with pytest.raises(BadConfiguration) as caught:
        BackgroundConfig.of(values)
    return caught.value


def test_defaults_apply_without_any_file(files):
    assert files.load() == DEFAULT_BACKGROUND_CONFIG == BackgroundConfig()
    assert sources(files.home, files.deep) == []


def test_defaults_are_those_documented():
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
        "shared_limits": {},
        "agents": {},
    }


def test_later_files_override_earlier_ones_key_by_key_and_flags_override_all(files):
    files.write("user", "max_workers = 1\nkill_grace_s = 1\nretention_days = 1\ntask_timeout_s = 1")
    files.write("project", "max_workers = 2\nkill_grace_s = 2\nretention_days = 2")
    files.write("home", "max_workers = 3\nkill_grace_s = 0.5")
    config = files.load(max_workers=4)
    assert (config.max_workers, config.kill_grace_s, config.retention_days, config.task_timeout_s) == (
        4,
        0.5,
        2,
        1,
    )


def test_only_the_nearest_project_file_counts(files):
    files.write("project", "max_workers = 2\nretention_days = 2")
    near = files.deep.parent / "backburner.toml"
    near.write_text("max_workers = 3")
    near.chmod(0o644)
    assert (files.load().max_workers, files.load().retention_days) == (3, 30)
    assert sources(files.home, files.deep) == [near]


def test_user_file_is_in_the_home_folder_without_xdg_config_home(files, monkeypatch, tmp_path):
    files.paths["user"] = tmp_path / "me" / ".config" / "backburner" / "config.toml"
    path = files.write("user", "max_workers = 9")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unusable)
        assert sources(files.home, files.deep) == [path]


def test_models_and_agents_are_merged_key_by_key(files):
    files.write("user", CLAUDE + '[model_concurrency]\nopus = 7\n"anthropic/*" = 8')
    files.write("project", '[agents.claude]\nmodel = "opus"\nenv = { OTHER = "2" }\n[model_concurrency]\nopus = 1')
    config = files.load()
    assert config.model_concurrency == {"opus": 1, "sonnet": 3, "haiku": 5, "anthropic/*": 8}
    claude = config.agent("claude")
    assert (claude.command[0], claude.model) == ("claude", "opus")
    assert claude.env.items() >= {"SOME_FLAG": "1", "OTHER": "2"}.items()


def test_documented_agent_is_accepted(files):
    files.write("home", CLAUDE)
    config = files.load(default_agent="claude")
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


def test_refusal_of_an_unknown_agent_names_the_existing_ones(files):
    files.write("home", CLAUDE)
    with pytest.raises(UnknownAgent, match=r"'unknown'.*command, python, external, claude"):
        files.load().agent("unknown")


def test_built_in_agent_needs_no_entry():
    assert [DEFAULT_BACKGROUND_CONFIG.agent(name) for name in BUILT_IN] == [AgentConfig()] * 3


def test_all_mistakes_of_all_files_are_reported(files):
    user = files.write("user", "max_workers = 0\n[model_concurrency]\nopus = -1")
    project = files.write("project", 'colour = "red"\n[agents.x]\ncommand = ["run", "{nothing}"]')
    home = files.write("home", 'durability = "some"\nkill_grace_s = "5"\ndefault_agent = "y"')
    with pytest.raises(BadConfiguration) as caught:
        files.load()
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


def test_mistake_in_an_override_is_attributed_to_the_flags(files):
    found = check(files.home, files.deep, {"max_workers": "many"})
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
def test_syntax_error_is_a_mistake_with_its_line(files, text, line):
    path = files.write("project", text)
    (found,) = check(files.home, files.deep)
    assert (found.file, found.line) == (str(path), line)
    assert str(found).startswith(f"{path}:{line}: expected valid TOML (")


def test_text_that_is_not_utf8_is_a_mistake_with_its_line(files):
    path = files.write("home", "")
    path.write_bytes(b"max_workers = 3\n# caf\xe9\n")
    (found,) = check(files.home, files.deep)
    assert (found.line, found.expected) == (2, "UTF-8")


def test_deeply_nested_file_is_a_mistake(files):
    files.write("home", "a = " + "[" * 200_000)
    assert files.mistakes() == [(".backburner", "")]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_may_write_is_refused(files, mode):
    files.write("project", "max_workers = 2").chmod(mode)
    with pytest.raises(BadConfiguration, match=f"others may not write .*, got mode {mode:04o}"):
        files.load()


def test_file_of_another_user_is_refused(files, monkeypatch):
    path = files.write("project", "max_workers = 2")
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(BadConfiguration, match="a file of yours or of root's, got one that belongs to uid"):
        files.load()


def test_file_that_is_not_regular_is_refused_without_blocking(files):
    files.paths["home"].parent.mkdir()
    os.mkfifo(files.paths["home"], 0o600)
    files.paths["project"].mkdir()
    assert files.mistakes() == [("project", ""), (".backburner", "")]


def test_huge_file_is_refused(files):
    files.write("home", "#" * (FILE_LIMIT + 1))
    assert files.mistakes() == [(".backburner", "")]


def test_dangling_link_is_a_mistake(files):
    files.paths["project"].symlink_to("nowhere")
    (found,) = check(files.home, files.deep)
    assert (found.expected, found.got) == ("a file that can be read", "No such file or directory")


def test_agent_needs_a_command_in_one_of_the_files(files):
    files.write("user", '[agents.x]\nstdin = "{prompt}"')
    files.write("home", '[agents.x]\nmodel = "opus"')
    (found,) = check(files.home, files.deep)
    assert (found.file, found.key) == (str(files.home.config), "agents.x.command")
    files.write("project", '[agents.x]\ncommand = ["run"]')
    assert check(files.home, files.deep) == []


def test_agent_is_not_reported_missing_if_a_file_is_unreadable(files):
    files.write("user", "= broken")
    files.write("home", 'default_agent = "claude"')
    assert files.mistakes() == [("backburner", "")]


def test_settings_of_valid_files_are_read_despite_a_broken_one(files):
    files.write("user", "max_workers = 5")
    files.write("project", "= broken")
    files.write("home", "retention_days = -1")
    config, mistakes = read(files.home, files.deep)
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
        ({"default_agent": "unknown"}, "default_agent"),
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
def test_refusal_of_a_wrong_setting_names_its_key(values, key):
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
def test_valid_agent_is_accepted(agent):
    assert BackgroundConfig.of({"agents": {"x": agent}}).to_json()["agents"]["x"].items() <= agent.items()


def test_partial_configuration_is_completed_by_the_defaults():
    config = BackgroundConfig.of({"default_concurrency": 5, "model_concurrency": {"opus": 1}})
    assert config == BackgroundConfig(default_concurrency=5, model_concurrency={"opus": 1})
    assert config.model_concurrency == {"opus": 1, "sonnet": 3, "haiku": 5}
    assert BackgroundConfig.of(config) is config
    assert BackgroundConfig.of(None) == DEFAULT_BACKGROUND_CONFIG


def test_all_mistakes_of_a_configuration_in_python_are_reported():
    message = str(refused({"max_workers": -1, "colour": "red", "default_agent": "unknown"}))
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == [
        "max_workers",
        "colour",
        "default_agent",
    ]


@pytest.mark.parametrize("value", [3, "max_workers", [], [("max_workers", 3)], {3: 4}])
def test_value_that_is_not_a_configuration_is_refused(value):
    assert refused(value).exit_code == 100


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
def test_configuration_with_mistakes_cannot_be_created(values, key):
    with pytest.raises(BadConfiguration) as caught:
        BackgroundConfig(**values)
    assert caught.value.field == key


def test_configuration_copies_the_values_it_is_created_from():
    limits = {"opus": 1}
    config = BackgroundConfig(model_concurrency=limits)
    limits["opus"] = 9
    assert config.model_concurrency["opus"] == 1
    assert DEFAULT_BACKGROUND_CONFIG.model_concurrency["opus"] == 2


def test_configuration_is_unchanged_after_json(files):
    files.write("home", CLAUDE + '[model_concurrency]\n"anthropic/*" = 8')
    config = files.load(pass_env=["AWS_*"], kill_grace_s=0.25, default_agent="claude")
    assert BackgroundConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_schema_has_every_setting():
    schema = CONFIG.schema()
    assert list(schema["properties"]) == [one.name for one in fields(BackgroundConfig)]
    assert set(schema["properties"]["agents"]["properties"]) == set(BUILT_IN)
    assert "command" not in schema["properties"]["agents"]["properties"]["python"]["properties"]


def test_removed_working_directory_has_no_project_file(files, monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert sources(files.home) == []


def test_importing_the_settings_imports_no_parser():
    code = "import sys; import backburner.ipc.config.settings; print({'tomllib', 'difflib', 'json'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=IMPORT_ROOT,
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("which", "is_mistake"), [("user", False), ("project", True), ("home", True)])
def test_shared_limits_count_only_in_the_file_of_the_user(files, which: str, is_mistake: bool):
    path = files.write(which, '[shared_limits]\n"api/*" = 6')
    mistakes = check(files.home, files.deep)
    assert [(mistake.file, mistake.key) for mistake in mistakes] == (
        [(str(path), "shared_limits")] if is_mistake else []
    )
    assert dict(read(files.home, files.deep).config.shared_limits) == ({} if is_mistake else {"api/*": 6})
