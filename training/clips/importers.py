"""Importers: the layouts public action sets are published in, read into labelled spans. Nothing is downloaded.

Each takes the set's folder as it was unpacked. Actions keep the set's own names; training.clips.labels maps them.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from services.contracts.errors import BadInput
from training.clips.manifest import LabelledSpan, PersonBox, describe, read_json

_VIDEOS = frozenset({".avi", ".mp4", ".mkv", ".webm", ".mov", ".mpg"})
KTH_RATE_HZ = 25.0
UT_ACTIONS = ("shake_hands", "hug", "kick", "point", "punch", "push")
# One man plays in both, so they are one group; measured on set 1.
_UT_SAME_ACTOR = {("set1", 7): "seq7+8", ("set1", 8): "seq7+8"}
_AVA_SECONDS = 1.0


def import_kinetics(folder: Path) -> list[LabelledSpan]:
    """`annotations.csv` (label,youtube_id,time_start,time_end,split) and trimmed clips LABEL/ID_000010_000020.mp4.

    The group is the video: trimmed clips of one upload share their people. Clips that could not be downloaded
    have no file and give no span.

    Source: Kay et al. 2017, arXiv:1705.06950.
    """
    spans = []
    for row in _rows(folder / "annotations.csv", {"label", "youtube_id", "time_start", "time_end"}):
        stem = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
        path = folder / row["label"] / f"{stem}.mp4"
        if path.is_file():
            spans.append(_whole(folder, path, row["label"], row["youtube_id"], "kinetics", "CC-BY-4.0 (annotations)"))
    return _some(spans, folder)


def import_ucf101(folder: Path) -> list[LabelledSpan]:
    """CLASS/v_CLASS_g01_c01.avi; the group (g01) of a class shares its actor and background.

    Source: Soomro et al. 2012, arXiv:1212.0402.
    """
    return _by_name(
        folder,
        r"v_(?P<action>\w+)_g(?P<group>\d+)_c\d+",
        lambda found: (found["action"], f"{found['action']}_g{found['group']}"),
        "ucf101",
        "research use",
    )


def import_hmdb51(folder: Path) -> list[LabelledSpan]:
    """ACTION/FILM_ACTION_f_cm_np1_ba_med_0.avi; the group is the film.

    Source: Kuehne et al. 2011, ICCV (HMDB).
    """
    spans = []
    for path in _videos(folder):
        action = path.parent.name
        film, found, _ = path.stem.partition(f"_{action}_")
        if not found:
            raise BadInput(f"{path}: the name should hold _{action}_ as HMDB51's do")
        spans.append(_whole(folder, path, action, film, "hmdb51", "CC-BY-4.0"))
    return _some(spans, folder)


def import_kth(folder: Path) -> list[LabelledSpan]:
    """ACTION/person01_ACTION_d1_uncomp.avi and `00sequences.txt`, which names frame ranges from 1; 25 frames/s.

    Source: Schuldt et al. 2004, ICPR (KTH).
    """
    ranges: dict[str, list[tuple[int, int]]] = {}
    for line in _lines(folder / "00sequences.txt"):
        if found := re.match(r"\s*(person\d+_\w+_d\d)\s+frames\s+(.+)", line):
            pairs = re.findall(r"(\d+)\s*-\s*(\d+)", found[2])
            ranges[found[1]] = [(int(first), int(last)) for first, last in pairs]
    spans = []
    for path in _videos(folder):
        key = path.stem.removesuffix("_uncomp")
        person, action, _ = key.split("_", 2)
        for first, last in ranges.get(key, []):
            # Frames count from 1 and the last one is included.
            start, end = (first - 1) / KTH_RATE_HZ, last / KTH_RATE_HZ
            whole = _whole(folder, path, action, person, "kth", "research use")
            spans.append(whole.model_copy(update={"start_seconds": start, "end_seconds": end, "subject_id": person}))
    return _some(spans, folder)


def import_ava(folder: Path) -> list[LabelledSpan]:
    """`ava.csv` (video,timestamp,x1,y1,x2,y2,action_id,person_id, no header), `actions.json`, films beside them.

    `actions.json` maps the ids, which count from 1, to names. Boxes are shares of the picture; a timestamp is the
    middle of its second in the whole film. Actions of one person at one time become one span.

    Source: Gu et al. 2018, arXiv:1705.08421.
    """
    names = _ava_names(folder / "actions.json")
    films = {path.stem: path for path in _videos(folder)}
    found: dict[tuple[str, str, float], tuple[set[str], PersonBox]] = {}
    faults = []
    for number, line in enumerate(_lines(folder / "ava.csv"), start=1):
        values = line.split(",")
        if len(values) < 8 or values[0] not in films:
            faults.append(f"row {number}: {len(values)} values or no film {values[0]!r}")
            continue
        if int(values[6]) not in names:
            faults.append(f"row {number}: action {values[6]} is none of 1 to {max(names)}; ids count from 1")
            continue
        seconds = float(values[1])
        left, top, right, bottom = (float(edge) for edge in values[2:6])
        box = PersonBox(seconds=seconds, box=(left, top, right, bottom))
        found.setdefault((values[0], values[7], seconds), (set(), box))[0].add(names[int(values[6])])
    if faults:
        raise BadInput(f"{folder / 'ava.csv'}: {describe(faults)}")
    spans = [
        LabelledSpan(
            clip=str(films[video].relative_to(folder)),
            actions=tuple(sorted(actions)),
            group=video,
            start_seconds=max(0.0, seconds - _AVA_SECONDS / 2),
            end_seconds=seconds + _AVA_SECONDS / 2,
            subject_id=f"{video}:{person}",
            boxes=(box,),
            source="ava",
            licence="CC-BY-4.0 (annotations)",
        )
        for (video, person, seconds), (actions, box) in found.items()
    ]
    return _some(spans, folder)


def import_activitynet(folder: Path) -> list[LabelledSpan]:
    """`annotations.json` ({"database": {ID: {"annotations": [{"label", "segment"}]}}}) and videos v_ID.mp4 or ID.mp4.

    Source: Caba Heilbron et al. 2015, CVPR (ActivityNet).
    """
    content = read_json(folder / "annotations.json")
    if not isinstance(content, dict) or not isinstance(content.get("database"), dict):
        raise BadInput(f"{folder / 'annotations.json'} has no database of videos, as ActivityNet's has")
    database: Mapping[str, Any] = content["database"]
    films = {path.stem.removeprefix("v_"): path for path in _videos(folder)}
    spans = []
    for video in sorted(database.keys() & films.keys()):
        for note in database[video].get("annotations", ()):
            whole = _whole(folder, films[video], note["label"], video, "activitynet", "MIT (annotations)")
            start, end = note["segment"]
            spans.append(LabelledSpan(**{**whole.model_dump(), "start_seconds": start, "end_seconds": end}))
    return _some(spans, folder)


def import_ut_interaction(folder: Path) -> list[LabelledSpan]:
    """SET/N_SEQUENCE_ACTION.avi, actions 0 to 5 in UT_ACTIONS' order; the group is the sequence.

    Source: Ryoo & Aggarwal 2010 (UT-Interaction, SDHA challenge).
    """
    spans = []
    for path in _videos(folder):
        found = re.fullmatch(r"\d+_(\d+)_(\d)", path.stem)
        if not found or int(found[2]) >= len(UT_ACTIONS):
            raise BadInput(f"{path}: the name should be N_SEQUENCE_ACTION with an action from 0 to 5")
        sequence = int(found[1])
        group = _UT_SAME_ACTOR.get((path.parent.name, sequence), f"seq{sequence}")
        spans.append(_whole(folder, path, UT_ACTIONS[int(found[2])], group, "ut_interaction", "research use"))
    return _some(spans, folder)


def import_fights(folder: Path) -> list[LabelledSpan]:
    """fight/ and noFight/ (or Fight/ and NonFight/), and `clips.csv` (clip,action,group) where sources are known.

    Without that list the group is the file's name up to its last number, as in RWF-2000 and Hockey.

    Source: Aktı et al. 2019, arXiv:2002.04355; Cheng et al. 2021, arXiv:1911.05913 (RWF-2000).
    """
    known = {}
    if (folder / "clips.csv").is_file():
        known = {row["clip"]: row["group"] for row in _rows(folder / "clips.csv", {"clip", "action", "group"})}
    spans = []
    for path in _videos(folder):
        kind = path.parent.name.lower()
        if kind not in ("fight", "nofight", "nonfight"):
            raise BadInput(f"{path}: clips lie in folders fight and noFight (or Fight and NonFight)")
        name = str(path.relative_to(folder))
        group = known.get(name) or re.sub(r"[_-]?\d+$", "", path.stem) or path.stem
        action = "fight" if kind == "fight" else "no_fight"
        spans.append(_whole(folder, path, action, group, "fights", "MIT"))
    return _some(spans, folder)


IMPORTERS: dict[str, Callable[[Path], list[LabelledSpan]]] = {
    "kinetics": import_kinetics,
    "ucf101": import_ucf101,
    "hmdb51": import_hmdb51,
    "kth": import_kth,
    "ava": import_ava,
    "activitynet": import_activitynet,
    "ut_interaction": import_ut_interaction,
    "fights": import_fights,
}


def _by_name(
    folder: Path,
    pattern: str,
    read: Callable[[re.Match[str]], tuple[str, str]],
    source: str,
    licence: str,
) -> list[LabelledSpan]:
    spans = []
    for path in _videos(folder):
        found = re.fullmatch(pattern, path.stem)
        if not found:
            raise BadInput(f"{path}: the name does not read {pattern}, as those of {source} do")
        action, group = read(found)
        spans.append(_whole(folder, path, action, group, source, licence))
    return _some(spans, folder)


def _whole(folder: Path, path: Path, action: str, group: str, source: str, licence: str) -> LabelledSpan:
    return LabelledSpan(
        clip=str(path.relative_to(folder)), actions=(action,), group=group, source=source, licence=licence
    )


def _some(spans: list[LabelledSpan], folder: Path) -> list[LabelledSpan]:
    if not spans:
        raise BadInput(f"no labelled clip under {folder}: is it the folder the set was unpacked into?")
    return spans


def _videos(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in _VIDEOS)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error


def _rows(path: Path, columns: set[str]) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_lines(path)))
    if missing := columns - set(rows[0] if rows else ()):
        raise BadInput(f"{path}: no rows, or no column {', '.join(sorted(missing))}")
    return rows


def _ava_names(path: Path) -> dict[int, str]:
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise BadInput(f"{path} should map ids to names of actions")
    names = {int(number): str(name) for number, name in content.items()}
    if min(names) != 1:
        raise BadInput(
            f"{path}: ids begin with {min(names)}; AVA's count from 1, so every action would be its neighbour"
        )
    return names
