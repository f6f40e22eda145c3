from __future__ import annotations

import json
from enum import StrEnum
from itertools import islice
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ipc.config.agents import Element
from backburner.ipc.errors import InvalidInput
from backburner.ipc.mistakes import NAMED, Mistake
from backburner.ipc.model.launch import LAUNCH
from backburner.ipc.validation import (
    DEPTH,
    MOST,
    Anything,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Nullable,
    Number,
    OneOf,
    Record,
    Shape,
    Text,
)

TASK = Record(
    "LaunchInput",
    {
        "prompt": Text(non_empty=True, max_bytes=10),
        "priority": Integer(-1000, 1000),
        "after": ListOf(Text(non_empty=True)),
        "env": MapOf(Text(), key=Text(pattern="[^=]+", expected="a name without =")),
        "metadata": Nullable(MapOf(Anything())),
        "stream": OneOf("stdout", "stderr"),
        "leaveChildren": Flag(),
    },
    required=["prompt"],
)
#: So huge that Python itself refuses to write it out.
HUGE = pytest.param(10**5000, id="huge")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


def refused(value: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        TASK.check(value)
    return caught.value


def test_a_refusal_names_the_field_what_was_expected_and_what_came():
    error = refused({"prompt": "go", "priority": 5000})
    assert str(error) == "priority: expected a whole number from -1000 to 1000, got 5000"
    assert error.field == "priority"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"prompt": "go", "after": ["a", "b", 3]}, "after[2]"),
        ({"prompt": "go", "env": {"PATH": 1}}, "env.PATH"),
        ({"prompt": "go", "env": {"a.b": 1}}, "env.'a.b'"),
        ({"prompt": "go", "env": {"A=B": "c"}}, "env.'A=B'"),
        ({"prompt": "go", "env": {3: "c"}}, "env.3"),
        ({}, "prompt"),
        ({"prompt": "go", "priorty": 1}, "priorty"),
        ([], "LaunchInput"),
    ],
)
def test_a_refusal_names_the_field_within_the_field(value, field):
    assert refused(value).field == field


def test_an_unknown_field_is_a_mistake_that_names_the_field_that_was_meant():
    assert "did you mean priority?" in str(refused({"prompt": "go", "priorty": 1}))


def test_all_mistakes_are_told_at_once():
    message = str(refused({"priority": "high", "leaveChildren": 1, "stream": "stdin"}))
    assert message == (
        "priority: expected a whole number from -1000 to 1000, got 'high'; "
        "leaveChildren: expected true or false, got 1; "
        "stream: expected one of stdout, stderr, got 'stdin'; "
        "prompt: expected non-empty text of at most 10 bytes, got nothing"
    )


def test_a_message_does_not_grow_with_the_rubbish():
    error = refused({"prompt": "go", "after": [0] * 100_000})
    assert str(error).count("after[") == NAMED
    assert str(error).endswith("; and more")


def test_of_rubbish_only_as_much_is_judged_as_is_read():
    endless = MapOf(Integer()).wrong(dict.fromkeys(map(str, range(100_000)), "x"), "map")
    assert [mistake.field for mistake in islice(endless, 2)] == ["map.0", "map.1"]


def test_a_long_value_is_shown_shortened():
    message = str(refused({"prompt": "x" * 1_000_000}))
    assert len(message) < 200


@pytest.mark.parametrize("value", [True, False, 1.5, "1", None, [], float("nan"), float("inf"), MOST + 1, HUGE])
def test_what_only_resembles_a_whole_number_is_none(value):
    assert Integer().mistakes(value, "n")


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), -float("inf"), HUGE])
def test_what_only_resembles_a_number_is_none(value):
    assert Number().mistakes(value, "n")


def test_a_whole_number_written_as_a_float_becomes_one():
    checked = Integer(0).check(3.0)
    assert (checked, type(checked)) == (3, int)


@pytest.mark.parametrize(("low", "high"), [(0, 10), (0, None), (None, 10), (None, None)])
@given(value=st.integers(-20, 20))
def test_the_bounds_of_a_number_are_included(low, high, value):
    inside = (low is None or low <= value) and (high is None or value <= high)
    assert (not Integer(low, high).mistakes(value)) == inside
    assert (not Number(low, high).mistakes(value)) == inside


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "ok \udfff"])
def test_text_has_no_nul_and_no_lone_surrogate(value):
    found = Text().mistakes(value, "text")
    assert [mistake.expected for mistake in found] == ["text without NUL characters and lone surrogates"]
    str(found[0]).encode()


@given(st.text())
def test_the_length_of_text_is_counted_in_bytes(value):
    size = len(value.encode())
    if "\0" not in value:
        assert not Text(max_bytes=size).mistakes(value)
        assert size == 0 or Text(max_bytes=size - 1).mistakes(value)


def test_a_pattern_must_match_the_whole_text():
    shape = Text(pattern="[a-z]+")
    assert not shape.mistakes("abc")
    assert shape.mistakes("abc\n")
    assert shape.mistakes("1abc")


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_a_flag_is_true_or_false_and_nothing_like_it(value):
    assert Flag().mistakes(value)


