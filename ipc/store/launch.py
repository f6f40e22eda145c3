"""Check a launch, and complete it with its agent, its key and the defaults, before anything is written."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import clock
from ..config.agents import BUILT_IN
from ..config.launcher import Launcher
from ..config.settings import BackgroundConfig
from ..errors import InvalidInput, MoveNotAllowed, Temporary, UnknownAgent
from ..failpoints import failpoint
from ..home import Home, sync, sync_path
from ..model.fields import LIST, VARIABLES
from ..model.launch import INPUT_LIMIT, LaunchInput
from ..model.task import TASK_SPECS, Task, TaskStatus

_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

#: The fields that describe the launcher, not the task.
_FROM_LAUNCHER = frozenset({"cwd", "env", "launcherEnv", "envDropped", "umask", "interpreter"})

#: The columns of a task before its first attempt.
_BEFORE_FIRST_ATTEMPT = {
    **{spec.column: None for spec in TASK_SPECS if spec.table == "tasks"},
    "status": TaskStatus.PENDING,
    "attempt": 0,
    "leftovers": 0,
    "result_truncated": 0,
}


@dataclass
class NewTask:
    """A launch, checked and completed: the columns of its two tables, and the tasks that it depends on.

    The store sets the fields from `number` on when it accepts the launch.
    """

    row: dict[str, Any]
    input: dict[str, Any]
    after: tuple[str, ...]
    after_any: tuple[str, ...]
    #: The number of the new task, or 0 if an existing task is returned.
    number: int = 0
    #: The ID of the unfinished task that is returned instead of a new one.
    existing: str | None = None
    #: The task waits for others.
    blocked: bool = False
    #: A task that must complete first has failed or was cancelled, so this task cannot run.
    dependency_failed: bool = False
    #: The state of the task's limit group.
    group: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return the task's ID."""
        return self.existing or str(self.row["id"])

    @property
    def columns(self) -> dict[str, Any]:
        """Return the columns of the accepted task, with the state of its group."""
        return {**_BEFORE_FIRST_ATTEMPT, **self.row, **self.input, **self.group, "blocked": self.blocked}

    @property
    def needs_supervisor(self) -> bool:
        """Return True if the supervisor has to be notified of the task.

        A task of a full or paused group needs no notification. A worker that settles a task of the group claims the
        next one or reports that it is idle, and the supervisor notices dead workers, raised limits and resumed keys.
        But the supervisor must learn when the task becomes due.
        """
        return self.may_start or self.row["due_at"] is not None

    @property
    def may_start(self) -> bool:
        """Return True if the task's group was neither full nor paused when the task was accepted."""
        return not (self.group["full"] or self.group["paused"])

    @classmethod
    def of(cls, launch: LaunchInput, config: BackgroundConfig, where: str, launcher: Launcher | None = None) -> NewTask:
        """Check a launch and fill in the defaults. `where` is put before field names in messages.

        `launcher` is the process of which the task gets the environment and the umask, if there is one.

        Raises InvalidInput, UnknownAgent.
        """
        if launch.cwd is not None and not os.path.isdir(launch.cwd):
            raise InvalidInput(f"{where}cwd: there is no folder {launch.cwd}.", field="cwd")
        agent = agent_of(launch, config, where)
        if launcher is not None:
            launch = launcher.complete(launch, agent, config)
        task = _task_row(launch, agent, config)
        input = _input_row(launch, launch.cwd or os.getcwd())
        if _may_be_too_large(launch, task, input):
            _refuse_too_large(launch, where)
        return cls(task, input, launch.after, launch.after_any)

    def copy_stdin(self, home: Home) -> None:
        """Copy the file for stdin into the home. Raises InvalidInput, Temporary.

        A pipe or a link that a command has put there for this task is used as it is.
        """
        source = self.input["stdin_file"]
        if source is None:
            return
        if _is_in_place(source, home):
            self.input["stdin_file"] = os.path.basename(source)
            return
        import shutil  # only a launch with a file needs it

        self.input["stdin_file"] = os.urandom(16).hex()
        try:
            with failpoint("launch.stdin.copy"):
                shutil.copyfile(os.path.join(self.input["cwd"], source), home.input(self.input["stdin_file"]))
        except OSError as error:
            from ..machine.shortage import is_shortage

            if is_shortage(error):
                raise _discard_copy(home.input(self.input["stdin_file"]), error) from error
            why = error.strerror or "not a regular file"
            raise InvalidInput(f"stdinFile: {source} cannot be read ({why}).", field="stdinFile") from error

    def sync_stdin(self, home: Home) -> None:
        """Sync the copy, so that it is as durable as its task. Raises Temporary."""
        if self.input["stdin_file"] is None:
            return
        path = home.input(self.input["stdin_file"])
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                sync(path)
            else:
                sync_path(path.parent)
        except OSError as error:
            raise Temporary(f"The copy of stdinFile cannot be synced now: {error.strerror}.") from error


