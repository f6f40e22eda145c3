"""Records a terminal in which Claude Code launches a task and is notified when it has ended.

Claude Code is the real one, set up by `backburner install` in a separate home folder. Its model is a script on
loopback that logs what it receives. The recording shows what the terminal showed, at the same times; only folders of
this machine are replaced by common names.
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

from scripts.docs.cast_drawing import draw
from tests.helpers.clis import path
from tests.helpers.model import Call, Model, Say
from tests.helpers.parent import set_up_claude

ROOT = Path(__file__).resolve().parents[2]
CAST, DRAWING = (ROOT / "docs" / "images" / name for name in ("claude-code.cast", "claude-code.svg"))
COLUMNS, ROWS = 100, 32
#: Seconds after which a command is given up, between two keys, and between two commands.
TIMEOUT, KEY_PAUSE, PAUSE = 180.0, 0.03, 1.0
#: The shell's prompt.
PROMPT = "$ "

#: The task takes longer than the model's turn.
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
    "backburner show - | grep -E '^(parent|task|status) '",
    "backburner wait -",
    "claude -p --continue 'And?'",
    "# What the model received:",
    r"""grep -o '[A-Za-z]* hook [^"]*</background-tasks>' ../model.log | sed 's/\\n/\n/g'""",
)


class Terminal:
    """A shell in a terminal. Its output is recorded with the times."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start the shell, and wait for its prompt."""
        self.recording: list[tuple[float, str]] = []
        self._master, slave = pty.openpty()
        ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        words = ["bash", "--norc", "--noprofile", "--noediting"]
        self._shell = subprocess.Popen(
            words, cwd=folder, env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._begun = time.monotonic()
        self._wait_for_prompt()

    def close(self) -> None:
        """End the shell."""
        self._shell.kill()
        self._shell.wait()
        os.close(self._master)

    def enter(self, command: str) -> None:
        """Type a command at the speed of a person, and wait for the next prompt."""
        self._read_for(PAUSE)
        for key in command:
            os.write(self._master, key.encode())
            self._read_for(KEY_PAUSE)
        os.write(self._master, b"\n")
        self._wait_for_prompt()

    def _wait_for_prompt(self) -> None:
        """Read until the output ends with the prompt."""
        end, output = time.monotonic() + TIMEOUT, ""
        while not output.endswith(PROMPT):
            if time.monotonic() > end:
                raise TimeoutError(f"no prompt in {TIMEOUT} s after {output[-500:]!r}")
            output += self._read_for(0.1)

    def _read_for(self, seconds: float) -> str:
        """Return the output of the next seconds; it is recorded by lines, so that no name in it is split."""
        end, output = time.monotonic() + seconds, ""
        while select.select([self._master], [], [], max(0.0, end - time.monotonic()))[0]:
            output += os.read(self._master, 65536).decode()
        for line in output.splitlines(keepends=True):
            self.recording.append((time.monotonic() - self._begun, line))
        return output


@contextmanager
def project_with_claude(model: Model, home: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Set up Claude Code in a home folder with a project, and yield the project and its environment."""
    project = home / "project"
    (project / ".git").mkdir(parents=True)
    shutil.copy(ROOT / "LICENSE", project)
    environment = {
        **set_up_claude(home, model.url),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), path()]),
        "TERM": "dumb",
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        "PS1": PROMPT,
        "BASH_SILENCE_DEPRECATION_WARNING": "1",
    }
    try:
        yield project, environment
    finally:
        down = [str(Path(sys.executable).parent / "backburner"), "down", "--now"]
        subprocess.run(down, cwd=project, env=environment, capture_output=True, check=False, timeout=TIMEOUT)


def record() -> list[tuple[float, str]]:
    """Return the terminal's output in pieces, each with its time in seconds."""
    with tempfile.TemporaryDirectory(prefix="bb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve()
        with Model(*TURNS, log=home / "model.log") as model, project_with_claude(model, home) as (project, environment):
            terminal = Terminal(project, environment)
            try:
                for command in COMMANDS:
                    terminal.enter(command)
            finally:
                terminal.close()
        names = {str(Path(sys.executable).parent): "/home/me/.local/bin", str(home): "/home/me"}
        return [(when, _with_common_names(text, names)) for when, text in terminal.recording]


def _with_common_names(text: str, names: Mapping[str, str]) -> str:
    for ours, common in names.items():
        text = text.replace(ours, common)
    return text


def cast(recording: Sequence[tuple[float, str]]) -> str:
    """Return a recording in the format of asciinema, version 2."""
    head = {"version": 2, "width": COLUMNS, "height": ROWS, "idle_time_limit": 2, "title": "Claude Code is notified"}
    events = [[round(when, 3), "o", text] for when, text in recording]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [head, *events])


def main() -> None:
    """Record and draw."""
    recording = record()
    if "- bg-" not in "".join(text for _, text in recording):
        sys.exit("the model was not notified: nothing is written")
    CAST.write_text(cast(recording))
    DRAWING.write_text(draw(recording, COLUMNS))


if __name__ == "__main__":
    main()
