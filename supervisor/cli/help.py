"""The first page of the help: the commands of every day, on one screen of 24 lines. The help under `python -OO`."""

from __future__ import annotations

from types import ModuleType

import click

#: The commands of every day by section. Commands that share a line have a common description.
EVERYDAY: dict[str, dict[str, str]] = {
    "Tasks": {
        "launch": "Queue a task and print its ID",
        "run": "Queue a task, print its output and exit with its exit code",
        "list": "List tasks",
        "show": "Show what a task does, or how it ended",
        "output": "Print a task's output",
        "wait": "Wait until tasks have ended",
        "cancel": "Cancel tasks and end their process trees",
        "retry": "Queue failed or cancelled tasks again",
        "edit, rm": "Change pending tasks, delete ended ones",
    },
    "Supervisor, limits and agents": {
        "up, down": "Start or stop the supervisor, which runs the tasks",
        "status, doctor": "Show running processes and limits, and report problems",
        "limit": "Set how many tasks of a key may run at once",
        "pause, resume": "Stop starting tasks of a key, and start them again",
        "agents": "List the agents that can run a prompt",
        "install": "Let Claude Code, Codex, opencode or Gemini CLI launch tasks",
    },
}

_SUMMARY = "Run long jobs and coding agents in the background, a few at a time."
_END = "More: backburner help COMMAND, backburner help --all, man backburner"


def write_overview(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the first page of the help."""
    formatter.write_usage(ctx.command_path, "[--home DIR] [COMMAND] [ARGUMENTS]...")
    formatter.write(f"\n{_SUMMARY}\n\n")
    width = max(len(name) for section in EVERYDAY.values() for name in section)
    for title, commands in EVERYDAY.items():
        formatter.write(f"{title}:\n")
        for name, summary in commands.items():
            formatter.write(f"  {name.ljust(width)}  {summary}\n")
    formatter.write(f"\n{_END}\n")


def restore_help(module: ModuleType, command: click.Command) -> None:
    """Read the docstrings of a command and its subcommands from the source of their module.

    `python -OO` removes the docstrings, which are the help.
    """
    import ast
    import inspect

    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError):  # only compiled files are installed
        return
    texts = {node.name: ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    _restore(command, texts)


def _restore(command: click.Command, texts: dict[str, str | None]) -> None:
    name = getattr(command.callback, "__name__", "")
    command.help = command.help or texts.get(name)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _restore(inner, texts)
