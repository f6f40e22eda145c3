"""The runners of one worker: processes for callables, kept from one call to the next while they are clean."""

from __future__ import annotations

import json
import os
import signal
import socket

from ipc.moments import moment
from supervisor.children import fork
from supervisor.execution import runner as protocol
from supervisor.execution.plan import CannotStart
from supervisor.execution.spawn import DEFAULT_SIGNALS
from supervisor.execution.trees import forget_status, take_status
from supervisor.role import name_process
from supervisor.signals import let_through, restore_default


class Runner:
    def __init__(self, pid, channel, sender, receiver):
        forget_status(pid)
        self.pid, self.channel, self.sender, self.receiver = pid, channel, sender, receiver
        self.retired = self.hung_up = self.blocked = self.has_children = False
        self.outputs = ""
        self._rest = b""
        self._lines = []

    @classmethod
    def forked(cls):
        ours, theirs = socket.socketpair()
        sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker = os.getpid()

        def be_runner() -> None:
            protocol.go_with(worker)
            ours.close()
            sender.close()
            os.setsid()
            restore_default(*DEFAULT_SIGNALS, signal.SIGUSR1)
            signal.set_wakeup_fd(-1)
            let_through()
            name_process("bb-runner")
            protocol.serve(theirs, receiver, moment)

        pid = fork(be_runner)
        theirs.close()
        return cls(pid, ours, sender, receiver)

    def start(self, hello, journal):
        self.outputs = hello["outputs"]
        protocol.send(self.channel, hello, [journal])
        self.channel.setblocking(False)

    def send(self, order, fallback):
        data = json.dumps(order).encode()
        if len(data) > 65536:
            data = json.dumps(fallback(data)).encode()
        try:
            self.sender.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        return True

    def take_back(self):
        claims = []
        while True:
            try:
                data = self.receiver.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return claims
            found = json.loads(data)
            claims.append((json.loads(open(found).read()) if isinstance(found, str) else found)[0])

    def read(self):
        try:
            data = self.channel.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.hung_up = self.retired = True
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == b"r":
                self.retired = True
            if line == b"f":
                self.blocked = True

    def take_entries(self):
        return []

    def resume(self):
        self.blocked = False
        self.channel.send(b".")

    def end(self) -> int:
        """The wait status of a runner that hung up; one that only closed its line is of no use any more."""
        status = take_status(self.pid)
        if status is None:
            with moment("runner.kill"):
                os.kill(self.pid, signal.SIGKILL)
            _, status = os.waitpid(self.pid, 0)
        return status


class Runners:
    def __init__(self, meet, part):
        self.own = Runner.forked()

    def get(self, interpreter):
        if interpreter:
            raise CannotStart("no other interpreters yet")
        return self.own

    def are_fresh(self):
        return not self.own.retired

    def pids(self):
        return set() if self.own.retired else {self.own.pid}
