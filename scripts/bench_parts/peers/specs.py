"""The other systems, each with two slots and the settings of its manual."""

from __future__ import annotations

from scripts.bench_parts.peers.contestant import Spec
from scripts.bench_parts.peers.environment import Postgres, Redis

_RQ = "{python} -m rq.cli worker --quiet --worker-class rq.SimpleWorker --url {url} bench"
_PROCRASTINATE = "{python} -m procrastinate --app {module}.app worker --concurrency 1"

#: Durable Python queues that keep a task until its end, or a record of its end.
QUEUES = (
    Spec("litequeue", "litequeue", "defaults, two processes", ("{python} -m {module}",) * 2),
    Spec(
        "Dramatiq",
        "dramatiq",
        "-p 2 -t 8",
        ("{python} -m dramatiq {module} --processes 2 --threads 8",),
        Redis,
    ),
    Spec(
        "Celery",
        "celery",
        "prefork -c 2, acks_late, ignore_result",
        ("{python} -m celery -A {module} worker --concurrency 2 --loglevel ERROR",),
        Redis,
        0.5,
        {"C_FORCE_ROOT": "1"},
    ),
    Spec(
        "taskiq",
        "taskiq",
        "redis streams, 2 workers",
        ("{python} -m taskiq worker {module}:broker --workers 2 --log-level ERROR",),
        Redis,
        0.5,
    ),
    Spec("RQ", "rq", "SimpleWorker, 2 processes", (_RQ,) * 2, Redis, 0.2),
    Spec("procrastinate", "procrastinate", "2 processes", (_PROCRASTINATE,) * 2, lambda: Postgres(False), 0.2),
)

HUEY = Spec(
    "SqliteHuey",
    "huey",
    "defaults (WAL, synchronous = FULL), 2 processes",
    ("{python} -m huey.bin.huey_consumer {module}.huey -w 2 -k process -q",),
)
