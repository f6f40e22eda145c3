"""The environment of tasks: nothing of the place where the supervisor was started, and all that its user expects."""

from __future__ import annotations

import sys

from scripts.trials.report_rows import Sandbox, row


@row("env of a task in another folder", "has no variable that describes where the supervisor was started", own=True)
def _(sandbox: Sandbox) -> None:
    place = {
        "OLDPWD": "/",
        "INIT_CWD": "/",
        "npm_x": "1",
        "VIRTUAL_ENV_PROMPT": "p",
        "TMUX_PANE": "%1",
        "WINDOWID": "1",
    }
    git = {
        "GIT_DIR": "/g",
        "GIT_INDEX_FILE": "/i",
        "GIT_WORK_TREE": "/w",
        "GIT_PREFIX": "p/",
        "GIT_OBJECT_DIRECTORY": "/o",
    }
    done = sandbox.shell("backburner up --detach", **place, **git)
    assert done.returncode == 0, done
    found = sandbox.shell("backburner run --cwd / -- env").stdout.splitlines()
    names = {line.partition("=")[0] for line in found}
    assert "PWD=/" in found, found
    assert not names & {*place, *git}, names


@row("credentials of an agent in the environment of the launch", "reach the agent, marks of a session do not")
def _(sandbox: Sandbox) -> None:
    tool = sandbox.project / "programs" / "codex"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho $CODEX_API_KEY $CODEX_HOME $CODEX_SANDBOX >&2\nexit 3\n")
    tool.chmod(0o755)
    given = {"CODEX_API_KEY": "key", "CODEX_HOME": "/work", "CODEX_SANDBOX": "seatbelt"}
    done = sandbox.shell(f"PATH={tool.parent}:$PATH; backburner run --agent codex hi", **given)
    assert "key /work\n" in done.stderr, done


@row("umask 077 of the launcher", "is that of the task, and calls have it too")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell(
        "umask 077; backburner run -- sh -c umask; backburner run --json --call os:umask --args '[18]'"
    )
    assert done.stdout.startswith("0077\n"), done
    assert '"result": "63"' in done.stdout, done


@row("FOO=bar backburner run --env FOO", "takes the value of the launcher, and is refused where there is none")
def _(sandbox: Sandbox) -> None:
    assert sandbox.shell("backburner run --env FOO -- sh -c 'echo [$FOO]'", FOO="bar").stdout == "[bar]\n"
    done = sandbox.shell("backburner run --env FOO -- true")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "FOO is not set here" in done.stderr, done


@row("a secret", "reaches the task, but neither the database nor show --env nor an export", own=True)
def _(sandbox: Sandbox) -> None:
    assert sandbox.shell("backburner up --detach", DEPLOY="hunter2").returncode == 0
    given = {"DEPLOY": "hunter2"}
    done = sandbox.shell("backburner run --inherit-env --secret DEPLOY -- sh -c 'test ${#DEPLOY} = 7'", **given)
    assert done.returncode == 0, done
    shown = sandbox.check("show", "--env", "-") + sandbox.check("export")
    assert "DEPLOY=********" in shown, shown
    assert "hunter2" not in shown
    assert b"hunter2" not in b"".join(path.read_bytes() for path in sandbox.home.glob("backburner.db*"))


@row("launch --agent for an agent that is not installed", "is accepted, and stderr names the program")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("backburner launch --delay 1h --agent cursor-agent hi")
    assert done.returncode == 0, done
    assert "cursor-agent is not installed" in done.stderr, done


@row("TZ and PYTHONPATH of a call", "count as for a command")
def _(sandbox: Sandbox) -> None:
    (sandbox.project / "lib").mkdir()
    (sandbox.project / "lib" / "zone.py").write_text("import time\ndef name(): return time.strftime('%Z')\n")
    done = sandbox.shell("backburner run --json --call zone:name", TZ="Asia/Tokyo", PYTHONPATH="lib")
    assert '"result": "\\"JST\\""' in done.stdout, done


@row("a function as call=", "runs in the interpreter of the program; one that no task can import is refused")
def _(sandbox: Sandbox) -> None:
    (sandbox.project / "jobs.py").write_text("import sys\ndef prefix(): return sys.prefix\n")
    script = "import sys, backburner, jobs; m = backburner.BackgroundManager(); t = m.launch(call=jobs.prefix)"
    check = "assert m.wait(t.id)[0].result.strip(chr(34)) == sys.prefix"
    (sandbox.project / "script.py").write_text(
        f"{script}\n{check}\ntry: m.launch(call=lambda: 1)\nexcept backburner.InvalidInput as error: print(error)\n"
    )
    done = sandbox.shell(f"{sys.executable} script.py")
    assert "cannot import; move it to a module" in done.stdout, done


@row("a variable in Latin-1 with --inherit-env", "is named on stderr and in envDropped")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("export L=$(printf '\\351'); backburner launch --json --delay 1h --inherit-env -- true")
    assert done.returncode == 0, done
    assert "not valid UTF-8: L\n" in done.stderr, done
    assert '"L"' in done.stdout.partition('"envDropped"')[2], done


@row("a folder whose name is Latin-1", "nothing is launched there; the message names the way that works")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("mkdir $(printf 'caf\\351'); cd caf*; backburner launch -- true")
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "is not valid UTF-8; use --cwd with a folder above it" in done.stderr, done
    assert sandbox.shell("backburner run -c 'cd caf*; pwd | wc -l'").stdout.strip() == "1"


@row("a supervisor under the C locale without UTF-8", "runs commands and calls with text of any language", own=True)
def _(sandbox: Sandbox) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert sandbox.shell("backburner up --detach", **plain).returncode == 0
    done = sandbox.shell("mkdir 日本; backburner run --cwd 日本 --env X=日本 -- sh -c 'echo $X; pwd'", LC_ALL="C.UTF-8")
    assert done.stdout == f"日本\n{sandbox.project}/日本\n", done
    done = sandbox.shell("backburner run --json --call builtins:str --args '[\"日本\"]'", LC_ALL="C.UTF-8")
    assert done.returncode == 0, done


@row("a user's modules ipc, supervisor, queue and click", "are those that a call imports")
def _(sandbox: Sandbox) -> None:
    names = ("ipc.jobs", "supervisor.jobs", "queue", "click")
    for name in names:
        path = sandbox.project.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.with_name("__init__.py").touch()
        path.write_text("def f(): return 'mine'\n")
    (sandbox.project / "__init__.py").unlink()
    ids = [sandbox.launch("--call", f"{name}:f") for name in names]
    assert [sandbox.ended(id)["result"] for id in ids] == ['"mine"'] * len(names)