def in_dependency_order(tasks: Sequence[NewTask]) -> Sequence[NewTask]:
    """Return tasks with each one after its dependencies, else in the given order.

    Raises InvalidInput if some of them wait for each other, with their IDs.
    """
    if not any(task.after or task.after_any for task in tasks):
        return tasks
    positions: dict[str, int] = {}
    for position, task in enumerate(tasks):
        positions.setdefault(str(task.row["id"]), position)
    graph = {
        position: [positions[id] for id in (*task.after, *task.after_any) if id in positions]
        for position, task in enumerate(tasks)
    }
    if all(blocker < position for position, blockers in graph.items() for blocker in blockers):
        return tasks
    return [tasks[position] for position in _order(graph, tasks)]


def _order(graph: dict[int, list[int]], tasks: Sequence[NewTask]) -> list[int]:
    """Return the positions with each one after its blockers, and otherwise in ascending order."""
    from graphlib import CycleError, TopologicalSorter
    from heapq import heapify, heappop, heappush

    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as error:
        members = " after ".join(str(tasks[position].row["id"]) for position in reversed(error.args[1]))
        raise InvalidInput(f"after: these tasks wait for each other: {members}", field="after") from None
    order, ready = [], list(sorter.get_ready())
    heapify(ready)
    while ready:
        order.append(position := heappop(ready))
        sorter.done(position)
        for following in sorter.get_ready():
            heappush(ready, following)
    return order


def follow_up(launch: LaunchInput, task: Task, config: BackgroundConfig, where: str = "") -> LaunchInput:
    """Return a launch that continues the session of an ended task. Fields that are not given come from that task.

    Raises:
        InvalidInput: The launch has no prompt, or names another agent.
        UnknownAgent: The task's agent is not configured.
        MoveNotAllowed: The session cannot be continued.
    """
    _require_prompt_for_same_agent(launch, task, where)
    if not task.status.ended:
        raise MoveNotAllowed(f"Task {task.id} has not ended ({task.status}): its session is in use.")
    if not config.agent(task.agent).resume:
        step = f"see: backburner agents show {task.agent}"
        raise MoveNotAllowed(f"The agent {task.agent} cannot continue a session: its settings have no `resume`; {step}")
    if task.session_id is None:
        raise MoveNotAllowed(f"Task {task.id} has no session to continue: {task.agent} reported none.")
    same_key = launch.concurrency_key is None and launch.model is None
    return replace(
        launch,
        agent=task.agent,
        model=launch.model or task.model,
        concurrency_key=task.concurrency_key if same_key else launch.concurrency_key,
        cwd=launch.cwd or task.cwd,
        parent_session_id=launch.parent_session_id or task.parent_session_id,
    )


def _require_prompt_for_same_agent(launch: LaunchInput, task: Task, where: str) -> None:
    if launch.prompt is None or launch.command is not None or launch.call is not None:
        raise InvalidInput(f"{where}prompt: only a prompt can continue a session.", field="prompt")
    if launch.agent not in (None, task.agent):
        raise InvalidInput(f"{where}agent: {launch.agent} cannot continue a session of {task.agent}.", field="agent")


def _is_in_place(source: str, home: Home) -> bool:
    folder, name = os.path.split(source)
    is_inside = folder == str(home.input(name).parent) and os.path.lexists(source)
    return is_inside and not stat.S_ISREG(os.lstat(source).st_mode)


def _discard_copy(copy: Path, error: OSError) -> Temporary:
    """Delete an incomplete copy to free its space, and return the error to raise."""
    with failpoint("launch.stdin.unlink"):
        copy.unlink(missing_ok=True)
    return Temporary(f"The copy of stdinFile does not fit into {copy.parent}: {error.strerror}.")


def agent_of(launch: LaunchInput, config: BackgroundConfig, where: str = "") -> str:
    """Return the agent of a launch. Raises UnknownAgent, InvalidInput."""
    _refuse_conflicts(launch, where)
    if launch.agent is None:
        return _implied_agent(launch, config, where)
    if launch.agent not in config.agent_names:
        known = ", ".join(sorted(config.agent_names))
        raise UnknownAgent(f"{where}agent: there is no agent {launch.agent}; known agents: {known}.")
    return launch.agent


def _refuse_conflicts(launch: LaunchInput, where: str) -> None:
    given = {"command": launch.command is not None, "python": launch.call is not None}
    if all(given.values()):
        raise InvalidInput(f"{where}command: give a command or a call, not both.", field="command")
    if launch.stdin is not None and launch.stdin_file is not None:
        raise InvalidInput(f"{where}stdin: give stdin or stdinFile, not both.", field="stdin")
    if not given["python"] and (launch.args or launch.kwargs):
        raise InvalidInput(f"{where}call: args and kwargs need a call.", field="call")
    _refuse_conflicting_variables(launch, where)
    _refuse_wrong_agent(launch.agent, given, where)


