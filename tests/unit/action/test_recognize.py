import numpy as np
import pytest

from services.action.recognize import ActionRecognizer, recognize_actions
from services.contracts.card import ActionCalibration, Lineage, ModelCard, Weights, WindowSpec
from services.contracts.clip import ClipRef
from services.contracts.tracks import TracksResponse, TrackSummary, Video
from services.perception.frame import Frame
from services.perception.recording import EvidenceWriter, TrackRecord


def card(task="behaviour", classes=("fight", "no_fight"), *, view="surroundings", size_px=128, unnamed=("no_fight",)):
    calibration = ActionCalibration(temperature=1.0, minimum_probability=0.7, minimum_seconds=0.5, unnamed=unnamed)
    return ModelCard(
        name="motion",
        version="1",
        task=task,
        description="",
        weights=Weights(file="model.onnx", sha256="0" * 64, size_bytes=1, format="onnx"),
        licence="MIT",
        lineage=Lineage(source="test"),
        window=WindowSpec(frames=8, rate_hz=10, stride_seconds=0.4, size_px=size_px, motion=False, view=view),
        classes=classes,
        action=calibration,
    )


class Says:
    """A network that always says the same, and remembers the shapes it was given."""

    def __init__(self, *logits):
        self.logits, self.seen = logits, []

    def run(self, inputs):
        self.seen.append(inputs["rgb"].shape)
        return {"logits": np.array([self.logits] * len(inputs["rgb"]), np.float32)}


@pytest.fixture
def tracks(tmp_path):
    """A grey yard, and one person who stands in it for three seconds."""
    record = TrackRecord(1.0)
    with EvidenceWriter(str(tmp_path), "a" * 64) as writer:
        for number in range(30):
            frame = Frame(np.full((120, 160, 3), 90, np.uint8), number / 10, 0.1)
            record.add_body(frame, np.array([60, 20, 90, 100], np.float32), 0.9, detected=True)
        writer.write_track("t1", record)
        evidence = writer.finish({"tracks": [{"track_id": "t1"}]})
    return TracksResponse(
        clip=ClipRef(clip_id="b" * 64, uri="file:///yard.mp4"),
        video=Video(width_px=160, height_px=120, start_seconds=0, end_seconds=3, frames=30, codec="h264"),
        evidence=evidence,
        tracks=(TrackSummary(track_id="t1", start_seconds=0, end_seconds=2.9, boxes=30, faces=0),),
        models=(),
    )


STANDS = ActionRecognizer(card("action", ("stand", "walk"), view="person", size_px=64, unnamed=()), Says(3.0, 0.0))


def test_behaviours_stand_beside_actions_and_both_models_are_named(tracks):
    fight = Says(2.0, 0.0)
    answer = recognize_actions(tracks, STANDS, ActionRecognizer(card(), fight))
    assert [(each.track_id, each.action.name) for each in answer.segments] == [("t1", "stand")]
    assert [(each.track_id, each.action.name) for each in answer.behaviours] == [("t1", "fight")]
    assert len(answer.models) == 2
    # Large windows are run few at a time: their motion takes memory.
    assert {shape[1:] for shape in fight.seen} == {(8, 128, 128, 3)}
    assert max(shape[0] for shape in fight.seen) <= 4


def test_what_has_no_name_makes_no_segment(tracks):
    answer = recognize_actions(tracks, STANDS, ActionRecognizer(card(), Says(0.0, 4.0)))
    assert answer.behaviours == ()


def test_without_a_network_of_behaviours_the_rest_is_as_it_was(tracks):
    answer = recognize_actions(tracks, STANDS)
    assert (answer.behaviours, len(answer.models), len(answer.segments)) == ((), 1, 1)
