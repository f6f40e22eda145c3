"""The patterns of the published schemas mean the same in Python and in JavaScript, which most clients use."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from backburner.ipc.bus.protocol import document
from backburner.supervisor.integrations.mcp_tools import TOOLS

NODE = shutil.which("node")

#: What ECMA-262 allows, also for expressions with the flag `u`: plain characters, escapes of classes and of syntax
#: characters, classes, groups without names and flags, and quantifiers that are not possessive.
ECMA = re.compile(
    r"(?:\\[dDwWsSbB^$\\.*+?()\[\]{}|/]|\[(?:\\[dDwWsS^$\\.*+?()\[\]{}|/-]|[^\\\]\[])*\]|\((?:\?[:=!]|(?!\?))"
    r"|[^\\\[\](){}*+?]|\)|\{[0-9]+(?:,[0-9]*)?\}\??(?![+*?{])|[*+?]\??(?![+*?{]))*"
)

TEXTS = [
    *("", "*", "**", "*\n", "a", "a\n", "\n", "bg-1", "json:a.b", "json:a[b=c]", "jsonl:x[", "jsonl+:x", "stdout"),
    *("last-line", "last line", "stdout~", "stdout~a\nb", "stderr~x", "{uuid}", "a=b", "A", "agent-1", "-x", "x.y:z"),
    *("x:y\n", "12", "2026-11-29T21:09:32.232Z", "2026-11-29T21:09:32Z", "2026-11-29T21:09+01:00"),
    "bg-a133d631-5aa4-43ac-8c80-06eee329318d",
]


def patterns_in(schema: object) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from patterns_in(item)


PATTERNS = sorted({*patterns_in(document()), *patterns_in([tool.schema() for tool in TOOLS.values()])})


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pattern_has_only_what_javascript_knows(pattern):
    assert ECMA.fullmatch(pattern)
    assert re.compile(pattern)


@pytest.mark.parametrize(
    "pattern", [r"a\Z", r"\Aa", r"(?P<x>a)", r"(?i)a", r"a++", r"(?>a)", r"last\-line", r"\~", "[[a]]"]
)
def test_pattern_that_javascript_refuses_is_found(pattern):
    assert not ECMA.fullmatch(pattern)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("flags", ["", "u"])
def test_patterns_match_the_same_texts_in_javascript(flags):
    script = (
        "const [patterns, texts] = JSON.parse(require('fs').readFileSync(0));"
        f"const found = patterns.map((p) => texts.map((t) => new RegExp(p, '{flags}').test(t)));"
        "console.log(JSON.stringify(found))"
    )
    done = subprocess.run(
        [NODE or "node", "-e", script],
        input=json.dumps([PATTERNS, TEXTS]),
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    ours = [[bool(re.fullmatch(pattern[1:-1], text)) for text in TEXTS] for pattern in PATTERNS]
    assert json.loads(done.stdout) == ours
