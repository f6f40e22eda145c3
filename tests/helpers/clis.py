"""The agents that scripts/agents installs, each with a separate home folder and the model on loopback."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

#: Read when the tests are collected, before a fixture hides the developer's environment.
FOLDER = Path(os.environ["AGENTS_FOLDER"]) / "bin" if os.environ.get("AGENTS_FOLDER") else None


def installed(name: str) -> bool:
    """Return True if an agent is installed."""
    return FOLDER is not None and (FOLDER / name).exists()


def needs(name: str) -> pytest.MarkDecorator:
    """Skip a test if an agent is not installed: agents take hundreds of megabytes."""
    return pytest.mark.skipif(not installed(name), reason=f"scripts/agents-test {name} installs and tests it")


def path() -> str:
    """Return a PATH on which the installed agents come first."""
    return f"{FOLDER}{os.pathsep}{os.environ['PATH']}"


def write_settings(home: Path, url: str) -> dict[str, str]:
    """Write the agents' settings for a model at `url` to a home folder, and return their environment.

    Codex, Gemini and Qwen limit their retries only by settings.
    """
    (home / ".codex").mkdir(parents=True)
    (home / ".codex" / "config.toml").write_text(CODEX.format(url=url))
    _write(home / ".gemini" / "settings.json", GEMINI)
    _write(home / ".qwen" / "settings.json", QWEN)
    options = {"baseURL": f"{url}/v1", "apiKey": "k"}
    provider = {"npm": "@ai-sdk/openai-compatible", "options": options, "models": {"m": {}}}
    _write(home / ".config" / "opencode" / "opencode.json", {"provider": {"mock": provider}})
    return {
        **ENVIRONMENT,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "PATH": path(),
        "ANTHROPIC_BASE_URL": url,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "GOOGLE_GEMINI_BASE_URL": url,
    }


def _write(path: Path, settings: object) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(settings))


CODEX = """
model_provider = "mock"
[model_providers.mock]
name = "mock"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
request_max_retries = 1
stream_max_retries = 1
"""
GEMINI = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"maxAttempts": 2}}
QWEN = {"security": {"auth": {"selectedType": "openai"}}, "model": {"generationConfig": {"maxRetries": 0}}}
ENVIRONMENT = {
    "ANTHROPIC_API_KEY": "k",
    "OPENAI_API_KEY": "k",
    "OPENAI_MODEL": "m",
    "GEMINI_API_KEY": "k",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
}