def _refuse_conflicting_variables(launch: LaunchInput, where: str) -> None:
    if launch.interpreter is not None and launch.call is None:
        raise InvalidInput(f"{where}interpreter: only a call has an interpreter.", field="interpreter")
    if launch.agent_args and (launch.command or launch.call):
        raise InvalidInput(f"{where}agentArgs: only an agent with a prompt has further arguments.", field="agentArgs")
    for name in launch.secret_env:
        if (launch.env or {}).get(name) is not None:
            raise InvalidInput(f"{where}secretEnv: {name} has a value in env already.", field="secretEnv")


def _refuse_wrong_agent(agent: str | None, given: dict[str, bool], where: str) -> None:
    if agent is None:
        return
    if given.get(agent) is False:
        name = "command" if agent == "command" else "call"
        raise InvalidInput(f"{where}{name}: the agent {agent} needs a {name}.", field=name)
    for other in (name for name, is_given in given.items() if is_given and name != agent):
        raise InvalidInput(f"{where}agent: the agent {agent} cannot run a {other} task.", field="agent")


def _implied_agent(launch: LaunchInput, config: BackgroundConfig, where: str) -> str:
    if launch.command is not None:
        return "command"
    if launch.call is not None:
        return "python"
    if launch.prompt is None:
        raise InvalidInput(f"{where}prompt: a task needs a prompt, a command or a call.", field="prompt")
    if not config.default_agent:
        known = ", ".join(sorted(set(config.agent_names) - set(BUILT_IN)))
        raise UnknownAgent(f"{where}agent: a prompt needs an agent; name one ({known}) or set default_agent.")
    return config.default_agent


def _default_model(agent: str, config: BackgroundConfig) -> str | None:
    return config.agent(agent).model or None


def _default_timeout(agent: str, config: BackgroundConfig) -> int:
    return clock.whole_milliseconds(config.agent(agent).timeout_s or config.task_timeout_s)


def _may_be_too_large(launch: LaunchInput, task: dict[str, Any], input: dict[str, Any]) -> bool:
    """Return False if the input is far below the limit: a character takes at most 6 bytes of JSON."""
    texts = [value for value in (launch.cwd, *task.values(), *input.values()) if isinstance(value, str)]
    return sum(map(len, texts)) > INPUT_LIMIT // 8


def _refuse_too_large(launch: LaunchInput, where: str) -> None:
    if len(_json(launch.to_json()).encode()) > INPUT_LIMIT:
        raise InvalidInput(
            f"{where or 'The '}input is larger than 1 MiB as JSON; pass long texts in a file (stdinFile).",
            field="prompt",
        )


def _new_id() -> str:
    """Return `bg-` and a random UUID, version 4 (RFC 9562), in a third of the time that the `uuid` module takes."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) % 4]
    return f"bg-{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def _task_row(launch: LaunchInput, agent: str, config: BackgroundConfig) -> dict[str, Any]:
    model = launch.model or _default_model(agent, config)
    return {
        **launch.columns("tasks"),
        "id": launch.id or _new_id(),
        "session": None,
        "agent": agent,
        "model": model,
        "key": launch.concurrency_key or model or agent,
        "max_attempts": launch.retries + 1,
        **_times(launch, agent, config),
    }


def _times(launch: LaunchInput, agent: str, config: BackgroundConfig) -> dict[str, int | None]:
    now = clock.now()
    not_before = now + launch.delay_ms if launch.delay_ms else None
    expires = (not_before or now) + config.max_queue_wait_s * 1000 if config.max_queue_wait_s else None
    timeout = launch.timeout_ms if launch.timeout_ms is not None else _default_timeout(agent, config)
    return {
        "queued_at": now,
        "not_before": not_before,
        "expires_at": None if expires is None else round(expires),
        "due_at": _earliest(not_before, expires),
        "timeout_ms": timeout or None,
    }


def _earliest(*times: float | None) -> int | None:
    return min((round(time) for time in times if time is not None), default=None)


def _input_row(launch: LaunchInput, cwd: str) -> dict[str, Any]:
    columns = launch.columns("inputs")
    if launch.secret_env:
        columns["env"] = VARIABLES.dump({**(launch.env or {}), **dict.fromkeys(launch.secret_env)})
    return {
        **columns,
        "digest": _digest(launch.to_json()) if launch.id else None,
        "cwd": os.path.abspath(cwd),
        "after": LIST.dump((*launch.after, *launch.after_any)),
        "after_any": LIST.dump([id for id in launch.after_any if id not in launch.after]),
    }


def _digest(document: dict[str, Any]) -> str:
    """Return the digest of an input without what it has from its launcher, which may differ in a repeated call."""
    import hashlib  # only a launch that chooses its ID needs it

    digested = {name: value for name, value in document.items() if name not in _FROM_LAUNCHER}
    return hashlib.sha256(json.dumps(digested, sort_keys=True).encode()).hexdigest()
