"""Errors about launches that name the options of the command line in place of the fields of a launch."""

from __future__ import annotations

import re
from collections.abc import Mapping

#: The option of each field of a launch, or the name of an argument.
OPTIONS: Mapping[str, str] = {
    "agent": "--agent",
    "model": "--model",
    "concurrencyKey": "--key",
    "parentMessageId": "--message",
    "parentSessionId": "--parent",
    "description": "--description",
    "tags": "--tag",
    "priority": "--priority",
    "delayMs": "--delay",
    "timeoutMs": "--timeout",
    "retries": "--retries",
    "uniqueKey": "--unique",
    "after": "--after",
    "afterAny": "--after-any",
    "resume": "--resume",
    "leaveChildren": "--leave-children",
    "call": "--call",
    "args": "--args",
    "kwargs": "--kwargs",
    "metadata": "--metadata",
    "cwd": "--cwd",
    "env": "--env",
    "secretEnv": "--secret",
    "agentArgs": "--agent-arg",
    "stdinFile": "--stdin",
    "stdin": "--stdin",
    "prompt": "prompt",
    "command": "command",
}

# The patterns are compiled only for an error.
#: The start of a message, or of a further mistake in it: a field, possibly with an index or a key, and a colon.
_FIELD = r"(?:^|(?<=; ))(?P<name>[a-z][A-Za-z]*)(?P<place>(?:\.|\[)[^:;]*)?: "

#: The description of a mistake that is only that the text is empty.
_EMPTY = r": expected [^;]*, got ''"

#: The description of a mistake in the bytes of an argument, which cannot have a NUL.
_NOT_UTF8 = r": expected text without NUL characters and lone surrogates, got [^;]*"


def with_options(message: str) -> str:
    """Return a message in which options replace the fields of a launch."""
    named = re.sub(_FIELD, _option, message).replace("--call: args and kwargs need", "--args and --kwargs need")
    return re.sub(_NOT_UTF8, " is not valid UTF-8", re.sub(_EMPTY, " must not be empty", named))


def _option(match: re.Match[str]) -> str:
    name, place = OPTIONS.get(match["name"]), match["place"] or ""
    if name is None:
        return match[0]
    if name == "--tag":
        place = ""
    return f"{name}{place.replace('.', ' ', 1) if name == '--env' else place}: "
