import hashlib
import json
from pathlib import Path

import pytest

from services.client import analyze_clip, refer_to_clip
from services.contracts.clip import ClipRef
from services.contracts.errors import BadInput, BadUsage, MissingModel, WhodidError

CLIP = ClipRef(clip_id="a" * 64, uri="file:///clip.mp4")


def test_a_clip_is_named_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a clip.mp4"
    path.write_bytes(b"frames")
    reference = refer_to_clip(path)
    assert reference.clip_id == hashlib.sha256(b"frames").hexdigest()
    assert reference.uri == f"file://{tmp_path}/a%20clip.mp4"


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read clip .*none\.mp4: No such file"):
        refer_to_clip(tmp_path / "none.mp4")


@pytest.mark.parametrize(
    ("status", "kind"), [(400, BadUsage), (422, BadInput), (503, MissingModel), (500, WhodidError)]
)
def test_a_refusal_becomes_the_error_its_status_stands_for(status: int, kind: type[WhodidError]) -> None:
    with pytest.raises(kind, match="because") as caught:
        analyze_clip(lambda _: (status, json.dumps({"error": "because"}).encode()), CLIP)
    assert type(caught.value) is kind


def test_a_reply_that_is_no_error_body_is_shown() -> None:
    with pytest.raises(WhodidError, match="answered 502: <html>"):
        analyze_clip(lambda _: (502, b"<html>"), CLIP)


def test_a_span_that_runs_backwards_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(BadUsage, match="must be after"):
        analyze_clip(lambda _: pytest.fail("sent"), CLIP, from_seconds=5, to_seconds=2)
