"""Encoding and decoding of messages, also of arbitrary bytes."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner.ipc.bus import jsonrpc
from backburner.ipc.bus.jsonrpc import Notification, Request, Response, RpcError
from backburner.ipc.errors import InvalidInput, NotFound

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
IDS = st.none() | st.integers() | TEXT


def request(**members) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping", **members}).encode()


def refusal(line: bytes) -> RpcError:
    with pytest.raises(RpcError) as refused:
        jsonrpc.decode_request(line)
    return refused.value


def test_request_is_decoded():
    assert jsonrpc.decode_request(request(params={"a": 1})) == Request(1, "ping", {"a": 1})


def test_params_may_be_absent():
    assert jsonrpc.decode_request(request()).params == {}


def test_request_without_id_is_a_notification_but_null_is_an_id():
    assert jsonrpc.decode_request(b'{"jsonrpc":"2.0","method":"ping"}').is_notification
    assert not jsonrpc.decode_request(request(id=None)).is_notification


@pytest.mark.parametrize("id", ["a", "", 0, -1, 1.5, None, 10**40])
def test_id_is_returned_unchanged(id):
    assert json.loads(jsonrpc.encode_result(jsonrpc.decode_request(request(id=id)).id, True))["id"] == id


@pytest.mark.parametrize("id", [True, [], {}, [1]])
def test_id_must_be_a_string_number_or_null(id):
    error = refusal(request(id=id))
    assert (error.rpc_code, error.field, error.id) == (jsonrpc.INVALID_REQUEST, "id", None)


@pytest.mark.parametrize("line", [b"1", b'"x"', b"null", b"[]", b'[{"jsonrpc":"2.0"}]', b"{}", b'{"method":"ping"}'])
def test_other_json_is_an_invalid_request(line):
    assert refusal(line).rpc_code == jsonrpc.INVALID_REQUEST


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"invalid",
        b"\xff\xfe",
        b'{"id": "\xff"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"{} {}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b"[" * 500_000 + b"]" * 500_000,
    ],
)
def test_line_that_is_not_json_is_a_parse_error(line):
    assert refusal(line).rpc_code == jsonrpc.PARSE_ERROR


def test_nesting_is_limited():
    deep = request(params={"x": json.loads("[" * 200 + "]" * 200)})
    assert refusal(deep).rpc_code == jsonrpc.INVALID_REQUEST
    jsonrpc.decode_request(request(params={"x": json.loads("[" * 100 + "]" * 100)}))


@pytest.mark.parametrize("method", [None, 1, [], {}])
def test_method_must_be_a_string(method):
    error = refusal(request(method=method))
    assert (error.rpc_code, error.id) == (jsonrpc.INVALID_REQUEST, 1)


@pytest.mark.parametrize("params", [None, 1, "x", [], [1], False])
def test_params_must_be_an_object(params):
    error = refusal(request(params=params))
    assert (error.rpc_code, error.field, error.id) == (jsonrpc.INVALID_PARAMS, "params", 1)


def test_error_keeps_its_code_message_and_field():
    response = jsonrpc.decode_message(jsonrpc.encode_error(7, InvalidInput("no", field="after")))
    assert isinstance(response, Response)
    assert response.id == 7
    assert response.error is not None
    assert (response.error.rpc_code, str(response.error), response.error.field) == (-32602, "no", "after")


def test_error_without_a_field_has_no_data():
    assert "data" not in json.loads(jsonrpc.encode_error(None, NotFound()))["error"]


def test_notification_sends_its_text_unchanged():
    line = jsonrpc.encode_notification("x", '{"seq": 1, "a": "ü"}')
    assert line == '{"jsonrpc":"2.0","method":"x","params":{"seq": 1, "a": "ü"}}\n'.encode()
    assert jsonrpc.decode_message(line) == Notification("x", {"seq": 1, "a": "ü"})


def test_file_name_that_is_not_utf8_can_be_sent():
    assert json.loads(jsonrpc.encode_result(1, "/tmp/\udcff")) == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": "/tmp/\udcff",
    }


@pytest.mark.parametrize("result", [float("nan"), float("inf"), object(), {1, 2}])
def test_values_that_json_cannot_hold_are_refused(result):
    with pytest.raises((TypeError, ValueError)):
        jsonrpc.encode_result(1, result)


@given(st.binary() | JSON.map(lambda document: json.dumps(document).encode()))
@example(b'{"jsonrpc":"2.0","method":"\\ud800","id":"\\udfff"}')
def test_any_line_is_a_request_or_an_rpc_error(line):
    try:
        found = jsonrpc.decode_request(line)
    except RpcError as error:
        assert error.rpc_code in (jsonrpc.PARSE_ERROR, jsonrpc.INVALID_REQUEST, jsonrpc.INVALID_PARAMS)
        jsonrpc.encode_error(error.id, error)
    else:
        jsonrpc.encode_result(found.id, found.params)


@given(st.binary() | JSON.map(lambda document: json.dumps(document).encode()))
@example(b'{"id": 1, "error": null}')
@example(b'{"jsonrpc": "2.0", "method": "x", "params": []}')
def test_any_line_of_a_server_is_a_message_or_an_rpc_error(line):
    with suppress(RpcError):
        assert isinstance(jsonrpc.decode_message(line), (Response, Notification))


@given(IDS, TEXT, st.dictionaries(TEXT, JSON, max_size=4))
def test_request_is_decoded_as_it_was_encoded(id, method, params):
    line = jsonrpc.encode_request(id, method, params)
    assert line.count(b"\n") == 1
    assert jsonrpc.decode_request(line) == Request(id, method, params)


@given(IDS, JSON)
def test_result_is_decoded_as_it_was_encoded(id, result):
    assert jsonrpc.decode_message(jsonrpc.encode_result(id, result)) == Response(id, result)
