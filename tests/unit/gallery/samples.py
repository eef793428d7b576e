"""Made-up templates, and galleries looked at from below."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from services.gallery.template import Embedding, Template


def make_template(subject_id: str, seed: int, space: str = "space-a") -> Template:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=8).astype(np.float32)
    return Template(
        subject_id=subject_id,
        embedding=Embedding(vector / np.linalg.norm(vector), space),
        quality=0.5 + seed / 100,
        chip_png=f"chip of {subject_id} {seed}".encode(),
        landmarks_px=rng.random((5, 2)).astype(np.float32),
        source_sha256="0" * 64,
    )


def table_rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names}


def column_names(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def write_cell(path: Path, table: str, column: str, key: str, row: object, value: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (value, row))
        # What a reader has in memory is not asked here.
        connection.execute("UPDATE gallery_state SET value = value + 1 WHERE name = 'revision'")


def write_plain(path: Path, templates: Sequence[Template]) -> None:
    """A gallery as it was written before templates were sealed."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE space (name VARCHAR PRIMARY KEY)")
        connection.execute(
            "CREATE TABLE templates (template_id VARCHAR PRIMARY KEY, subject_id VARCHAR NOT NULL, vector BLOB, "
            "quality FLOAT, chip_png BLOB, landmarks_px BLOB, source_sha256 VARCHAR)"
        )
        connection.execute("INSERT INTO space VALUES ('space-a')")
        for t in templates:
            row = (t.template_id, t.subject_id, t.embedding.vector.tobytes(), t.quality, t.chip_png)
            landmarks = t.landmarks_px.tobytes()
            connection.execute("INSERT INTO templates VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, landmarks, t.source_sha256))


def read_cells(path: Path) -> set[bytes]:
    """Every blob in the database."""
    return {cell for rows in table_rows(path).values() for row in rows for cell in row if isinstance(cell, bytes)}
