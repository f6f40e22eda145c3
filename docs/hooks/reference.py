"""The mkdocs hook that completes the pages from the program itself when the site is built.

A page may hold these comments, each on a line of its own:

`<!-- generated: commands -->`      every command with its help
`<!-- generated: errors -->`        the exception classes with their exit codes
`<!-- columns: NAME -->`            further columns, such as type and default, for the table that follows
`<!-- method: NAME -->`             parameters and result of a method of the socket
`<!-- python: NAME -->`             signature and docstrings of a public name of the package

The build fails if a page leaves out something that the code has, or names something that it does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_help
import python_api
import tables
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]

#: Documents at the root of the repository that are pages of the site, too.
ROOT_PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}

_MARK = re.compile(r"^<!-- (generated|method|python): (\S+) -->$", re.MULTILINE)

_GENERATORS: dict[str, Callable[[str], str]] = {
    "commands": lambda _name: command_help.page(),
    "errors": lambda _name: python_api.error_table(),
}


def on_files(files: Any, config: Any) -> Any:
    """Add the documents at the root of the repository. Their links into `docs/` become links between pages."""
    for page, document in ROOT_PAGES.items():
        text = (ROOT / document).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_context: Any) -> str:
    """Complete one page. Raises ValueError if page and program differ."""
    python_api.check_complete(page.file.src_uri, markdown)
    tables.check_methods(page.file.src_uri, markdown)
    return _MARK.sub(_generated, tables.with_columns(markdown))


def _generated(found: re.Match[str]) -> str:
    kind, name = found.groups()
    if kind == "method":
        return tables.method(name)
    if kind == "python":
        return python_api.entry(name)
    return _GENERATORS[name](name)
