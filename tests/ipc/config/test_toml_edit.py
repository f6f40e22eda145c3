from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.config.toml_edit import parse_name, toml_value, with_setting, without_setting
from backburner.ipc.errors import InvalidInput

FILE = """\
# my settings
max_workers = 4    # all cores
# autostart = true

# limits
[model_concurrency]
opus = 2
"local/*" = 4      # "GPU" # two
  [agents.claude]
  model = "opus # x"
  env = { A = "1" }
pass = [
  "a",  # first
  "b",
]
"""


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("max_workers", 8, "max_workers = 4    # all cores", "max_workers = 8    # all cores"),
        ("autostart", False, "# autostart = true\n", "# autostart = true\nautostart = false\n"),
        (
            "durability",
            "normal",
            "max_workers = 4    # all cores\n",
            'max_workers = 4    # all cores\ndurability = "normal"\n',
        ),
        ("model_concurrency.opus", 3, "opus = 2\n", "opus = 3\n"),
        ('model_concurrency."local/*"', 1, '"local/*" = 4      # "GPU" # two', '"local/*" = 1      # "GPU" # two'),
        ("model_concurrency.x/*", 1, "[agents.claude]", None),
        ("agents.claude.model", "a#b", 'model = "opus # x"', 'model = "a#b"'),
        ("agents.claude.env.B", "2", 'env = { A = "1" }', 'env = { A = "1", B = "2" }'),
        ("agents.mine.command", ["x", "{prompt}"], "]\n", None),
    ],
)
def test_one_setting_is_changed_and_every_other_line_stays(name, value, old, new):
    changed = with_setting(FILE, parse_name(name), value)
    if new is not None:
        assert changed == FILE.replace(old, new)
    lost = set(FILE.splitlines()) - set(changed.splitlines())
    assert all(old.strip() in line for line in lost)
    found = tomllib.loads(changed)
    for key in parse_name(name):
        found = found[key]
    assert found == value


def test_multi_line_value_is_replaced_as_a_whole():
    changed = with_setting(FILE, ("agents", "claude", "pass"), [])
    assert changed == FILE.split("pass = [")[0] + "pass = []\n"


def test_setting_is_added_to_an_empty_file_and_before_the_first_table():
    assert with_setting("", ("a",), 1) == "a = 1\n"
    assert with_setting("", ("t", "a"), 1) == "[t]\na = 1\n"
    assert with_setting("# note\n\n# t\n[t]\nb = 1", ("a",), 1) == "# note\n\na = 1\n# t\n[t]\nb = 1\n"


def test_setting_is_deleted_with_its_line():
    assert without_setting(FILE, ("model_concurrency", "opus")) == FILE.replace("opus = 2\n", "")
    for name in ("nothing", "model_concurrency.haiku", "max_workers.x"):
        with pytest.raises(InvalidInput, match="is not set"):
            without_setting(FILE, parse_name(name))


def test_layout_that_is_too_unusual_is_refused():
    with pytest.raises(InvalidInput, match="by hand"):
        without_setting("a = { b = 1, c = 2 }\n", ("a", "b"))


@pytest.mark.parametrize("name", ["", ".", "a.", "agents..x"])
def test_invalid_name_is_refused(name):
    with pytest.raises(InvalidInput):
        parse_name(name)


@given(
    st.text(alphabet="ab#\"'\\\n =[]{}é\x7f", max_size=12), st.sampled_from(["max_workers", "agents.claude.model", "x"])
)
def test_any_text_is_stored_unchanged(value, name):
    assert tomllib.loads(f"a = {toml_value(value)}") == {"a": value}
    found = tomllib.loads(with_setting(with_setting(FILE, parse_name(name), value), parse_name(name), value))
    for key in parse_name(name):
        found = found[key]
    assert found == value
