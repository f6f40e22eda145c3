"""Edits of JSON, JSON with comments and TOML keep everything that is not edited."""

from __future__ import annotations

import json
import re
from typing import Any

import json5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.supervisor.integrations.formats import Document, edit_json, edit_toml


def put(text: str, *path: str | int, value: Any) -> str:
    def edit(document: Document) -> None:
        parent: Any = document
        for name in path[:-1]:
            parent = parent[name]
        if isinstance(parent, list) and path[-1] == len(parent):
            parent.append(value)
        else:
            parent[path[-1]] = value

    return edit_json(text, [edit])


def cut(text: str, *path: str | int) -> str:
    def edit(document: Document) -> None:
        parent: Any = document
        for name in path[:-1]:
            parent = parent[name]
        del parent[path[-1]]

    return edit_json(text, [edit])


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("{ // mine\n}", '{ // mine\n  "ours": 1\n}'),
        ("{ /* mine */\n}", '{ /* mine */\n  "ours": 1\n}'),
        ("{\n  // mine\n}\n", '{\n  // mine\n  "ours": 1\n}\n'),
        ('{"a": "http://x"} // mine', '{"a": "http://x", "ours": 1} // mine'),
        ('{ "a": [] } // mine', '{ "a": [], "ours": 1 } // mine'),
        ('{"a": 1 // of a\n}', '{"a": 1, // of a\n"ours": 1}'),
        ('{\n  "a": [] // of a\n}', '{\n  "a": [], // of a\n  "ours": 1\n}'),
        ('{\n  "a": 1, // of a\n}', '{\n  "a": 1, // of a\n  "ours": 1\n}'),
        ('{\n  "a": 1 /* of a */\n  // last\n}', '{\n  "a": 1, /* of a */\n  // last\n  "ours": 1\n}'),
        ('{\n\ta: 1, // of a\n\t"b": 2}', '{\n\ta: 1, // of a\n\t"b": 2,\n\t"ours": 1\n}'),
    ],
)
def test_comments_stay_with_their_member_when_one_is_added(text, more):
    assert put(text, "ours", value=1) == more
    assert json5.loads(cut(more, "ours")) == json5.loads(text)
    assert comments(cut(more, "ours")) == comments(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"ours": 1, // about ours\n "a": 1}', '{ // about ours\n "a": 1}'),
        ('{"a": 1, // about a\n "ours": 1}', '{"a": 1 // about a\n }'),
        ('{"a": 1, // about a\n "ours": 2, "b": 3}', '{"a": 1, // about a\n  "b": 3}'),
        ('{"ours": 1 // about ours\n}', "{ // about ours\n}"),
        ("{// about ours\n'ours': 1}", "{// about ours\n}"),
        ('{"ours": 1, /* c */}', "{ /* c */}"),
        ('{/* a */"ours": 1,\n"b": 2}', '{/* a */\n"b": 2}'),
    ],
)
def test_comments_beside_a_removed_member_are_kept(text, left):
    assert cut(text, "ours") == left


def test_list_elements_are_changed_appended_and_removed_between_comments():
    text = '{"k": [\n  1, // one\n  {"a": 2} // two\n]}'
    more = put(text, "k", 2, value=3)
    assert more == '{"k": [\n  1, // one\n  {"a": 2}, // two\n  3\n]}'
    assert put(more, "k", 1, "a", value=5) == '{"k": [\n  1, // one\n  {"a": 5}, // two\n  3\n]}'
    assert cut(more, "k", 0) == '{"k": [ // one\n  {"a": 2}, // two\n  3\n]}'


def comments(text: str) -> list[str]:
    return re.findall(r"//[^\n]*|/\*.*?\*/", text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@given(DOCUMENTS, st.sampled_from([None, 1, 2, "\t"]), VALUES)
def test_member_is_added_and_removed_in_strict_json(document, indent, value):
    text = json.dumps(document, indent=indent)
    more = put(text, "k-new", value=value)
    assert json.loads(more) == {**document, "k-new": value}
    assert list(json.loads(more)) == [*document, "k-new"]
    assert json.loads(cut(more, "k-new")) == document


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), st.integers()), st.sampled_from([None, 2, "\t"]))
def test_member_is_added_and_removed_in_json_with_comments(document, indent):
    text = f"// first\n{json.dumps(document, indent=indent)} // last"
    more = put(text, "k-new", value={"x": [1, True, None]})
    assert json5.loads(more) == {**document, "k-new": {"x": [1, True, None]}}
    assert json5.loads(cut(more, "k-new")) == document
    assert comments(more) == comments(cut(more, "k-new")) == ["// first", "// last"]


@pytest.mark.parametrize("text", ['{"a" :  1.10}', "// x\n{a: 0x10}", "", "  "])
def test_text_is_untouched_by_an_edit_that_changes_nothing(text):
    assert edit_json(text, [lambda document: None]) == (text if text.strip() else "{}")


def test_toml_value_is_replaced_and_its_comment_kept():
    def edit(document: Document) -> None:
        document["a"]["b"] = "new"
        del document["c"]

    assert (
        edit_toml('# top\n[a]\nb = "old"  # of b\n\n[c]\nd = 1\n', [edit]).rstrip() == '# top\n[a]\nb = "new"  # of b'
    )


@pytest.mark.parametrize(
    "text",
    [
        "# top\n[x.ours]\na = 1\n\n# about z\n[z]\nb = 2\n",
        "# top\n[z]\nb = 2\n[x.ours]\na = 1\n# about z\n",
        "# top\n[x.ours]\na = 1\n\n# about z\n[x.z]\nb = 2\n",
        "# top\n[x.z]\n[z]\n# about z\n[x.ours]\na = 1\n",
    ],
)
def test_comments_after_a_removed_toml_table_are_kept(text):
    def edit(document: Document) -> None:
        del document["x"]["ours"]
        if not document["x"]:
            del document["x"]

    left = edit_toml(text, [edit])
    assert "ours" not in left
    assert comments_of_toml(left) == ["# top", "# about z"]


def test_scattered_toml_table_is_refused_before_a_comment_would_be_lost():
    def edit(document: Document) -> None:
        del document["x"]["ours"]

    assert "ours" not in edit_toml("[x.ours]\na = 1\n[z]\n[x.z]\n", [edit])
    with pytest.raises(ValueError, match="edit it by hand"):
        edit_toml("[x.ours]\na = 1\n# about z\n[z]\n[x.z]\n", [edit])


def comments_of_toml(text: str) -> list[str]:
    return re.findall("#[^\n]*", text)


@pytest.mark.parametrize("text", ["{", "[1 2]", '{"a" 1}', '{"a": }', "{} {}", '{"a": 1 "b": 2}', "nonsense", "{1: 2}"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ValueError):
        edit_json(text, [])
