import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.contracts.errors import BadInput
from services.gallery import migration
from services.gallery.store import Gallery
from services.gallery.template import Embedding, Template
from services.perception.frame import Picture

FACES = 40
Batch = Sequence[tuple[Picture, np.ndarray]]


def paint(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)


def old_space(picture: Picture) -> np.ndarray:
    vector = picture.reshape(-1)[:16].astype(np.float32)
    return vector / np.linalg.norm(vector)


def embed_anew(batch: Batch) -> np.ndarray:
    """The new model looks at other pixels."""
    rows = np.stack([picture.reshape(-1)[16:].astype(np.float32) for picture, _ in batch])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def template(seed: int, space: str = "old") -> Template:
    picture, buffer = paint(seed), io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    vector = old_space(picture) if space == "old" else embed_anew([(picture, np.empty(0))])[0]
    landmarks = np.zeros((5, 2), np.float32)
    return Template(f"s{seed}", Embedding(vector, space), 0.5, buffer.getvalue(), landmarks, "0" * 64)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery(tmp_path / "gallery.db")
    gallery.enrol([template(seed) for seed in range(FACES)])
    return gallery


class Killed(Exception):
    pass


def half_done(gallery: Gallery) -> None:
    """Stops after the first batch."""
    batches = 0

    def embed(batch: Batch) -> np.ndarray:
        nonlocal batches
        batches += 1
        if batches > 1:
            raise Killed
        return embed_anew(batch)

    with pytest.raises(Killed):
        migration.migrate(gallery, "new", embed)


def test_the_new_space_answers_as_if_everybody_had_been_enrolled_in_it(gallery: Gallery, tmp_path: Path) -> None:
    assert migration.migrate(gallery, "new", embed_anew) == FACES
    afresh = Gallery(tmp_path / "afresh.db")
    afresh.enrol([template(seed, "new") for seed in range(FACES)])
    probe = embed_anew([(paint(99), np.empty(0))])
    found, expected = gallery.snapshot("new"), afresh.snapshot("new")
    assert found.names == expected.names
    assert np.abs(found.similarities(probe) - expected.similarities(probe)).max() < 1e-6
    assert gallery.snapshot("old").names == found.names  # services with the old model go on


def test_interrupted_it_goes_on_and_the_old_space_answers_meanwhile(gallery: Gallery) -> None:
    half_done(gallery)
    assert len(gallery.snapshot("old").names) == FACES
    with pytest.raises(BadInput, match=r"32 of 40 templates in 'new'.*migrate"):
        gallery.snapshot("new")
    gallery.enrol([template(FACES)])  # the old model is still in service
    assert migration.migrate(gallery, "new", embed_anew) == FACES + 1 - 32
    assert migration.list_spaces(gallery) == {"new": FACES + 1, "old": FACES + 1}
    assert migration.migrate(gallery, "new", embed_anew) == 0


def test_it_can_be_undone_half_way_and_afterwards(gallery: Gallery) -> None:
    before = gallery.snapshot("old").reference
    half_done(gallery)
    assert migration.undo(gallery, "old") == 32
    migration.migrate(gallery, "new", embed_anew)
    assert migration.undo(gallery, "old") == FACES
    assert gallery.snapshot("old").reference == before
    assert migration.list_spaces(gallery) == {"old": FACES}


def test_there_is_no_way_back_to_a_space_that_does_not_know_everybody(gallery: Gallery) -> None:
    migration.migrate(gallery, "new", embed_anew)
    gallery.enrol([template(FACES, "new")])
    with pytest.raises(BadInput, match=r"1 of 41 faces have no vector in 'old'"):
        migration.undo(gallery, "old")
    assert migration.finish(gallery) == FACES
    assert migration.list_spaces(gallery) == {"new": FACES + 1}
    with pytest.raises(BadInput, match="the model gives 'old'"):
        gallery.snapshot("old")


def test_hard_negatives_migrate_too(gallery: Gallery) -> None:
    gallery.deny("s1", [template(70)])
    migration.migrate(gallery, "new", embed_anew)
    assert gallery.snapshot("new").denied_subject_ids == ("s1",)


def test_a_crop_that_is_no_picture_is_named(gallery: Gallery) -> None:
    bad = template(80)
    gallery.enrol([Template("bad", bad.embedding, 0.5, b"no picture", bad.landmarks_px, "0" * 64)])
    with pytest.raises(BadInput, match="is no picture"):
        migration.migrate(gallery, "new", embed_anew)
