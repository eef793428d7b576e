"""Scan: looks for a person's identifiers in every store, file and database page of this installation.

Databases are read twice: as tables, every cell; and as a file, every byte, also of logs and of pages nobody uses.
A short name turns up in random bytes by chance, so in raw bytes names below six bytes count only in quotes.
"""

import html
import json
import re
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from services.archive.names import NAME_BEGINS, NAME_ENDS
from services.archive.store import Archive
from services.gallery.store import Gallery
from services.settings import Settings

_RAW_BYTES = 6
_BLOCK_BYTES = 1 << 20
_MEDIA = frozenset({".mp4", ".png", ".jpg", ".jpeg"})
_SQLITE = b"SQLite format 3\0"


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that is left.

    Attributes:
        place: File, table or store.
        identifier: What was found there.
    """

    place: str
    identifier: str


def find_traces(
    settings: Settings, *, gallery: str, names: Iterable[str], digests: Iterable[str] = (), reports: Iterable[str] = ()
) -> list[Trace]:
    """Everything that still says one of the names or digests.

    Args:
        settings: Say where the stores are.
        gallery: Path or url of the gallery.
        names: Of the person; by themselves, "ada" is not found in "adam".
        digests: Hexadecimal, of their templates and enrolment files.
        reports: Report folders beside those that the archive knows.
    """
    names, digests = tuple(names), tuple(digests)
    found = list(_stores(settings, gallery, names))
    needles = _needles(names, digests)
    for path in sorted(set(_files(settings, gallery, reports))):
        found += [Trace(str(path), needle.decode(errors="replace")) for needle in _in_file(path, needles)]
        if _is_sqlite(path):
            found += _in_tables(path, names, digests)
    return sorted(set(found), key=lambda trace: (trace.place, trace.identifier))


def _stores(settings: Settings, gallery: str, names: tuple[str, ...]) -> Iterator[Trace]:
    """What the stores themselves answer, sealed or on another machine."""
    for location in (gallery, settings.strangers):
        with Gallery.open(settings, location).read() as session:
            known = set(session.names.values())
        for name in names:
            if name in known:
                yield Trace(f"gallery {location}", name)
    archive = Archive(settings.archive)
    for name in names:
        for analysis in archive.find_analyses(subject_id=name):
            yield Trace(f"archive, analysis {analysis.analysis_id}", name)


def _files(settings: Settings, gallery: str, reports: Iterable[str]) -> Iterator[Path]:
    folders = [Path(folder) for folder in (settings.evidence, str(settings.forgetting), *reports)]
    folders += [folder for record in Archive(settings.archive).find_analyses() for folder in record.reports]
    for folder in folders:
        if "://" not in str(folder) and folder.is_dir():
            yield from (path for path in folder.rglob("*") if path.is_file())
    for base in (gallery, settings.strangers, settings.archive, str(settings.audit), str(settings.promotions)):
        if "://" not in base:
            path = Path(base)  # the file, its logs, keys, heads and whatever else is called after it
            yield from (beside for beside in path.parent.glob(f"{path.stem}.*") if beside.is_file())


def _needles(names: tuple[str, ...], digests: tuple[str, ...]) -> tuple[bytes, ...]:
    spelled: set[bytes] = set()
    for name in names:
        for form in (name, json.dumps(name)[1:-1], html.escape(name), quote(name)):
            content = form.encode()
            spelled.add(content if len(content) >= _RAW_BYTES else b'"' + content + b'"')
    for digest in digests:
        spelled |= {digest.encode(), bytes.fromhex(digest)}
    return tuple(sorted(spelled))


def _in_file(path: Path, needles: tuple[bytes, ...]) -> set[bytes]:
    if path.suffix in _MEDIA:
        needles = tuple(needle for needle in needles if len(needle) > 2 * _RAW_BYTES)
    found: set[bytes] = set()
    longest = max(map(len, needles), default=1) + 1
    with path.open("rb") as file:
        tail = b""
        while block := file.read(_BLOCK_BYTES):
            window = tail + block
            found |= {needle for needle in needles if _stands_alone(window, needle)}
            tail = window[-longest:]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as bundle:
            content = bundle.read("meta.json") if "meta.json" in bundle.namelist() else b""
        found |= {needle for needle in needles if _stands_alone(content, needle)}
    return found


def _stands_alone(content: bytes, needle: bytes) -> bool:
    if needle not in content:  # nearly always, and much quicker to see
        return False
    return re.search(NAME_BEGINS.encode() + re.escape(needle) + NAME_ENDS.encode(), content) is not None


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _in_tables(path: Path, names: tuple[str, ...], digests: tuple[str, ...]) -> list[Trace]:
    wanted = [name.encode() for name in names] + [form for d in digests for form in (d.encode(), bytes.fromhex(d))]
    found = []
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes
        tables = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    if isinstance(cell, bytes):
                        found += [
                            Trace(f"{path}, table {table}", each.decode(errors="replace"))
                            for each in wanted
                            if cell == each or (len(each) >= _RAW_BYTES and _stands_alone(cell, each))
                        ]
    return found
