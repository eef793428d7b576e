import io
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from services.contracts.errors import BadInput, MissingModel
from training.datasets.face_manifest import FaceRecord, open_picture, read_records, write_records
from training.datasets.face_sources import (
    read_folders,
    read_lfw_pairs,
    read_pairs_bin,
    read_recordio,
    read_table,
)


def encode(colour, format="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(("layout", "suffix"), [("Abel_Pacheco", ".jpg"), ("s1", ".pgm"), ("n000002", ".png")])
def test_folders_name_subjects(tmp_path, layout, suffix):
    (tmp_path / layout).mkdir()
    (tmp_path / layout / f"1{suffix}").write_bytes(b"")
    (tmp_path / layout / "notes.txt").write_text("")
    (record,) = read_folders(tmp_path, "set", "research")
    assert record == FaceRecord(
        subject_id=f"set/{layout}", picture=f"{layout}/1{suffix}", source="set", licence="research"
    )


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(BadInput, match="one folder for each subject"):
        list(read_folders(tmp_path, "set", "x"))


def write_recordio(folder, pictures):
    """As MXNet packs it: a header record, then one record a picture, then one an identity."""
    offsets, packed = {}, b""

    def pack(index, labels, content):
        nonlocal packed
        offsets[index] = len(packed)
        flag = len(labels) if len(labels) > 1 else 0
        header = struct.pack("<IfQQ", flag, 0.0 if flag else labels[0], index, 0)
        body = header + (struct.pack(f"<{flag}f", *labels) if flag else b"") + content
        packed += struct.pack("<II", 0xCED7230A, len(body)) + body + b"\0" * (-len(body) % 4)

    pack(0, [len(pictures) + 1, len(pictures) + 3], b"")
    for index, (label, content) in enumerate(pictures, start=1):
        pack(index, [label], content)
    pack(len(pictures) + 1, [1, 3], b"")
    (folder / "train.rec").write_bytes(packed)
    (folder / "train.idx").write_text("".join(f"{index}\t{offset}\n" for index, offset in offsets.items()))


def test_recordio_pictures_are_read_where_they_lie(tmp_path):
    colours = [(200, 10, 10), (10, 200, 10), (10, 10, 200)]
    write_recordio(tmp_path, [(float(k // 2), encode(colour)) for k, colour in enumerate(colours)])
    records = list(read_recordio(tmp_path, "ms1m", "research"))
    assert [record.subject_id for record in records] == ["ms1m/0000000", "ms1m/0000000", "ms1m/0000001"]
    for record, colour in zip(records, colours, strict=True):
        assert open_picture(tmp_path, record.picture)[0, 0].tolist() == list(colour)


def test_a_torn_recordio_file_is_refused(tmp_path):
    write_recordio(tmp_path, [(0.0, encode((1, 2, 3)))])
    content = (tmp_path / "train.rec").read_bytes()
    (tmp_path / "train.rec").write_bytes(b"\0\0\0\0" + content[4:])
    with pytest.raises(BadInput, match="no whole record at byte 0"):
        list(read_recordio(tmp_path, "ms1m", "research"))


def test_tables_bring_boxes_and_groups(tmp_path):
    (tmp_path / "faces.csv").write_text(
        "subject_id,picture,left,top,right,bottom,group:age\nann,a.jpg,1,2,30,40,adult\nbob,b.jpg,,,,,\n"
    )
    ann, bob = read_table(tmp_path, "own", "CC0-1.0")
    assert (ann.box_px, ann.groups) == ((1, 2, 30, 40), {"age": "adult"})
    assert (bob.box_px, bob.groups) == (None, {})


@pytest.mark.parametrize(("row", "fault"), [("ann,,1,2,3,4", "picture is missing"), ("ann,a.jpg,x,2,3,4", "'x'")])
def test_a_bad_row_of_a_table_is_named(tmp_path, row, fault):
    (tmp_path / "faces.csv").write_text(f"subject_id,picture,left,top,right,bottom\n{row}\n")
    with pytest.raises(BadInput, match=rf"faces.csv:2: .*{fault}"):
        list(read_table(tmp_path, "own", "x"))


def test_lfw_pairs(tmp_path):
    path = tmp_path / "pairs.txt"
    path.write_text("2\t1\nAnn\t1\t2\nAnn\t1\tBob\t3\nCy\t4\t5\nCy\t1\tDee\t1\n")
    assert list(read_lfw_pairs(path)) == [
        ("1", "Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True),
        ("1", "Ann/Ann_0001.jpg", "Bob/Bob_0003.jpg", False),
        ("2", "Cy/Cy_0004.jpg", "Cy/Cy_0005.jpg", True),
        ("2", "Cy/Cy_0001.jpg", "Dee/Dee_0001.jpg", False),
    ]


def test_bin_pairs_are_read_and_run_nothing(tmp_path):
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(([b"a", b"b", b"c", b"d"], [True, False])))
    assert list(read_pairs_bin(path)) == [(b"a", b"b", True), (b"c", b"d", False)]

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    path.write_bytes(pickle.dumps(([Evil()], [])))
    with pytest.raises(BadInput, match="only lists, numbers and bytes"):
        list(read_pairs_bin(path))
    assert not (tmp_path / "made").exists()
    path.write_bytes(pickle.dumps(([b"a"], [True])))
    with pytest.raises(BadInput, match="1 pictures for 1 pairs"):
        list(read_pairs_bin(path))


def test_records_survive_a_file_and_a_bad_line_is_named(tmp_path):
    path = tmp_path / "faces.jsonl"
    records = [
        FaceRecord(subject_id="a", picture="a.png", source="s", licence="x", landmarks_px=((1, 2),) * 5),
        FaceRecord(subject_id="b", picture="b.png", source="s", licence="x", groups={"age": "child"}),
    ]
    write_records(records, path)
    assert read_records(path) == records
    path.write_text(path.read_text() + '{"subject_id": "c"}\n')
    with pytest.raises(BadInput, match=r"faces.jsonl:3: picture"):
        read_records(path)
    with pytest.raises(MissingModel, match="no faces at"):
        read_records(tmp_path / "absent.jsonl")


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not a picture")
    for name in ("a.png", "absent.png"):
        with pytest.raises(BadInput, match=name):
            open_picture(tmp_path, name)


def test_pictures_are_turned_as_their_exif_says(tmp_path):
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert open_picture(tmp_path, "a.png").shape == (4, 2, 3)
