"""The tasks of the trial of shared limits. Each counts the tasks that run at the same time.

A task locks its own file while any process of its tree lives, and then counts the locked files. So of two tasks
that start at the same moment at least one sees the other. This is the file that a task runs: it imports nothing else.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time


def count(folder: str) -> int:
    """Return the number of files in a folder that a process has locked."""
    return sum(_is_locked(os.path.join(folder, name)) for name in os.listdir(folder))


def _is_locked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def run(folder: str, journal: str, seconds: float) -> None:
    """Run as a task whose tree has a second process, in another session, that ends with the first one."""
    name = f"{os.environ['BACKBURNER_TASK_ID']}-{os.environ['BACKBURNER_ATTEMPT']}"
    descriptor = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(writer)
        os.read(reader, 1)  # until the first process closes its end, or is killed
        os._exit(0)
    note = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(note, f"{count(folder)} {name}\n".encode())
    time.sleep(seconds)
    os.close(writer)
    os.wait()


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], float(sys.argv[3]))
