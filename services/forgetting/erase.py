"""Erase: a person leaves gallery, evidence, reports, archive, audit log and backups, in steps that can be repeated."""

import html
import json
import secrets
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlparse
from urllib.request import url2pathname

from services.access.audit import AuditLog
from services.archive.names import pattern_of
from services.archive.query import EventQuery
from services.archive.store import Archive
from services.contracts.errors import BadInput, BadUsage, WhodidError
from services.forgetting.certificate import Certificate, write_certificate
from services.forgetting.journal import Journal, Plan, find_journals
from services.forgetting.scan import Trace, find_traces
from services.gallery.schema import flush_log, rewrite
from services.gallery.store import Gallery
from services.gallery.strangers import PSEUDONYM, erase_strangers
from services.reports.report import FILE_NAMES
from services.settings import Settings
from services.signing import open_signing_key


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What came of it.

    Attributes:
        certificate: What was done.
        path: Where its signed form lies.
    """

    certificate: Certificate
    path: Path


def forget(subject_id: str, settings: Settings, *, gallery: str | None = None) -> list[Forgotten]:
    """Erase a person, and finish every erasure that was interrupted before.

    Args:
        subject_id: Their name.
        settings: Say where the stores are.
        gallery: Path or url; the machine's own when None.

    Returns:
        One for each erasure, this one last.

    Raises:
        BadInput: Nothing here knows them.
        WhodidError: Something is left: says what. Asking again goes on.
    """
    done = []
    for begun in find_journals(settings.forgetting):
        if begun.subject_id != subject_id:
            done.append(_carry_out(begun.joined(_look_up(begun, settings)), settings))
    journal = Journal(settings.forgetting, subject_id)
    plan = journal.read()
    if plan is None:
        plan = Plan(
            subject_id=subject_id,
            names=(subject_id,),
            pseudonym=f"forgotten-{secrets.token_hex(8)}",
            gallery=gallery or settings.gallery,
        )
        found = _look_up(plan, settings)
        if found == plan and not find_traces(settings, gallery=plan.gallery, names=plan.names):
            raise BadInput(f"nothing here knows {subject_id!r}: see `whodid gallery list`")
    else:
        found = _look_up(plan, settings)  # somebody may have been recognised since
    plan = plan.joined(found)
    journal.write(plan)
    return [*done, _carry_out(plan, settings)]


def _look_up(plan: Plan, settings: Settings) -> Plan:
    """The same plan with everything of the person's that is there now.

    Raises:
        BadInput: The gallery knows them under another name.
    """
    names, digests, sources, templates = set(plan.names), set[str](), set[str](), 0
    gallery, archive = Gallery.open(settings, plan.gallery), Archive(settings.archive)
    with gallery.read() as session:
        person_id = session.find_person(plan.subject_id)
        if person_id is not None and session.names[person_id] != plan.subject_id:
            raise BadInput(f"{plan.subject_id!r} was merged into {session.names[person_id]!r}: forget them")
        if person_id is not None:
            circle = session.standing.circle(person_id)
            names |= {session.names[each] for each in circle}
            # What they were called before they were named: in archive, evidence and reports it is them, too.
            names |= {each for each, owner in session.standing.pseudonyms.items() if owner in circle}
            faces = [face for face, owner in session.standing.enrolled.items() if owner == person_id]
            theirs = session.templates(faces, session.space or "").values()
            digests, sources = {each.template_id for each in theirs}, {each.source_sha256 for each in theirs}
            templates = len(theirs)
    naming = {record.analysis_id: record for name in names for record in archive.find_analyses(subject_id=name)}
    recognised = {analysis_id for name in names for analysis_id in archive.find_recognised(name)}
    evidence, reports, mentioning = set[str](), set[str](), set[str]()
    for record in naming.values():
        there = record.analysis_id in recognised
        (reports if there else mentioning).update(str(folder) for folder in record.reports)
        evidence.update(each.uri for each in record.evidence if there)
    evidence.update(path.as_uri() for path in _bundles_of_clips(settings.evidence, sources))
    return plan.model_copy(
        update={
            "names": tuple(sorted(names)),
            "digests": tuple(sorted(digests)),
            "evidence": tuple(sorted(evidence)),
            "reports": tuple(sorted(reports)),
            "mentioning": tuple(sorted(mentioning - reports)),
            "templates": templates,
            "events": sum(
                1 for name in names for _ in archive.find_events(EventQuery(subject_id=name, pseudonyms=(name,)))
            ),
        }
    )


def _carry_out(plan: Plan, settings: Settings) -> Forgotten:
    """Every step does what is left of it, so that the whole can be run again from the start."""
    gallery, archive = Gallery.open(settings, plan.gallery), Archive(settings.archive)
    for uri in plan.evidence:
        _local(uri).unlink(missing_ok=True)
    for folder in plan.reports:
        _delete_report(Path(folder))
    for folder in plan.mentioning:
        _rewrite_report(Path(folder), plan)
    for name in plan.names:
        archive.pseudonymise_subject(name, plan.pseudonym)
        AuditLog.open(settings).forget_subject(name)
    _erase_from_gallery(gallery, plan)
    strangers = Gallery.open(settings, settings.strangers)
    erase_strangers(strangers, plan.names)
    # Strangers' backups hold the person only if they were one of them.
    remembered = [strangers] if any(map(PSEUDONYM.fullmatch, plan.names)) else []
    keys_left = sorted({key_id for each in (gallery, *remembered) for key_id in _seal_anew(each)})
    left = find_traces(
        settings,
        gallery=plan.gallery,
        names=plan.names,
        digests=plan.digests,
        reports=(*plan.reports, *plan.mentioning),
    )
    left = [trace for trace in left if not trace.place.endswith(".journal")]
    if left:
        raise WhodidError(f"{describe_traces(left)}; remove it and ask again")
    certificate = Certificate(
        pseudonym=plan.pseudonym,
        finished_at=datetime.now(UTC),
        counts={
            "templates": plan.templates,
            "evidence_bundles": len(plan.evidence),
            "report_folders": len(plan.reports),
            "reports_rewritten": len(plan.mentioning),
            "events_pseudonymised": plan.events,
        },
        scanned_stores=("gallery", "strangers", "archive", "evidence", "reports", "audit", "promotions", "journals"),
        keys_to_destroy=tuple(keys_left),
    )
    path = write_certificate(settings.forgetting, certificate, open_signing_key(settings.signing_key))
    Journal(settings.forgetting, plan.subject_id).destroy()
    return Forgotten(certificate, path)


def describe_traces(traces: list[Trace]) -> str:
    """What is left and where, in words."""
    more = f" and in {len(traces) - 1} more places" if len(traces) > 1 else ""
    return f"{traces[0].identifier!r} is left in {traces[0].place}{more}"


def _erase_from_gallery(gallery: Gallery, plan: Plan) -> None:
    with gallery.read() as session:
        known = session.find_person(plan.subject_id) is not None
    if known:
        gallery.remove(plan.subject_id)


def _seal_anew(gallery: Gallery) -> list[str]:
    """Make what a backup of before holds, and what lies in pages nobody uses, unreadable.

    Returns:
        As `_replace_key`.

    Raises:
        WhodidError: Somebody is reading.
    """
    if not gallery.exists:
        return []
    keys_left = _replace_key(gallery)  # what a backup of before holds is sealed with the key that goes now
    rewrite(gallery.engine)
    if not flush_log(gallery.engine):
        raise WhodidError(f"{gallery.location} is being read, so its log cannot be emptied: ask again in a moment")
    return keys_left


def _replace_key(gallery: Gallery) -> list[str]:
    """Ids of keys that open backups of before and that only their keeper can destroy."""
    try:
        return gallery.rotate_key()[1]
    except BadUsage:  # keys from the environment, and no new one among them
        keys = gallery.keys.read()
        return [] if keys is None else [keys.current]


def _delete_report(folder: Path) -> None:
    """What a report consists of; anything else in the folder is not ours to delete."""
    for name in FILE_NAMES.values():
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _rewrite_report(folder: Path, plan: Plan) -> None:
    """Put the pseudonym in the place of the names, in every text of a report."""
    for name in FILE_NAMES.values():
        path = folder / name
        if path.suffix == ".mp4" or not path.is_file():
            continue
        text = told = path.read_text(encoding="utf-8")
        for person in sorted(plan.names, key=len, reverse=True):
            for form in sorted({person, json.dumps(person)[1:-1], html.escape(person), quote(person)}):
                told = pattern_of(form).sub(plan.pseudonym, told)
        if told != text:
            draft = path.with_name(f".{path.name}.draft")
            draft.write_text(told, encoding="utf-8", newline="")
            draft.replace(path)


def _bundles_of_clips(folder: str, clip_ids: set[str]) -> Iterator[Path]:
    """Bundles of clips from which somebody was enrolled."""
    root = Path(folder)
    if "://" in folder or not root.is_dir() or not clip_ids:
        return
    for path in root.rglob("*.zip"):
        try:
            with zipfile.ZipFile(path) as bundle:
                depends_on = json.loads(bundle.read("meta.json")).get("depends_on") or {}
        except (zipfile.BadZipFile, KeyError, ValueError):
            continue
        if depends_on.get("clip_id") in clip_ids:
            yield path.resolve()


def _local(uri: str) -> Path:
    parsed = urlparse(uri)
    if parsed.scheme not in ("", "file"):
        raise WhodidError(f"evidence {uri} lies in a store this machine does not erase from: delete it there first")
    return Path(url2pathname(parsed.path))
