"""Where the peers live: `.bench/`, with a virtual environment and unpacked Debian packages. Nothing else is changed."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PathDistribution
from pathlib import Path

from scripts.bench_parts.harness import Absent
from scripts.trials.outside import ROOT

OWN = ROOT / ".bench"
PYTHON = OWN / "venv" / "bin" / "python"
DEBIAN = OWN / "debian"

PYPI = "huey litequeue rq celery[redis] dramatiq[redis] taskiq taskiq-redis procrastinate psycopg[binary,pool]".split()

#: A program of a Debian package, and the package. Postgres's programs stand apart from all others.
PACKAGES = {"tsp": "task-spooler", "redis-server": "redis-server", "postgres": "postgresql-15"}
POSTGRES = "usr/lib/postgresql/15/bin"

#: Seconds a server may take to come up.
PATIENCE = 60.0


@functools.cache
def python() -> str:
    """The interpreter that has the peers; installs them the first time. Raises Absent."""
    stamp = OWN / "venv" / "stamp"
    if not stamp.exists() or stamp.read_text() != " ".join(PYPI):
        _say("installing the peers from PyPI")
        _do(sys.executable, "-m", "venv", "--clear", str(OWN / "venv"))
        _do(str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", *PYPI)
        stamp.write_text(" ".join(PYPI))
    return str(PYTHON)


def version(package: str) -> str:
    """Of a package from PyPI."""
    folder = next((OWN / "venv" / "lib").glob("python*/site-packages"))
    names = {package, package.replace("-", "_")}
    found = (PathDistribution(path) for name in names for path in folder.glob(f"{name}-*.dist-info"))
    return f"{package} {next(found).version}"


@functools.cache
def program(name: str) -> str:
    """A program from a Debian package: that of the system, or of the package unpacked here. Raises Absent."""
    places = ["usr/bin", POSTGRES]
    roots = [Path("/"), DEBIAN / "root"]
    for attempt in (_nothing, _unpack):
        attempt(name)
        for path in (root / place / name for root in roots for place in places):
            if path.exists():
                return str(path)
    raise Absent(f"{PACKAGES[name]} has no {name}")


def libraries() -> dict[str, str]:
    """The environment for such programs: their libraries are unpacked beside them."""
    return {**os.environ, "LD_LIBRARY_PATH": f"{DEBIAN}/root/usr/lib/x86_64-linux-gnu"}


def _nothing(name: str) -> None:
    """The system may have it."""


def _unpack(name: str) -> None:
    """Fetch the package and what it stands on, as far as the system has it not, and unpack all of it here."""
    if shutil.which("apt-get") is None:
        raise Absent("this is no Debian: install it by hand")
    _say(f"unpacking {PACKAGES[name]} from Debian")
    folder = DEBIAN / PACKAGES[name]
    folder.mkdir(parents=True, exist_ok=True)
    only = [f"--no-{kind}" for kind in "recommends suggests conflicts breaks replaces enhances".split()]
    listed = _do("apt-cache", "depends", "--recurse", *only, PACKAGES[name]).splitlines()
    wanted = sorted({line for line in listed if line[:1].isalnum() and not _is_installed(line)})
    _do("apt-get", "download", *wanted, folder=folder)
    for package in folder.glob("*.deb"):
        _do("dpkg", "-x", str(package), str(DEBIAN / "root"))


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout.startswith("ii")


def _do(*command: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    except OSError as error:
        raise Absent(f"{command[0]}: {error}") from error
    if done.returncode:
        words = done.stderr.strip().splitlines() or ["no word"]
        raise Absent(f"{' '.join(command[:4])}: {words[-1]}")
    return done.stdout


def _say(words: str) -> None:
    print(f"  {words} (once)", file=sys.stderr, flush=True)


class Redis:
    """A server of its own on loopback, with its log of changes synced each second, as `normal` is."""

    settings = "appendonly yes, appendfsync everysec"

    def __init__(self) -> None:
        """Start it. Raises Absent."""
        self._folder = tempfile.TemporaryDirectory(prefix="bb-redis-", dir="/tmp")
        self.port = free_port()
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --save --dir {self._folder.name}".split()
        options.insert(options.index("--save") + 1, "")
        self._process = subprocess.Popen(
            [program("redis-server"), *options],
            env=libraries(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.pid = self._process.pid
        wait_for_port(self.port)
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class Postgres:
    """A cluster of its own on loopback."""

    def __init__(self, synced: bool) -> None:
        """Start it. Raises Absent."""
        self._folder = tempfile.TemporaryDirectory(prefix="bb-postgres-", dir="/tmp")
        self.port = free_port()
        self.settings = f"synchronous_commit = {'on' if synced else 'off'}"
        self._as = _unprivileged(Path(self._folder.name))
        data = f"{self._folder.name}/data"
        self._run("initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-sync")
        told = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self._folder.name}"
        settings = [*told.split(), "-c", self.settings.replace(" ", "")]
        self._process = subprocess.Popen(
            [*self._as, program("postgres"), "-D", data, *settings],
            env=libraries(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
        self.pid = self._process.pid
        wait_for_port(self.port)
        self.url = f"postgresql://bench@127.0.0.1:{self.port}/postgres"

    def _run(self, name: str, *words: str) -> None:
        place = Path(program("postgres")).with_name(name)
        done = subprocess.run(
            [*self._as, str(place), *words], capture_output=True, text=True, env=libraries(), cwd="/", check=False
        )
        if done.returncode:
            raise Absent(f"{name}: {done.stderr.strip()[-200:]}")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def _unprivileged(folder: Path) -> list[str]:
    """What goes before a command of Postgres, which refuses to run as root; it gets the folder."""
    if os.geteuid():
        return []
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def free_port() -> int:
    """A port on loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Return when somebody answers there. Raises Absent."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Absent(f"nobody answered on port {port} in {PATIENCE:g} s")
