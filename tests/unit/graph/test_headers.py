import pytest

from services.graph.headers import canonical, compile_patterns, propagated

SENT = [("traceparent", "00-1"), ("X-REQUEST-ID", "7"), ("authorization", "t"), ("Host", "h"), ("content-length", "1")]


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        (None, []),
        ("traceparent", []),
        ("(?i)^traceparent$", ["Traceparent"]),
        ("Request,Trace", ["Traceparent", "X-Request-Id"]),
        ("Request,Re.*", ["X-Request-Id"]),
        ("([,X-", ["X-Request-Id"]),
        ("", ["Traceparent", "X-Request-Id", "Authorization"]),
    ],
)
def test_headers_travel_on_where_a_pattern_meets_their_canonical_name(setting: str | None, names: list[str]) -> None:
    assert [name for name, _ in propagated(SENT, compile_patterns(setting))] == names


def test_a_repeated_header_keeps_all_its_values() -> None:
    assert propagated([("x-a", "1"), ("X-A", "2")], compile_patterns("X-A")) == (("X-A", "1"), ("X-A", "2"))


def test_names_are_written_as_go_writes_them() -> None:
    assert [canonical(name) for name in ("x-REQUEST-id", "etag", "bad name")] == ["X-Request-Id", "Etag", "bad name"]
