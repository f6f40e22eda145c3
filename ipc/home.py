"""The state directory: its location, its files, and the checks before its use."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import BadHome, InvalidInput
from .failpoints import failpoint

NAME = ".backburner"

#: The unit of st_blocks, in bytes (stat(2)).
BLOCK = 512

#: The longest path of a Unix socket that every system accepts, in bytes. macOS has room for 104, with a final NUL.
SOCKET_PATH_LIMIT = 103

#: File systems on which POSIX locks and SQLite's shared memory are not reliable.
NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs4 cifs smb2 smb3 smbfs ncpfs afs 9p ceph glusterfs lustre fuse.sshfs afpfs webdav".split()
)

#: What a state directory without a database may contain: our files, and those that a person or a file system puts
#: there.
OWN_FILES = tuple(
    "input output commits config.toml lost+found *.lock *.wake *.sock supervisor.log* backburner.db* damaged-*"
    " scratch-* web.json reserve".split()
)


@dataclass(frozen=True)
class Home:
    """A state directory, which may not exist yet."""

    folder: Path

    @classmethod
    def find(cls, explicit: str | None = None, cwd: Path | None = None) -> Home:
        """Return the home of a command that was started in `cwd` with `--home explicit`. Does not create it.

        Symbolic links are resolved, so that all processes of a home know it by the same path.

        Raises:
            BadHome: The current folder is gone, and the home depends on it.
        """
        named = explicit or os.environ.get("BACKBURNER_HOME")
        folder = _expanded(named) if named else None
        if folder is None or not folder.is_absolute():
            start = cwd or current_folder()
            if start is None:
                raise BadHome("The current folder is gone; change to another one, or use --home DIR with a full path.")
            folder = _nearest(start) if folder is None else start / folder
        return cls(_resolved(folder))

    @property
    def id(self) -> str:
        """Return the device and inode of the folder, or "" if it is missing. A move keeps them, a copy has others."""
        return folder_id(self.folder)

    def size(self) -> int:
        """Return the space that the files take, in bytes."""
        folders = (self.folder, self.folder / "output", self.folder / "input")
        return sum(_size_of_files(folder) for folder in folders)

    @property
    def database(self) -> Path:
        """Return the path of the SQLite file."""
        return self.folder / "backburner.db"

    @property
    def config(self) -> Path:
        """Return the path of the home's own configuration file."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """Return the path of the log of a detached supervisor and its children."""
        return self.folder / "supervisor.log"

    @property
    def socket(self) -> Path:
        """Return the path of the bus. It may be too long for a connection, for which `bus` is short enough."""
        return self.folder / "bus.sock"

    def lock(self, name: str) -> Path:
        """Return the path of the file that the process of a role keeps locked while it runs."""
        return self.folder / f"{name}.lock"

    @property
    def bus(self) -> str:
        """Return a path of the bus that is short enough to connect to."""
        return self.short("bus.sock")

    def short(self, name: str) -> str:
        """Return a path of a socket in the home that is short enough to bind and to connect to."""
        direct = str(self.folder / name)
        if len(os.fsencode(direct)) <= SOCKET_PATH_LIMIT:
            return direct
        return str(_shortcut(self.folder) / name)

    def remove_shortcut(self) -> None:
        """Delete the link for a path that is too long for a socket. The next process that needs it creates it again."""
        link = Path(self.bus).parent
        if link != self.folder:
            with suppress(OSError), failpoint("shortcut.unlink"):
                link.unlink()

    def output(self, claim: int, stream: str) -> Path:
        """Return the file for one stream (`stdout`, `stderr`) of one attempt."""
        return Path(self.output_name(claim, stream))

    def output_name(self, claim: int, stream: str) -> str:
        """Return the path of `output` as text. Creating a Path for every attempt would be too slow."""
        return f"{self.folder}/output/{claim}.{stream}"

    def input(self, name: str) -> Path:
        """Return the path of a file with the input of a task."""
        return self.folder / f"input/{name}"

    def prepare(self) -> Home:
        """Create the folders and files that are missing.

        Raises:
            BadHome: The folder cannot be used, or is not safe to use.
        """
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            self.check()
            for name in ("output", "input"):
                (self.folder / name).mkdir(0o700, exist_ok=True)
            _create(self.folder / ".gitignore", "*\n")
            for role in ("supervisor", "flusher"):
                self.create_wake_pipe(role)
        except OSError as error:
            message = f"The home {self.folder} cannot be used: {error.strerror or error}"
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):  # a client may have started us in /
                message += "; name a folder of yours with --home DIR or BACKBURNER_HOME"
            raise BadHome(f"{message}.") from error
        return self

    def check(self) -> None:
        """Raise BadHome if the folder belongs to another user, is writable by others, or is on a network."""
        try:
            _refuse_unsafe(self.folder, self.folder.stat())
        except OSError as error:
            raise BadHome(f"The home {self.folder} cannot be used: {error.strerror}.") from error
        kind = _file_system(self.folder)
        if kind in NETWORK_FILE_SYSTEMS:
            raise BadHome(f"The home {self.folder} is on a network file system ({kind}); choose a local one.")

    def is_usable(self) -> bool:
        """Return True if the folder exists at this moment and can be read and written."""
        return _is_accessible(self.folder)

    def create_wake_pipe(self, role: str) -> None:
        """Create the named pipe that `wake` writes to. Raises OSError."""
        _create_fifo(self.folder / f"{role}.wake")

    def wake(self, role: str, line: str = "") -> bool:
        """Hint to a role that something has changed. Return True if the role received the hint.

        The role also looks at the database at intervals, so a lost hint costs only a delay.
        """
        try:
            pipe = os.open(f"{self.folder}/{role}.wake", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no process reads the pipe
            return False
        try:
            with failpoint("wake.send"):
                os.write(pipe, line.encode() + b"\n")
        except OSError as error:
            # A full pipe means that the role is awake already. A closed pipe means that the role has exited. When
            # it starts again, it looks at the database.
            if error.errno not in (errno.EAGAIN, errno.EPIPE):
                raise
            return False
        finally:
            os.close(pipe)
        return True


def check_home_option(option: str, home: Home, only_reads: bool) -> None:
    """Refuse a folder with the files of another program, and for a command that only reads, a missing folder.

    Where BACKBURNER_HOME names the same folder, that counts: the processes that we start get both.

    Raises InvalidInput, BadHome.
    """
    if not option:
        raise InvalidInput("--home must not be empty")
    if os.environ.get("BACKBURNER_HOME") != option:
        _refuse_foreign(option, home, _names(option, home, only_reads))


def current_folder() -> Path | None:
    """Return the current folder, or None if it was deleted."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _resolved(folder: Path) -> Path:
    """Resolve links, except a link to nothing: it is refused later, since its disk may only be missing for now."""
    resolved = os.path.realpath(folder)
    return Path(os.path.abspath(folder) if os.path.islink(folder) and not os.path.exists(resolved) else resolved)


def _expanded(named: str) -> Path:
    try:
        return Path(named).expanduser()
    except RuntimeError:
        raise BadHome(f"The home folder of this user is unknown, so {named} leads nowhere; give a full path.") from None


def folder_id(path: str | os.PathLike[str]) -> str:
    """Return the device and inode of a folder as one word, or "" if it cannot be reached."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def size_on_disk(path: str | os.PathLike[str]) -> int:
    """Return the bytes that a file takes, or 0 if it is gone. A hole takes none."""
    try:
        return os.lstat(path).st_blocks * BLOCK
    except OSError:
        return 0


def sync(path: Path) -> None:
    """Make a file, and its name in its folder, survive a power loss. Raises OSError."""
    sync_path(path)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Make a file or a folder durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_of_files(folder: Path) -> int:
    with suppress(OSError), os.scandir(folder) as entries:
        return sum(size_on_disk(entry.path) for entry in entries)
    return 0


def _refuse_unsafe(folder: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise BadHome(f"The home {folder} is not a folder.")
    if status.st_uid not in (os.geteuid(), 0):
        raise BadHome(f"The home {folder} belongs to another user (uid {status.st_uid}).")
    if status.st_mode & 0o022:
        raise BadHome(f"The home {folder} is writable by other users; run: chmod go-w {folder}")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise BadHome(f"The home {folder} cannot be used: {os.strerror(errno.EROFS)}.")
    if not _is_accessible(folder):
        raise BadHome(f"The home {folder} cannot be used: {os.strerror(errno.EACCES)}.")


def _is_accessible(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _nearest(start: Path) -> Path:
    folders = [start, *start.parents]
    for folder in folders:
        if (folder / NAME).is_dir():
            return folder / NAME
    for folder in folders:
        if (folder / ".git").exists():
            return _main_checkout(folder) / NAME
        if (folder / "backburner.toml").exists():
            return folder / NAME
    return start / NAME


def _main_checkout(folder: Path) -> Path:
    """Return the main checkout. In a worktree or submodule, `.git` is a file that points into the main checkout."""
    link = folder / ".git"
    if link.is_dir():
        return folder
    try:
        target = folder / link.read_text().removeprefix("gitdir:").strip()
    except (OSError, UnicodeDecodeError):
        return folder
    inside = Path(os.path.normpath(target))
    return next((parent.parent for parent in inside.parents if parent.name == ".git"), folder)


def _create(path: Path, text: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "w") as file:
        file.write(text)


def _create_fifo(path: Path) -> None:
    try:
        with failpoint("wake.make"):
            os.mkfifo(path, 0o600)
    except FileExistsError:
        return


def _shortcut(folder: Path) -> Path:
    """Return a symbolic link in a private folder to a folder with a long path. Create it if it is missing."""
    import hashlib  # only homes with long paths need it

    base = _runtime_folder()
    link = base / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    try:
        with failpoint("shortcut.link"):
            link.symlink_to(folder)
    except FileExistsError:
        if Path(os.readlink(link)) != folder:
            raise BadHome(f"{link} does not point to {folder}; remove it.") from None
    return link


def _runtime_folder() -> Path:
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    roots = [root for root in (given, "/tmp") if root and len(root) < 40 and os.path.isdir(root)]  # noqa: S108 (checked below)
    base = Path(roots[0]) / f"backburner-{os.geteuid()}"
    base.mkdir(0o700, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise BadHome(f"{base} must be a folder that only you can use; remove it.")
    return base


def _file_system(folder: Path) -> str:
    if sys.platform != "linux":
        return ""
    best, kind = "", ""
    path = os.path.realpath(folder)
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:  # /proc is not mounted
        return ""
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind


def _names(option: str, home: Home, only_reads: bool) -> list[str]:
    try:
        return os.listdir(home.folder)
    except FileNotFoundError:
        if only_reads:
            raise InvalidInput(f"--home {option}: there is no such folder") from None
    except NotADirectoryError:
        raise BadHome(f"The home {home.folder} is not a folder.") from None
    except OSError:  # another user's folder, for which `Home.check` has the message
        pass
    return []


def _refuse_foreign(option: str, home: Home, names: list[str]) -> None:
    if home.database.name not in names and any(_is_foreign(home.folder, name) for name in names):
        raise InvalidInput(
            f"--home {option} is not a state directory: it holds other files; did you mean"
            f" --home {os.path.join(option, NAME)}?"
        )


def _is_foreign(folder: Path, name: str) -> bool:
    from fnmatch import fnmatch

    if name == ".gitignore":  # ours ignores everything
        try:
            return (folder / name).read_bytes() != b"*\n"
        except OSError:
            return True
    return not any(fnmatch(name, pattern) for pattern in OWN_FILES)
