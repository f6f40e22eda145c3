"""State directories, processes and resources that are not as usual."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

from scripts.trials.report_rows import PATIENCE, Sandbox, row
from tests.helpers.places import ROOT
from tests.helpers.wait import eventually

#: Runs commands in a folder that was deleted; `$1` is a state directory.
_DELETED = 'mkdir -p gone && cd gone && rmdir "$PWD" && '


@row("a deleted current folder, and a named home", "every command works")
def _(sandbox: Sandbox) -> None:
    for words in ("list", "run --cwd / -- true", "config check", "status", "doctor"):
        for command in (f"backburner {words}", f"env -u BACKBURNER_HOME backburner --home {sandbox.home} {words}"):
            done = sandbox.shell(_DELETED + command)
            assert done.returncode == 0, (command, done)


@row("a deleted current folder, and no named home", "one sentence names the way out")
def _(sandbox: Sandbox) -> None:
    for words in ("list", "config check", "launch -- true"):
        done = sandbox.shell(f"{_DELETED} env -u BACKBURNER_HOME backburner {words}")
        assert done.returncode in (2, 100), done
        assert "--home DIR" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr, done.stderr


@row("--home names a project folder, or a folder that is not there", "it is refused, and nothing is made")
def _(sandbox: Sandbox) -> None:
    project = sandbox.project / "checkout"
    project.mkdir()
    (project / "main.py").touch()
    done = sandbox.run("--home", str(project), "launch", "--", "true")
    assert done.returncode == 2, done
    assert f"--home {project}/.backburner" in done.stderr, done.stderr
    assert [path.name for path in project.iterdir()] == ["main.py"]
    done = sandbox.run("--home", str(project / "typo"), "list")
    assert done.returncode == 2, done
    assert not (project / "typo").exists()


@row("a home by a symbolic link", "it is one home, with the name of its folder")
def _(sandbox: Sandbox) -> None:
    link = sandbox.project / "link"
    link.symlink_to(sandbox.home)
    done = sandbox.run("--home", str(link), "status", "--json")
    assert f'"home": "{sandbox.home}"' in done.stdout, done


@row("python -OO", "commands, errors and help are as without it")
def _(sandbox: Sandbox) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-OO", "-m", "backburner", *words],
            env=sandbox.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    done = run("run", "--", "true")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "Queue a task" in run("launch", "--help").stdout


@row("install without HOME, for a user ID that the system does not know", "one sentence")
def _(sandbox: Sandbox) -> None:
    unknown = "import os; os.getuid = lambda: 54321; from backburner.supervisor.cli import main; main()"
    environment = {name: value for name, value in sandbox.environment.items() if name != "HOME"}
    done = subprocess.run(
        [sys.executable, "-c", unknown, "install", "claude"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 100, done
    assert "Traceback" not in done.stderr, done.stderr


@row("rm *.db-wal *.db-shm of a live home", "all processes go on in the database, and no task is lost", own=True)
def _(sandbox: Sandbox) -> None:
    sandbox.up()
    kept = sandbox.launch("--delay", "1h", "--", "true")
    for name in ("-wal", "-shm"):
        (sandbox.home / f"backburner.db{name}").unlink()
    assert sandbox.run("run", "--", "echo", "hi").stdout == "hi\n"
    assert sandbox.task(kept)["status"] == "pending"
    sandbox.check("doctor")


@row("rm bus.sock of a live home", "it is created again", own=True)
def _(sandbox: Sandbox) -> None:
    sandbox.up()
    (sandbox.home / "bus.sock").unlink()
    sandbox.check("up", "--detach")
    sandbox.connect().close()


@row("mv of a live home", "status and doctor name the command, and up takes over", own=True)
def _(sandbox: Sandbox) -> None:
    sandbox.up()
    moved = sandbox.home.rename(sandbox.project / "moved")
    words = ("--home", str(moved))
    assert "backburner up --detach" in sandbox.run(*words, "status").stdout
    assert "backburner up --detach" in sandbox.run(*words, "doctor").stdout
    sandbox.check(*words, "up", "--detach")
    assert sandbox.run(*words, "run", "--", "echo", "hi").stdout == "hi\n"
    sandbox.check(*words, "down")


@row("cp -a of a live home, up and down --now in the copy", "the original's task runs on", own=True)
def _(sandbox: Sandbox) -> None:
    sandbox.up()
    id = sandbox.launch("--", "sleep", "600")
    eventually(lambda: sandbox.task(id)["pid"], PATIENCE)
    copy = sandbox.project / "copy"
    shutil.copytree(sandbox.home, copy, ignore=shutil.ignore_patterns("*.wake", "*.sock"))
    sandbox.check("--home", str(copy), "up", "--detach")
    sandbox.check("--home", str(copy), "down", "--now")
    assert sandbox.task(id)["status"] == "running"
    sandbox.check("down", "--now")


@row("status --json", "names the version of each process, and the size of the state directory")
def _(sandbox: Sandbox) -> None:
    sandbox.check("run", "--", "true")
    status = json.loads(sandbox.check("status", "--json"))
    for process in (status["supervisor"], status["flusher"], status["forkServer"], *status["workers"]):
        assert process["version"] == status["version"], process
    assert status["sizeBytes"] > 0


@row("a state directory that cannot be created, as for a client that starts the MCP server in /", "names the setting")
def _(sandbox: Sandbox) -> None:
    done = sandbox.shell("cd /sys && env -u BACKBURNER_HOME backburner launch -- true")
    assert done.returncode == 100, done
    assert "BACKBURNER_HOME" in done.stderr, done.stderr


@row("doctor without /proc", "one finding with the command that mounts it")
def _(sandbox: Sandbox) -> None:
    without = "import sys; from backburner.ipc.machine import proc; proc.is_readable = lambda: False; "
    main = "from backburner.supervisor.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", without + main, "doctor"],
        env=sandbox.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done
    assert "mount -t proc" in done.stdout, done.stdout


@row("a home with a long path, up and down", "status names the short path, and the link is removed", own=True)
def _(sandbox: Sandbox) -> None:
    home = sandbox.project / ("x" * 100) / ".backburner"
    words = f"--home {home}"
    script = f"backburner {words} up --detach && backburner {words} status --json && backburner {words} down"
    done = sandbox.shell(script, XDG_RUNTIME_DIR=str(sandbox.project))
    assert done.returncode == 0, done
    assert len(json.loads(done.stdout)["socket"]) < 104
    assert [*sandbox.project.glob("backburner-*/*")] == []


@row("a shortage of processes that passes, as ulimit -u or a pids limit causes it", "tasks wait for its end", own=True)
def _(sandbox: Sandbox) -> None:
    compiler = shutil.which("cc")
    if compiler is None:  # the shortage is made by a library
        return
    source, library, flag = (sandbox.project / name for name in ("shortage.c", "shortage.so", "shortage"))
    shutil.copy(ROOT / "tests" / "helpers" / "shortage.c", source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    done = sandbox.shell("backburner up --detach", LD_PRELOAD=str(library), SHORTAGE=str(flag))
    assert done.returncode == 0, done
    flag.touch()
    ids = [sandbox.launch("--", "true") for _ in range(3)]
    log = sandbox.home / "supervisor.log"
    eventually(lambda: "can be started now" in log.read_text(), PATIENCE)
    flag.unlink()
    assert [sandbox.ended(id)["status"] for id in ids] == ["completed"] * 3


@row("an upgrade of the package while a supervisor runs", "its processes read nothing of the new version", own=True)
def _(sandbox: Sandbox) -> None:
    sandbox.snapshot()
    program = [sys.executable, "-P", "-c", "import sys; from backburner.supervisor.cli import main; sys.exit(main())"]
    started = sandbox.start([*program, "up", "--detach"], PYTHONPATH=str(sandbox.tree))
    assert started.wait(60) == 0
    for path in [*sandbox.tree.rglob("*.py"), *sandbox.tree.rglob("*.sql"), *sandbox.tree.rglob("*.toml")]:
        path.write_text("raise SystemExit('new')\n")
    for cache in [*sandbox.tree.rglob("__pycache__")]:
        shutil.rmtree(cache)
    assert sandbox.run("run", "--", "sh", "-c", "exit 3").returncode == 3
    assert sandbox.run("run", "--call", "os:getpid").returncode == 0
    sandbox.check("down")


@row("ps", "shows names and state directories, not the text of a program")
def _(sandbox: Sandbox) -> None:
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    for role in ("bb-supervisor", "bb-forkserver", "bb-flusher"):
        assert f"{role} {sandbox.home}" in shown, role
