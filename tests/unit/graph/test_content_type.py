import pytest

from services.graph.content_type import content_type


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", None),
        (b" {} ", "application/json"),
        (b"null", "application/json"),
        (b"plain text", "text/plain; charset=utf-8"),
        (b"  <!doctype html>", "text/html; charset=utf-8"),
        (b"<html5>", "text/plain; charset=utf-8"),
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x00\xff\x01BIN", "application/octet-stream"),
        (b"a" * 512 + b"\x00", "text/plain; charset=utf-8"),
    ],
)
def test_the_type_is_read_off_the_body(body: bytes, named: str | None) -> None:
    assert content_type(body) == named
