"""Following: pictures in, tracks and their evidence out. Ties search, tracker, heads and recording together."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from services.contracts.tracks import TrackSummary
from services.perception.appearance import describe_torso
from services.perception.detect import FaceDetector, PersonDetector
from services.perception.detection import Boxes, pairwise_iou
from services.perception.foreground import Foreground
from services.perception.frame import Frame
from services.perception.heads import attach_faces, infer_bodies
from services.perception.recording import EvidenceWriter, TrackRecord
from services.perception.scene import SceneWatch
from services.perception.search import FaceSearch, PersonSearch
from services.perception.tracker import Followed, Tracker

# A person whose place overlaps no detection by so much has not been detected.
_FOUND_IOU = 0.3


class Following:
    """One clip's people, from its first picture to its last.

    Attributes:
        spent_seconds: Wall time by stage so far: persons, faces, tracking, evidence.
    """

    def __init__(
        self,
        persons: PersonDetector,
        faces: FaceDetector,
        writer: EvidenceWriter,
        *,
        px_scale: float,
        width_px: int,
        height_px: int,
    ) -> None:
        """Start with nobody.

        Args:
            persons: Finds persons.
            faces: Finds faces.
            writer: Takes the evidence.
            px_scale: Source pixels that make one pixel of the frames.
            width_px: Of the frames.
            height_px: Of the frames.
        """
        self._size_px = (width_px, height_px)
        self._px_scale = px_scale
        self._writer = writer
        self._persons = PersonSearch(persons, width_px, height_px)
        self._faces = FaceSearch(faces)
        self._tracker = Tracker(persons.minimum_confidence, width_px, height_px)
        self._records: dict[int, TrackRecord] = {}
        self._track_ids: dict[int, str] = {}
        self._scene = SceneWatch()
        self._foreground = Foreground(width_px, height_px)
        self._face_only: set[int] = set()
        # Where everyone believed in was last seen.
        self._seen: dict[int, NDArray[np.float32]] = {}
        self._summaries: dict[str, TrackSummary] = {}
        self.spent_seconds = dict.fromkeys(("persons", "faces", "tracking", "evidence"), 0.0)

    def take(self, frame: Frame) -> None:
        """Look at one picture, later than all before it."""
        if self._scene.is_cut(frame):
            self._tracker.forget()
            self._foreground.forget()
        predicted = self._tracker.predict(frame.pts_seconds)
        with self._timed("persons"):
            self._foreground.look(frame)
            newcomers = self._foreground.find_newcomers(np.array([*predicted.values()], np.float32).reshape(-1, 4))
            boxes, confidences = self._persons.find(frame, predicted, newcomers)
        with self._timed("faces"):
            faces = self._faces.find(frame, predicted, self._face_only)
        with self._timed("tracking"):
            inferred = infer_bodies(faces, boxes, *self._size_px)
            bodies = len(boxes)
            if inferred:
                boxes = np.concatenate([boxes, np.stack([person.box_px for person in inferred])])
                confidences = np.append(confidences, np.array([person.confidence for person in inferred], np.float32))
            appearances = [describe_torso(frame.rgb, box) for box in boxes]
            hidden = self._find_undetected(frame, boxes, predicted)
            if hidden:
                boxes = np.concatenate([boxes, np.stack(hidden)])
                confidences = np.append(confidences, np.zeros(len(hidden), np.float32))
                # Clothes are looked for where they are on somebody upright.
                appearances += [None] * len(hidden)
            followed = self._tracker.update(frame.pts_seconds, boxes, confidences, appearances)
            self._face_only = {
                person.number
                for person in followed
                if (person.detection is None and person.number in self._face_only)
                or (person.detection is not None and bodies <= person.detection < bodies + len(inferred))
            }
            self._seen = {
                person.number: person.box_px if person.detected else self._seen[person.number]
                for person in followed
                if person.confirmed
            }
            of_whom = attach_faces(faces, {person.number: person.box_px for person in followed if person.detected})
        with self._timed("evidence"):
            self._close(self._records.keys() - {person.number for person in followed})
            for person in followed:
                self._record(frame, person)
            for number, face in of_whom.items():
                self._records[number].add_face(frame, face)

    def finish(self) -> tuple[TrackSummary, ...]:
        """Write what is left, and name everyone, in order of appearance."""
        with self._timed("evidence"):
            believed = self._tracker.believed()
            for number in sorted(believed & self._records.keys()):
                self._track_ids.setdefault(number, f"t{len(self._track_ids) + 1}")
            self._close(set(self._records))
        return tuple(self._summaries[track_id] for track_id in self._track_ids.values())

    def _find_undetected(
        self, frame: Frame, boxes: Boxes, predicted: dict[int, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """Where people are whom the detector has lost, but who stand out from the scene."""
        expected = {number: box for number, box in predicted.items() if number in self._seen}
        everybody = np.array([*expected.values(), *boxes], np.float32).reshape(-1, 4)
        self._foreground.learn(frame.pts_seconds, everybody)
        found = []
        for index, (number, box) in enumerate(expected.items()):
            if pairwise_iou(box[None], boxes).max(initial=0.0) >= _FOUND_IOU:
                continue
            # What may be somebody else is left alone: a name must not pass from one to another on the ground.
            others = np.delete(everybody, index, axis=0)
            # Whoever falls stops moving, and stays where they were seen last.
            body = self._foreground.find_body(box, others)
            found.append(self._foreground.find_body(self._seen[number], others) if body is None else body)
        return [body for body in found if body is not None]

    def _record(self, frame: Frame, person: Followed) -> None:
        record = self._records.setdefault(person.number, TrackRecord(self._px_scale))
        record.add_body(frame, person.box_px, person.confidence, detected=person.detected)
        if person.confirmed:
            track_id = self._track_ids.setdefault(person.number, f"t{len(self._track_ids) + 1}")
            self._writer.write_sheets(track_id, record)

    def _close(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            record = self._records.pop(number)
            if number not in self._track_ids:
                continue
            track_id = self._track_ids[number]
            self._writer.write_track(track_id, record)
            start_seconds, end_seconds = record.span_seconds()
            self._summaries[track_id] = TrackSummary(
                track_id=track_id,
                start_seconds=round(start_seconds, 3),
                end_seconds=round(end_seconds, 3),
                boxes=record.boxes,
                faces=record.faces,
            )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent_seconds[stage] += time.perf_counter() - start
