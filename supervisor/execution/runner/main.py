"""Start the runner, in a fork of the worker or under another interpreter."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import nullcontext, suppress

from .call_runner import CallRunner
from .system import Failpoint, become_subreaper, die_with_parent, use_python_signals
from .wire import receive_hello


def main() -> None:
    """Run calls in a process that was started with the two sockets and the worker's process ID as arguments."""
    channel, queue, worker = map(int, sys.argv[1:])
    die_with_parent(worker)
    serve(socket.socket(fileno=channel), socket.socket(fileno=queue), worker)
    os._exit(0)  # threads of calls may be left


def serve(channel: socket.socket, queue: socket.socket, worker: int, failpoint: Failpoint = nullcontext) -> None:
    """Run calls until the worker closes the channel. A test can kill this process at each `failpoint`."""
    for connection in (channel, queue):
        connection.set_inheritable(False)
    del sys.argv[1:]
    become_subreaper()
    use_python_signals()
    received = receive_hello(channel)
    if received is None:
        return
    runner = CallRunner(channel, queue, worker, failpoint)
    runner.prepare(*received)
    with suppress(ConnectionError):  # the worker has exited
        runner.run()
