"""Records how Claude Code is told what became of the task that it launched: a terminal with a shell, typed into.

Claude Code is the real one, set up by `backburner install` in a home of its own. The model is played: it is on
loopback, says what its script has it say, and keeps what it was told. What is recorded is what the terminal showed,
when it showed it; only folders of this machine are called by names that every machine could have.
"""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from scripts.docs.cast_drawing import drawn
from tests.helpers.clis import path
from tests.helpers.model import Call, Model, Say
from tests.helpers.parent import ALLOWED, KEY, SETTLED

ROOT = Path(__file__).resolve().parents[2]
CAST, DRAWING = (ROOT / "docs" / "images" / name for name in ("claude-code.cast", "claude-code.svg"))
COLUMNS, ROWS = 100, 32
#: Seconds that one command may take, between two keys, and between a command and the next.
PATIENCE, KEY_PAUSE, PAUSE = 180.0, 0.03, 1.0
#: What the shell writes when it waits for a command.
PROMPT = "$ "

#: The task takes longer than the model's turn does.
TASK = "backburner launch --up --description 'count words' -- sh -c 'sleep 15; wc -w LICENSE'"
TURNS = (
    Call("Bash", {"command": TASK}),
    Say("The task runs in the background. I will be notified when it ends."),
    Say("The task has completed: LICENSE has 170 words."),
)
COMMANDS = (
    "# A real Claude Code. Its model is a script on this machine that logs what it receives.",
    "backburner install claude --yes > /dev/null",
    "claude -p 'Count the words of LICENSE, in the background'",
    "backburner show - | grep -E '^(parentSessionId|command|status) '",
    "backburner wait -",
    "claude -p --continue 'And?'",
    "# What the model received:",
    r"""grep -o '[A-Za-z]* hook additional context[^"]*' ../model.log | sed 's/\\n/\n/g'""",
)


class Terminal:
    """A shell in a terminal; what it shows is kept, with its time."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it; wait until it takes commands."""
        self.shown: list[tuple[float, str]] = []
        self._master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        words = ["bash", "--norc", "--noprofile", "--noediting"]
        self._shell = subprocess.Popen(
            words, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._begun = time.monotonic()
        self._hear_prompt()

    def close(self) -> None:
        """End the shell."""
        self._shell.kill()
        self._shell.wait()
        os.close(self._master)

    def enter(self, command: str) -> None:
        """Type a command, as a person would; return when the shell takes the next one."""
        self._hear_for(PAUSE)
        for key in command:
            os.write(self._master, key.encode())
            self._hear_for(KEY_PAUSE)
        os.write(self._master, b"\n")
        self._hear_prompt()

    def _hear_prompt(self) -> None:
        """Hear until the prompt comes and nothing follows."""
        end, heard = time.monotonic() + PATIENCE, ""
        while not heard.endswith(PROMPT):
            if time.monotonic() > end:
                raise TimeoutError(f"no prompt in {PATIENCE} s after {heard[-500:]!r}")
            heard += self._hear_for(0.1)

    def _hear_for(self, seconds: float) -> str:
        """What comes until then; each line is kept as one, that no name in it is parted."""
        end, heard = time.monotonic() + seconds, ""
        while select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            heard += os.read(self._master, 65536).decode()
        for line in heard.splitlines(keepends=True):
            self.shown.append((time.monotonic() - self._begun, line))
        return heard


@contextmanager
def desk(model: Model, home: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A person's home in which Claude Code is settled, with a project, for a while; the environment to go with it."""
    project = home / "project"
    for made in (project / ".git", home / ".claude"):
        made.mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", project)
    (home / ".claude.json").write_text(json.dumps(SETTLED, indent=2))
    (home / ".claude" / "settings.json").write_text(json.dumps(ALLOWED, indent=2))
    environment = {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), path()]),
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        "PS1": PROMPT,
        "BASH_SILENCE_DEPRECATION_WARNING": "1",
        "ANTHROPIC_BASE_URL": model.url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    try:
        yield project, environment
    finally:
        down = [str(Path(sys.executable).parent / "backburner"), "down", "--now"]
        subprocess.run(down, cwd=project, env=environment, capture_output=True, check=False, timeout=PATIENCE)


def recorded() -> list[tuple[float, str]]:
    """What the terminal showed, and when, in seconds."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve()
        with Model(*TURNS, log=home / "model.log") as model, desk(model, home) as (project, environment):
            terminal = Terminal(project, environment)
            try:
                for command in COMMANDS:
                    terminal.enter(command)
            finally:
                terminal.close()
        names = {str(Path(sys.executable).parent): "/home/me/.local/bin", str(home): "/home/me"}
        return [(when, _named(text, names)) for when, text in terminal.shown]


def _named(text: str, names: Mapping[str, str]) -> str:
    for own, shown in names.items():
        text = text.replace(own, shown)
    return text


def cast(shown: Sequence[tuple[float, str]]) -> str:
    """A recording as asciinema has it, version 2."""
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "idle_time_limit": 2, "title": "Claude Code is notified"}
    events = [[round(when, 3), "o", text] for when, text in shown]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *events])


def main() -> None:
    """Record and draw."""
    shown = recorded()
    if "- bg-" not in "".join(text for _, text in shown):
        sys.exit("the model was not told: nothing is written")
    CAST.write_text(cast(shown))
    DRAWING.write_text(drawn(shown, COLUMNS))


if __name__ == "__main__":
    main()
