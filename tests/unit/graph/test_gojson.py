"""What Go's encoding/json makes of a message; the expectations were worked out from its documentation."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.graph import gojson

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        (b"1e3", b"1000"),
        (b"0.1", b"0.1"),
        (b"-0", b"-0"),
        (b"12345678901234567890", b"12345678901234567000"),
        (b"1e20", b"100000000000000000000"),
        (b"1e21", b"1e+21"),
        (b"0.000001", b"0.000001"),
        (b"0.0000001", b"1e-7"),
        (b"-2.5E-10", b"-2.5e-10"),
        (b'{"b":1,"a":{"d":[],"c":null}}', b'{"a":{"c":null,"d":[]},"b":1}'),
        (b'{"k":1,"k":2}', b'{"k":2}'),
        ('"<&>\u2028é"'.encode(), '"\\u003c\\u0026\\u003e\\u2028é"'.encode()),
        (b'"\\u0001\\b\\f\\n\\/\\u007f"', b'"\\u0001\\b\\f\\n/\x7f"'),
        (b'"\\ud800 \\ud83d\\ude00"', '"\ufffd \U0001f600"'.encode()),
        (b'"a\xff\xe2\x82z"', '"a\ufffd\ufffd\ufffdz"'.encode()),
    ],
)
def test_a_message_is_written_as_go_writes_it(sent: bytes, written: bytes) -> None:
    assert gojson.encode(gojson.decode(sent)) == written


@pytest.mark.parametrize(
    "text", [b"", b"nope", b"NaN", b"-Infinity", b"[1,]", b"01", b"{} {}", b'"\x01"', b"\xef\xbb\xbf{}", b"[" * 5000]
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    assert not gojson.is_json(text)
    with pytest.raises(gojson.NotJson):
        gojson.decode(text)


def test_a_number_beyond_float64_is_valid_but_cannot_be_decoded() -> None:
    assert gojson.is_json(b"1e999")
    with pytest.raises(gojson.NotJson, match="1e999"):
        gojson.decode(b"[1e999]")


@given(ANY_JSON)
def test_writing_changes_no_value_but_order(value: gojson.Json) -> None:
    written = gojson.encode(value)
    assert gojson.decode(written) == value
    assert gojson.encode(gojson.decode(written)) == written
    assert not set(b"<>&") & set(written)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive(number: float) -> None:
    written = json.loads(gojson.encode(number))
    assert math.copysign(1, written) == math.copysign(1, number) or written == 0
    assert float(written) == number
