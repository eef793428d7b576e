import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from services.contracts.errors import BadInput, BadUsage
from tests.unit.datasets.faces import make_faces
from training.bench import face, face_ablation, face_models, face_step
from training.bench.face_ablation import Bench, compare_parts, measure_ablation, measure_compatible
from training.bench.kept import keep_tables
from training.bench.table import BenchTable
from training.metrics.faces import EmbeddedFaces
from training.objectives.margins import ArcFace


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(face_ablation, "ATTENTIONS", ("none", "both"))
    monkeypatch.setattr(face_ablation, "FUSIONS", ("add",))
    monkeypatch.setattr(
        face_ablation, "OBJECTIVES", {name: face_ablation.OBJECTIVES[name] for name in ("softmax", "arcface")}
    )
    return Bench.open(make_faces(10, 4), tmp_path, epochs=1)


def ignore(what, done, total):
    assert done <= total


def test_people_with_too_few_pictures_are_left_out_and_nobody_is_on_both_sides(tmp_path):
    bench = Bench.open(make_faces(10, 9), tmp_path, 1)
    assert not set(bench.train.subjects) & set(bench.validation.subjects)
    assert (len(bench.train.subjects), len(bench.validation.subjects)) == (7, 3)
    assert np.bincount(bench.train.classes).tolist() == [face_ablation.MOST_PICTURES] * 7
    with pytest.raises(BadInput, match="0 of 10 people"):
        Bench.open(make_faces(10, 2), tmp_path, 1)


def test_every_row_has_its_seeds_and_a_second_bench_trains_nothing(bench, monkeypatch):
    table = measure_ablation(bench, seeds=2, on_progress=ignore)
    assert [row[:3] for row in table.rows] == [
        ("none", "add", "arcface"),
        ("both", "add", "arcface"),
        ("none", "none", "softmax"),
        ("none", "none", "arcface"),
    ]
    assert not table.bars[0].met
    monkeypatch.setattr(face_ablation, "fit", pytest.fail)
    assert measure_ablation(bench, seeds=2, on_progress=ignore) == table


def test_a_new_network_is_compared_with_an_old_one_over_different_pictures(bench):
    table = measure_compatible(bench, seeds=1, on_progress=ignore)
    (seed, *shares), (mean, *means) = table.rows
    assert (seed, mean) == ("0", "mean")
    assert shares == means
    assert all(0 <= share <= 1 for share in shares)
    assert table.bars[0].measured == pytest.approx(shares[0] - shares[2])


def test_parts_are_compared_seed_by_seed():
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.1, 3)
    parts = {(a, f, "arcface"): 0.3 + luck for a in face_ablation.ATTENTIONS for f in face_ablation.FUSIONS}
    parts |= {("none", "none", o): 0.4 + luck for o in face_ablation.OBJECTIVES}
    parts["none", "none", "triplet"] = 0.5 + luck
    lines = compare_parts(parts)
    assert lines[0].startswith("attention spatial (mean over fusions): EER +0.0000")
    assert "fusion add (no attention): EER -0.1000, standard error 0.0000 over seeds: helps" in lines
    assert "objective triplet, against softmax: EER +0.1000, standard error 0.0000 over seeds: hurts" in lines


def test_the_plain_formulation_is_ours_where_the_margin_stays_below_half_a_turn():
    plain = face_step.PlainArcFace(dimension=8, classes=30)
    ours = ArcFace(8, 30, scale=face_step.SCALE, margin_rad=face_step.MARGIN_RAD)
    with torch.no_grad():
        ours.centres.copy_(plain.weight)
    embeddings, classes = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    torch.testing.assert_close(plain(embeddings, classes), ours(embeddings, classes), rtol=1e-4, atol=1e-4)


def test_sampling_keeps_less_for_the_way_back():
    embeddings, classes = torch.randn(8, 16), torch.arange(8)
    full, sampled = (ArcFace(16, 4000, sample=share) for share in (1.0, 0.1))
    assert face_step.kept_bytes(sampled, embeddings, classes) < 0.5 * face_step.kept_bytes(full, embeddings, classes)


def test_people_apart_are_found_first_and_missed_by_nobody(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for person in range(130):
        (tmp_path / f"p{person:03d}").mkdir()
        for take in range(4 if person else 3):
            (tmp_path / f"p{person:03d}" / f"{take}.jpg").touch()
    centres = rng.normal(size=(130, 32))

    def embed(embedder, paths):
        vectors = np.stack([centres[int(path.parent.name[1:])] for path in paths]) + rng.normal(
            0, 0.01, (len(paths), 32)
        )
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return EmbeddedFaces(vectors.astype(np.float32), np.ones(len(paths), bool))

    monkeypatch.setattr(face_models, "open_embedder", lambda name: SimpleNamespace(card=SimpleNamespace(name=name)))
    monkeypatch.setattr(face_models, "embed_pictures", embed)
    table = face_models.measure_identification(["a"], tmp_path, galleries=2)
    assert "516 pictures of 129 people" in table.protocol
    # 119 strangers to a gallery of ten tell FPIR 0.01, 29 to one of a hundred only 0.1.
    assert table.rows[0] == ("a", 10, 1, "1.000", "0.000", "0.000", "-")
    assert table.rows[3] == ("a", 100, 3, "1.000", "0.000", "-", "-")


def test_what_needs_real_faces_is_left_out_and_said_to_be(capsys):
    face.main(["verification", "compatible", "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out)["tables"] == []
    assert "verification left out" in err
    assert "compatible left out" in err


def test_the_page_holds_the_latest_of_every_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(face, "_measure", lambda name, options: BenchTable(name, "of today", "how", ("a",), (), ()))
    keep_tables(tmp_path / "step.json", [BenchTable("step", "of yesterday", "how", ("a",), (("y",),), ())])
    page = tmp_path / "page.md"
    face.main(["throughput", "--work", str(tmp_path), "--markdown", str(page), "--json"])
    text = page.read_text()
    assert text.index("## of today") < text.index("measured at commit") < text.index("## of yesterday")


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(BadUsage, match="no benchmark colour"):
        face.main(["colour"])
