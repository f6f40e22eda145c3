"""The errors of backburner, with their exit codes and their JSON-RPC error codes."""

from __future__ import annotations

#: The exit codes that a shell reports for a program that Ctrl-C has interrupted, and for one that wrote to a pipe
#: without a reader.
INTERRUPTED, BROKEN_PIPE = 130, 141


class BackburnerError(Exception):
    """Something went wrong."""

    #: The exit code of the command line.
    exit_code = 1
    #: The JSON-RPC error code on the socket.
    rpc_code = -32603
    #: The input field that caused the error, or None.
    field: str | None = None

    def __init__(self, message: str | None = None, *, field: str | None = None) -> None:
        """Take the message for the user. The default is the first line of the class's docstring."""
        super().__init__(message or _default_message(type(self)))
        self.field = field or self.field


def _default_message(kind: type[BackburnerError]) -> str:
    """Return the first line of a class's docstring. `python -OO` removes it, and then the name has to do."""
    if kind.__doc__:
        return kind.__doc__.splitlines()[0]
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)
    return f"{words.strip().capitalize()}."


class InvalidInput(BackburnerError):
    """The input is not what was expected."""

    exit_code = 2
    rpc_code = -32602


class UnknownAgent(InvalidInput):
    """There is no such agent."""

    field = "agent"


class Ambiguous(InvalidInput):
    """Several tasks match that id."""

    field = "id"


class NotFound(BackburnerError):
    """There is no such task."""

    exit_code = 3
    rpc_code = -32001


class NoSupervisor(BackburnerError):
    """No supervisor is running."""

    exit_code = 4
    rpc_code = -32004


class MoveNotAllowed(BackburnerError):
    """That move is not allowed now."""

    exit_code = 5
    rpc_code = -32002


class OverCap(BackburnerError):
    """The parent has as many unfinished tasks as it may have."""

    exit_code = 111
    rpc_code = -32003


class Permanent(BackburnerError):
    """This cannot work until something is changed by hand."""

    exit_code = 100


class BadConfiguration(Permanent):
    """The configuration has mistakes."""


class BadHome(Permanent):
    """The home cannot be used."""


class AlreadyRunning(Permanent):
    """A supervisor already runs here."""


class NewerSchema(Permanent):
    """The database was written by a newer backburner; upgrade this one."""


class OlderProcesses(Permanent):
    """Processes of an older backburner still use the state directory; stop them first."""


class Damaged(Permanent):
    """The database is damaged."""


class Temporary(BackburnerError):
    """This may work later."""

    exit_code = 111
    rpc_code = -32004


class HeldByWorker(Temporary):
    """The task is about to run, and the worker that holds it does not answer; try again later."""


class Unsynced(Temporary):
    """The change was written, but the disk did not confirm it. It may not survive a power loss."""


class GateBusy(Temporary):
    """Another process holds the write gate."""


class OutputFailed(BackburnerError):
    """The output of a command could not be written."""

    exit_code = 74


class Disconnected(Temporary):
    """The bus went away."""