@pytest.mark.parametrize("value", [["stdout"], 1, None, "STDOUT", {}])
def test_one_of_a_few_words_takes_no_other_value_of_any_type(value):
    assert OneOf("stdout", "stderr").mistakes(value)


def test_text_is_no_list_of_its_letters():
    assert ListOf(Text()).mistakes("abc", "command") == [Mistake("command", "a list", "'abc'")]


def test_an_empty_list_is_refused_where_something_must_be_in_it():
    assert ListOf(Text(), non_empty=True).mistakes([], "command")
    assert not ListOf(Text()).mistakes([], "command")


def test_null_is_taken_only_where_it_is_allowed():
    assert Text().mistakes(None)
    assert Nullable(Text()).check(None) is None
    assert Nullable(Text()).mistakes(3, "x") == [Mistake("x", "text", "3")]


def test_a_right_value_is_brought_to_one_form():
    class Stream(StrEnum):
        OUT = "stdout"

    value = MappingProxyType({"prompt": "go", "after": ("a",), "metadata": {"n": (1, (2,))}, "stream": Stream.OUT})
    checked = TASK.check(value)
    assert checked == {"prompt": "go", "after": ["a"], "metadata": {"n": [1, [2]]}, "stream": "stdout"}
    assert type(checked["stream"]) is str


@given(JSON)
def test_any_json_is_anything(value):
    fits = not Anything().mistakes(value)
    text = json.dumps(value)
    assert fits
    assert Anything().check(json.loads(text)) == value


@pytest.mark.parametrize(
    "value", [{1: 2}, {"a": {1}}, [object()], b"x", float("nan"), ["\ud800"], {"\ud800": 1}, 10**400]
)
def test_what_json_cannot_say_is_not_anything(value):
    assert Anything().mistakes(value, "metadata")


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_json_nested_too_deep_is_refused_instead_of_exhausting_the_stack():
    assert not Anything().mistakes(nested(DEPTH - 1))
    assert Anything().mistakes(nested(100_000))


def test_the_schema_says_what_is_checked():
    assert TASK.schema() == {
        "title": "LaunchInput",
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "minLength": 1, "maxLength": 10},
            "priority": {"type": "integer", "minimum": -1000, "maximum": 1000},
            "after": {"type": "array", "items": {"type": "string", "minLength": 1}},
            "env": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "propertyNames": {"type": "string", "pattern": "^(?:[^=]+)$"},
            },
            "metadata": {"type": ["object", "null"], "additionalProperties": {}},
            "stream": {"enum": ["stdout", "stderr"]},
            "leaveChildren": {"type": "boolean"},
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }


def test_the_schema_of_a_nullable_choice_allows_null():
    assert Nullable(OneOf("a", "b")).schema() == {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}
    assert Nullable(Number(0, 1.5)).schema() == {"type": ["number", "null"], "minimum": 0, "maximum": 1.5}


@given(st.dictionaries(st.sampled_from([*TASK.fields, "other"]), JSON))
def test_whatever_comes_is_either_refused_with_a_field_or_taken(value):
    try:
        checked = TASK.check(value)
    except InvalidInput as error:
        assert error.field
        assert TASK.mistakes(value)
    else:
        assert TASK.check(checked) == checked


#: Values that some fields of a launch accept and others refuse.
SAMPLES: list[object] = [
    *("go", "", "*", "m:f", "a=b", "a\0b", "\ud800", "\xe9" * 600, "bg-1", b"x", object()),
    *(None, True, 0, 3.0, 1.5, -1, 5000, 10**400, float("nan")),
    *([], (), ["a"], [""], [1], [["a"]], [float("nan")], {"a"}),
    *({}, {"A": "b"}, {"A": None}, {"A=B": "c"}, {"": "c"}, {1: "c"}, {"a": {"b": [object()]}}),
]


@given(st.dictionaries(st.sampled_from([*LAUNCH.fields, "other", 1]), st.sampled_from(SAMPLES), max_size=3))
def test_fast_check_of_a_launch_agrees_with_its_explanation(value):
    assert LAUNCH.fits(value) == (not LAUNCH.mistakes(value))


@pytest.mark.parametrize("value", SAMPLES, ids=range(len(SAMPLES)))
def test_fast_check_agrees_with_the_explanation_for_every_shape(value):
    shapes = [TASK, TASK.fields["env"], Element(), ListOf(Text(), non_empty=True), *LAUNCH.fields.values()]
    assert [shape.fits(value) for shape in shapes] == [not shape.mistakes(value) for shape in shapes]


def test_fast_check_refuses_a_value_without_a_required_field():
    assert not TASK.fits({"priority": 1})
    assert TASK.fits({"prompt": "go", "priority": 1})


def test_shape_with_its_own_explanation_has_its_own_fast_check():
    def all_below(shape: type[Shape]) -> set[type[Shape]]:
        return {shape}.union(*map(all_below, shape.__subclasses__()))

    assert [shape for shape in all_below(Shape) if "wrong" in vars(shape) and "fits" not in vars(shape)] == []
