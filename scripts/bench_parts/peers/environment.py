"""The folder `.bench/` with the other systems: a virtual environment and unpacked Debian packages."""

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
from tests.helpers.blackbox import ROOT

FOLDER = ROOT / ".bench"
PYTHON = FOLDER / "venv" / "bin" / "python"
DEBIAN = FOLDER / "debian"

PYPI = "huey litequeue rq celery[redis] dramatiq[redis] taskiq taskiq-redis procrastinate psycopg[binary,pool]".split()

#: Programs and their Debian packages. The programs of PostgreSQL are in a folder of their package.
PACKAGES = {"tsp": "task-spooler", "redis-server": "redis-server", "postgres": "postgresql-15"}
POSTGRES = "usr/lib/postgresql/15/bin"

#: Seconds after which a server that does not answer is given up.
TIMEOUT = 60.0


@functools.cache
def python() -> str:
    """Return the interpreter with the Python systems; the first call installs them. Raises Absent."""
    stamp = FOLDER / "venv" / "stamp"
    if not stamp.exists() or stamp.read_text() != " ".join(PYPI):
        _say("installing Python packages from PyPI")
        _do(sys.executable, "-m", "venv", "--clear", str(FOLDER / "venv"))
        _do(str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", *PYPI)
        stamp.write_text(" ".join(PYPI))
    return str(PYTHON)


def version(package: str) -> str:
    """Return the name and version of an installed package."""
    folder = next((FOLDER / "venv" / "lib").glob("python*/site-packages"))
    names = {package, package.replace("-", "_")}
    found = (PathDistribution(path) for name in names for path in folder.glob(f"{name}-*.dist-info"))
    return f"{package} {next(found).version}"


@functools.cache
def program(name: str) -> str:
    """Return the path of a program, from the system or from a package unpacked here. Raises Absent."""
    places = ["usr/bin", POSTGRES]
    roots = [Path("/"), DEBIAN / "root"]
    for attempt in (_nothing, _unpack):
        attempt(name)
        for path in (root / place / name for root in roots for place in places):
            if path.exists():
                return str(path)
    raise Absent(f"{PACKAGES[name]} has no {name}")


def libraries() -> dict[str, str]:
    """Return the environment for these programs. Their libraries are unpacked beside them."""
    return {**os.environ, "LD_LIBRARY_PATH": f"{DEBIAN}/root/usr/lib/x86_64-linux-gnu"}


def _nothing(name: str) -> None:
    """Do nothing: the system may have it."""


def _unpack(name: str) -> None:
    """Download the package and the dependencies that the system lacks, and unpack them."""
    if shutil.which("apt-get") is None:
        raise Absent("apt-get is missing: install it by hand")
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
        words = done.stderr.strip().splitlines() or ["no message"]
        raise Absent(f"{' '.join(command[:4])}: {words[-1]}")
    return done.stdout


def _say(words: str) -> None:
    print(f"  {words} (once)", file=sys.stderr, flush=True)


class Redis:
    """A server on loopback that syncs its log once per second, like durability = normal."""

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
        """End the server."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()


class Postgres:
    """A cluster on loopback."""

    def __init__(self, synced: bool) -> None:
        """Start it. Raises Absent."""
        self._folder = tempfile.TemporaryDirectory(prefix="bb-postgres-", dir="/tmp")
        self.port = free_port()
        self.settings = f"synchronous_commit = {'on' if synced else 'off'}"
        self._as = _unprivileged(Path(self._folder.name))
        data = f"{self._folder.name}/data"
        self._run("initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories={self._folder.name}"
        settings = [*options.split(), "-c", self.settings.replace(" ", "")]
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
        """End the server."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def _unprivileged(folder: Path) -> list[str]:
    """Return the prefix of PostgreSQL's commands, which refuse to run as root, and give away the folder."""
    if os.geteuid():
        return []
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]


def free_port() -> int:
    """Return an unused port on loopback."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def wait_for_port(port: int) -> None:
    """Wait until a server answers on a port. Raises Absent."""
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        with socket.socket() as line:
            if line.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Absent(f"no server answered on port {port} in {TIMEOUT:g} s")
