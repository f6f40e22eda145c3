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
from backburner.ipc.mistakes import MAX_NAMED, Mistake
from backburner.ipc.model.launch import LAUNCH
from backburner.ipc.validation import (
    MAX_DEPTH,
    MAX_INTEGER,
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
#: An integer that Python refuses to convert to text.
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


def test_refusal_names_the_field_the_expectation_and_the_value():
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
def test_refusal_names_the_nested_field(value, field):
    assert refused(value).field == field


def test_refusal_of_an_unknown_field_suggests_a_known_one():
    assert "did you mean priority?" in str(refused({"prompt": "go", "priorty": 1}))


def test_refusal_names_all_mistakes():
    message = str(refused({"priority": "high", "leaveChildren": 1, "stream": "stdin"}))
    assert message == (
        "priority: expected a whole number from -1000 to 1000, got 'high'; "
        "leaveChildren: expected true or false, got 1; "
        "stream: expected one of stdout, stderr, got 'stdin'; "
        "prompt: expected non-empty text of at most 10 bytes, got nothing"
    )


def test_refusal_of_many_mistakes_names_only_the_first_ones():
    error = refused({"prompt": "go", "after": [0] * 100_000})
    assert str(error).count("after[") == MAX_NAMED
    assert str(error).endswith("; and more")


def test_mistakes_are_found_one_by_one():
    endless = MapOf(Integer()).iter_mistakes(dict.fromkeys(map(str, range(100_000)), "x"), "map")
    assert [mistake.field for mistake in islice(endless, 2)] == ["map.0", "map.1"]


def test_long_value_is_shortened_in_a_refusal():
    message = str(refused({"prompt": "x" * 1_000_000}))
    assert len(message) < 200


@pytest.mark.parametrize("value", [True, False, 1.5, "1", None, [], float("nan"), float("inf"), MAX_INTEGER + 1, HUGE])
def test_value_that_only_resembles_a_whole_number_is_refused(value):
    assert Integer().mistakes(value, "n")


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), -float("inf"), HUGE])
def test_value_that_only_resembles_a_number_is_refused(value):
    assert Number().mistakes(value, "n")


def test_float_without_a_fraction_becomes_a_whole_number():
    checked = Integer(0).check(3.0)
    assert (checked, type(checked)) == (3, int)


@pytest.mark.parametrize(("low", "high"), [(0, 10), (0, None), (None, 10), (None, None)])
@given(value=st.integers(-20, 20))
def test_bounds_of_a_number_are_included(low, high, value):
    inside = (low is None or low <= value) and (high is None or value <= high)
    assert (not Integer(low, high).mistakes(value)) == inside
    assert (not Number(low, high).mistakes(value)) == inside


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "ok \udfff"])
def test_text_with_a_nul_or_a_lone_surrogate_is_refused(value):
    found = Text().mistakes(value, "text")
    assert [mistake.expected for mistake in found] == ["text without NUL characters and lone surrogates"]
    str(found[0]).encode()


@given(st.text())
def test_length_of_text_is_counted_in_bytes(value):
    size = len(value.encode())
    if "\0" not in value:
        assert not Text(max_bytes=size).mistakes(value)
        assert size == 0 or Text(max_bytes=size - 1).mistakes(value)


def test_pattern_must_match_the_whole_text():
    shape = Text(pattern="[a-z]+")
    assert not shape.mistakes("abc")
    assert shape.mistakes("abc\n")
    assert shape.mistakes("1abc")


@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_flag_refuses_everything_but_true_and_false(value):
    assert Flag().mistakes(value)


@pytest.mark.parametrize("value", [["stdout"], 1, None, "STDOUT", {}])
def test_choice_refuses_other_values_of_any_type(value):
    assert OneOf("stdout", "stderr").mistakes(value)


def test_text_is_not_accepted_as_a_list():
    assert ListOf(Text()).mistakes("abc", "command") == [Mistake("command", "a list", "'abc'")]


def test_empty_list_is_refused_if_an_item_is_required():
    assert ListOf(Text(), non_empty=True).mistakes([], "command")
    assert not ListOf(Text()).mistakes([], "command")


def test_null_is_accepted_only_where_it_is_allowed():
    assert Text().mistakes(None)
    assert Nullable(Text()).check(None) is None
    assert Nullable(Text()).mistakes(3, "x") == [Mistake("x", "text", "3")]


def test_valid_value_is_normalized():
    class Stream(StrEnum):
        OUT = "stdout"

    value = MappingProxyType({"prompt": "go", "after": ("a",), "metadata": {"n": (1, (2,))}, "stream": Stream.OUT})
    checked = TASK.check(value)
    assert checked == {"prompt": "go", "after": ["a"], "metadata": {"n": [1, [2]]}, "stream": "stdout"}
    assert type(checked["stream"]) is str


@given(JSON)
def test_any_json_value_is_accepted_as_anything(value):
    fits = not Anything().mistakes(value)
    text = json.dumps(value)
    assert fits
    assert Anything().check(json.loads(text)) == value


@pytest.mark.parametrize(
    "value", [{1: 2}, {"a": {1}}, [object()], b"x", float("nan"), ["\ud800"], {"\ud800": 1}, 10**400]
)
def test_value_that_json_cannot_represent_is_refused(value):
    assert Anything().mistakes(value, "metadata")


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_deeply_nested_json_is_refused_without_exhausting_the_stack():
    assert not Anything().mistakes(nested(MAX_DEPTH - 1))
    assert Anything().mistakes(nested(100_000))


def test_schema_describes_the_checks():
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


def test_schema_of_a_nullable_shape_allows_null():
    assert Nullable(OneOf("a", "b")).schema() == {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}
    assert Nullable(Number(0, 1.5)).schema() == {"type": ["number", "null"], "minimum": 0, "maximum": 1.5}


@given(st.dictionaries(st.sampled_from([*TASK.fields, "other"]), JSON))
def test_any_value_is_either_accepted_or_refused_with_a_field(value):
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

    assert [shape for shape in all_below(Shape) if "iter_mistakes" in vars(shape) and "fits" not in vars(shape)] == []
