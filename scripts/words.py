"""Check the words of docstrings, comments, help, documents and names of tests.

Prints each finding as `file:line: what is wrong` and fails if there is one. With --commits it checks the subjects of
the commits after the one that setup.cfg names, with --message FILE the subject of one commit message.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.prose import LONGEST_SENTENCE, long_sentences, paragraphs  # noqa: E402 (the root comes first on the path)

#: The folders whose files are checked, and the documents.
SOURCES = ("backburner", "ipc", "supervisor", "scripts", "tests", "examples")
DOCUMENTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**/*.md")

#: The folder of texts that other programs wrote.
RECORDED = ROOT / "tests" / "data"

#: Other files with comments after `#`: configuration and CI.
COMMENTED = (".ci/*", "*.toml", "*.cfg", "*.ini", "*.yml", ".*.yaml")

#: The maximum number of characters of a test's name and of a commit's subject.
MAX_TEST_NAME, MAX_SUBJECT = 80, 72

#: Turns of phrase that do not belong, and what to write instead.
BANNED = {
    r"\b(whoever|nobody|somebody|anybody)\b": "the process that ..., no process, a caller",
    r"(?<!people )(?<!person )(?<!user )(?<!users )(?<!anyone )(?<!someone )(?<!those )\bwho\b": "the process that ...",
    r"\bwho's\b": "which process",
    r"\b(told|tells of|tell of|telling of)\b": "notified, reported",
    r"\b(hears?|heard)\b": "receives, received",
    r"\b(said|says)\b": "given, reports, returns",
    r"\b(goes|go|went|going) on\b": "continues",
    r"\b(anew|afresh)\b": "again, recreated",
    r"\bso (many|much|often|long)\b(?! as\b)(?! that\b)": "the number, up to N times, the maximum",
    r"(?<!instead )\b(of its|of their|of our|of his) own\b|\ban own\b": "its own ..., a separate ...",
    r"\bwithout a word\b": "silently",
    r"\bin (clear )?words\b": "with a clear message",
    r"\bwith a sentence\b": "with a clear message",
    r"\bthat is all\b|\bso it stays\b|\bis what it is\b": "nothing: delete it",
    r"\b(bur(y|ies|ied|ial)|stillborn|heirs?|crew|nurs(e|ery|eries)|usher|herald)\b": "rescue, successor, fork server",
    r"\b(last breath|last words|farewell)\b": "shutdown, the last lines",
    r"\b(yard|zoo|siege|stage hand|doomed|wreck|graft(ed)?)\b": "the field's term",
    r"\b(as it does|as they come|as it comes|as they are told)\b": "unchanged, as they arrive",
    r"\b(what|whatever) (came|comes|becomes|became) of\b": "the result of",
    r"\bof that name\b": "no such ...",
    r"\b(strike|struck|strikes) out\b": "delete, deregister",
    r"\b(mend(s|ed|ing)?|stirs?|stirred)\b": "repair, wake",
    r"\b(make|makes|made) (it )?good\b": "correct",
    r"\bhave had enough\b|\bheard enough\b": "closed the pipe",
}

#: A docstring is no indirect question.
QUESTION = re.compile(r"(Whether|What|Who|Whose|How|Where|When|Which|Why|If)\b")

#: Verbs in other forms; the words in the middle end the same way and are imperatives.
NOT_IMPERATIVE = re.compile(
    r"(?!(Pass|Address|Process|Access|Press|Express|Compress|Suppress|Discuss|Miss|Guess|Focus|Cross"
    r"|Bring|Ring|Need|Feed|Speed|Embed|Shed)\b)\w+(ed|ing|s)\b"
)

_BANNED = {re.compile(pattern, re.IGNORECASE): better for pattern, better in BANNED.items()}


class Finding(NamedTuple):
    """One place in a file, and what is wrong there."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        """`file:line: what`."""
        return f"{self.path}:{self.line}: {self.what}"


def phrases(text: str) -> Iterator[str]:
    """Yield what is wrong with the words of a text."""
    for pattern, better in _BANNED.items():
        if found := pattern.search(text):
            yield f"«{found[0]}»: write {better}"


def check_document(path: Path, name: str) -> Iterator[Finding]:
    """Yield what is wrong with a Markdown document."""
    text = path.read_text()
    for line, prose in (*paragraphs(text), *_table_rows(text)):
        yield from (Finding(name, line, what) for what in phrases(_unquoted(prose)))
    for one in long_sentences(text):
        what = f"a sentence of {one.length} words (at most {LONGEST_SENTENCE}): {one.text[:60]}..."
        yield Finding(name, one.line, what)


def _table_rows(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.startswith("|"))


def check_source(path: Path, name: str) -> Iterator[Finding]:
    """Yield what is wrong with the docstrings, comments, help and names of functions of a Python file."""
    text = path.read_text()
    tree = ast.parse(text)
    for line, prose in (*_docstrings(tree), *_comments(text), *_help(tree)):
        yield from (Finding(name, line, what) for what in phrases(_unquoted(prose)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (Finding(name, node.lineno, what) for what in phrases(node.name.replace("_", " ")))
            if node.name.startswith("test_") and len(node.name) > MAX_TEST_NAME:
                yield Finding(name, node.lineno, f"a name of {len(node.name)} characters (at most {MAX_TEST_NAME})")
            if QUESTION.match(ast.get_docstring(node) or ""):
                yield Finding(name, node.lineno, "the docstring is an indirect question: begin with a verb")


def _unquoted(text: str) -> str:
    """Return a text without code and quotations."""
    return re.sub(r"`[^`]*`|«[^»]*»|\"[^\"]*\"", "", text)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found = ast.get_docstring(node, clean=False)
            if found:
                yield node.body[0].lineno, found


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def _help(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.keyword)
            and node.arg in ("help", "short_help", "epilog")
            and isinstance(node.value, ast.Constant | ast.JoinedStr)
        ):
            yield node.value.lineno, " ".join(_texts(node.value))


def _texts(node: ast.Constant | ast.JoinedStr) -> list[str]:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return [str(part.value) for part in parts if isinstance(part, ast.Constant)]


def check_statement(path: Path, name: str) -> Iterator[Finding]:
    """Yield what is wrong with the comments of a SQL file."""
    for line, text in enumerate(path.read_text().splitlines(), 1):
        _, dashes, comment = text.partition("--")
        if dashes:
            yield from (Finding(name, line, what) for what in phrases(_unquoted(comment)))


def check_comments(path: Path, name: str) -> Iterator[Finding]:
    """Yield what is wrong with the comments of a script of the shell or a configuration file."""
    for line, text in enumerate(path.read_text().splitlines(), 1):
        if found := re.search(r"(?:^|\s)#:? (.*)", text):
            yield from (Finding(name, line, what) for what in phrases(_unquoted(found[1])))


def check_subject(subject: str) -> Iterator[str]:
    """Yield what is wrong with the subject of a commit."""
    if len(subject) > MAX_SUBJECT:
        yield f"{len(subject)} characters (at most {MAX_SUBJECT})"
    if subject.endswith("."):
        yield "ends with a full stop"
    if not re.match(r"[A-Z]", subject):
        yield "does not begin with a capital letter"
    if NOT_IMPERATIVE.match(subject):
        yield 'is not in the imperative ("Close the pipe", not "Closed" or "Closes")'
    yield from phrases(subject)


def check_commits() -> Iterator[Finding]:
    """Yield what is wrong with the subjects of the commits after the base that setup.cfg names."""
    base = _base()
    known = subprocess.run(
        ["git", "-C", ROOT, "cat-file", "-e", f"{base}^{{commit}}"], capture_output=True, check=False
    )
    if known.returncode:
        print(f"skipped: the clone lacks {base}, after which commit subjects are checked")
        return
    command = ["git", "-C", ROOT, "log", "--no-merges", "--format=%h %s", f"{base}..HEAD"]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        commit, _, subject = line.partition(" ")
        yield from (Finding(f"commit {commit}", 1, f"{what}: {subject}") for what in check_subject(subject))


def _base() -> str:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["words"]["commits_after"]


def check_tree() -> Iterator[Finding]:
    """Yield what is wrong with all sources, documents, scripts and configuration files."""
    sources = [f"{folder}/**/*" for folder in SOURCES]
    for path in sorted({path for pattern in (*sources, *DOCUMENTS, *COMMENTED) for path in ROOT.glob(pattern)}):
        if check := check_of(path):
            yield from check(path, str(path.relative_to(ROOT)))


def check_of(path: Path) -> Callable[[Path, str], Iterator[Finding]] | None:
    """Return the check of a file, or None if it is a folder, not text, or recorded."""
    if path.is_relative_to(RECORDED):
        return None
    if not path.suffix and path.is_file():
        return check_comments
    return CHECKS.get(path.suffix)


#: The check of a file, by its suffix.
CHECKS = {".py": check_source, ".sql": check_statement, ".md": check_document} | dict.fromkeys(
    (".sh", ".toml", ".cfg", ".ini", ".yml", ".yaml"), check_comments
)


def main() -> int:
    """Print every finding; return 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", action="store_true", help="check the subjects of new commits")
    parser.add_argument("--message", type=Path, metavar="FILE", help="check the subject of one commit message")
    options = parser.parse_args()
    if options.message:
        subject = options.message.read_text().partition("\n")[0]
        found = [Finding("subject", 1, what) for what in check_subject(subject)]
    else:
        found = [*(check_commits() if options.commits else check_tree())]
    for one in found:
        print(one)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
