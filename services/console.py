"""What a person sees in the terminal: progress on stderr, tables on stdout."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from services.archive.query import Sighting
from services.contracts.card import IdentificationCalibration
from services.contracts.events import Analysis, Event
from services.contracts.identity import Identity, Threshold
from services.diagnosis import Check
from services.gallery.calibration import OperatingPoint
from services.gallery.curation import EditSummary
from services.gallery.store import SubjectSummary
from services.gallery.strangers import Stranger
from services.gallery.template import Template

# Below this a template still works, but a better picture is worth the trouble.
_GOOD_QUALITY = 0.5


class ProgressBars:
    """One bar per piece of work, on stderr; silent where stderr is no terminal and the work is short.

    Use as a context.
    """

    def __init__(self, *, unit: str) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance_to(self, name: str, done: float, total: float) -> None:
        """Draw the bar called `name` at `done` of `total`; safe from any thread."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._bars[name], completed=done, total=total)


def describe_identity(identity: Identity, track_id: str) -> str:
    """A name, or what stands in for one."""
    if identity.subject_id is not None:
        return identity.subject_id
    return f"{'unknown' if identity.decision == 'unknown' else 'not sure'} ({track_id})"


def print_events(title: str, analysis: Analysis) -> None:
    """Who did what, from when to when, as a table on stdout."""
    identities = {report.track.track_id: report.identity for report in analysis.tracks}
    table = Table("who", "did", "from", "to", "identity", "action", title=escape(title), title_justify="left")
    for event in analysis.events:
        similarity, threshold = event.identity.similarity, event.identity.threshold
        table.add_row(
            escape(describe_identity(event.identity, event.track_id)),
            escape(_describe_deed(event, identities)),
            format_seconds(event.start_seconds),
            format_seconds(event.end_seconds),
            "–" if similarity is None or threshold is None else f"{similarity:.3f} (≥ {threshold:.3f})",
            f"{event.action.probability:.0%}",
        )
    console = Console()
    console.print(table)
    if not analysis.events:
        console.print(f"no events; {len(analysis.tracks)} tracks of people were followed")


def _describe_deed(event: Event, identities: Mapping[str, Identity]) -> str:
    """What was done, and to whom where that is known: by name where the tracks' identities are given."""
    if event.toward is None:
        return event.action.name
    other = event.toward.track_id
    return f"{event.action.name} → {describe_identity(identities[other], other) if other in identities else other}"


def print_subjects(subjects: Iterable[SubjectSummary]) -> None:
    """The gallery as a table on stdout."""
    table = Table("subject", "templates", "best quality", "may be recognised")
    for subject in subjects:
        consent = subject.consent
        basis = "–" if consent is None else consent.basis
        if consent is not None and consent.expires_at is not None:
            until = f"{consent.expires_at:%Y-%m-%d}"
            basis += f", expired {until}: not matched any more" if subject.expired else f", until {until}"
        table.add_row(escape(subject.subject_id), str(subject.templates), f"{subject.best_quality:.2f}", escape(basis))
    Console().print(table)


def print_edits(edits: Iterable[EditSummary]) -> None:
    """What was done to a gallery, as a table on stdout."""
    table = Table("edit", "when (UTC)", "what", "subject", "into", "faces", "remark", "")
    for edit in edits:
        table.add_row(
            str(edit.number),
            f"{edit.at:%Y-%m-%d %H:%M:%S}",
            edit.kind if edit.undoes is None else f"undo {edit.undoes}",
            escape(edit.subject_id),
            escape(edit.into or ""),
            str(edit.faces or ""),
            escape(edit.remark),
            "undone" if edit.undone else "",
        )
    Console().print(table)


def print_calibration(
    record: IdentificationCalibration, table: Iterable[OperatingPoint], growth: Iterable[Threshold]
) -> None:
    """Threshold, protocol, FNIR@FPIR and what the threshold grows to, as tables on stdout."""
    shown = Table("FPIR", "threshold", "FNIR", "least to most", "")
    for point in table:
        shown.add_row(
            f"{point.fpir:.3f}",
            f"{point.threshold:.4f}",
            f"{point.fnir:.4f}",
            f"{point.fnir_spread[0]:.4f} to {point.fnir_spread[1]:.4f}",
            "" if point.resolved else "too few strangers to see it",
        )
    console = Console()
    console.print(shown)
    console.print(
        f"threshold {record.threshold} for {record.gallery_size} subjects at FPIR {record.fpir}; {record.data}"
    )
    console.print(record.protocol)
    grown = Table("enrolled", "threshold", "")
    for each in growth:
        grown.add_row(str(each.subjects), f"{each.similarity:.4f}", each.basis)
    if grown.row_count:
        console.print(grown)
    else:
        console.print("too few strangers to tell how the threshold has to grow: calibrate again when more are enrolled")


def format_seconds(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any: `0:07.4`, `1:02:03.0`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def warn(message: str) -> None:
    """One line on stderr."""
    Console(stderr=True, highlight=False, markup=False).print(message, soft_wrap=True)


def print_templates(templates: Iterable[Template]) -> None:
    """A subject's templates as a table on stdout."""
    table = Table("template", "quality", "embedding space", "source sha256")
    for template in templates:
        table.add_row(
            template.template_id[:12], f"{template.quality:.2f}", template.embedding.space, template.source_sha256[:12]
        )
    Console().print(table)


def print_found(found: Iterable[Sighting], *, shown: int | None, names: Mapping[str, str]) -> None:
    """Archived events as a table on stdout.

    Args:
        found: Events.
        shown: Of how many at most they are a page; a full page says that there may be more.
        names: Of those who were unknown, by pseudonym.
    """
    # The id is for `whodid show`: of everything in a narrow terminal, it is not to be cut.
    table = Table("when", "for", "camera", Column("who", overflow="fold"), "did", "clip", Column("event", no_wrap=True))
    for sighting in found:
        event = sighting.event
        in_clip = format_seconds(event.start_seconds)
        table.add_row(
            in_clip if event.started_at is None else f"{event.started_at:%Y-%m-%d %H:%M:%SZ}",
            f"{event.end_seconds - event.start_seconds:.1f} s",
            escape(event.camera_id or "–"),
            escape(_describe_sighting(sighting, names)),
            escape(_describe_deed(event, {})),
            escape(sighting.clip.uri.rsplit("/", 1)[-1]),
            event.event_id[:12],
        )
    console = Console()
    console.print(table)
    if table.row_count == shown:
        console.print(f"{shown} shown; there may be more: --limit N --page 2, or --json for all")


def _describe_sighting(sighting: Sighting, names: Mapping[str, str]) -> str:
    pseudonym = sighting.event.pseudonym
    if pseudonym is None:
        return describe_identity(sighting.event.identity, sighting.event.track_id)
    return f"{names[pseudonym]}, then {pseudonym}" if pseudonym in names else pseudonym


def print_strangers(strangers: Iterable[Stranger], tracks: Mapping[str, int], names: Mapping[str, str]) -> None:
    """Everybody remembered without a name, as a table on stdout.

    Args:
        strangers: Who.
        tracks: How often each was seen, by pseudonym.
        names: Of those who were named since.
    """
    table = Table(Column("pseudonym", no_wrap=True), "seen", "faces", "least alike", "first", "until", "named")
    for each in strangers:
        table.add_row(
            each.pseudonym,
            str(tracks.get(each.pseudonym, 0)),
            str(each.faces),
            "–" if each.alike is None else f"{each.alike:.4f}",
            f"{each.first_seen:%Y-%m-%d}",
            f"{each.expires_at:%Y-%m-%d}",
            escape(names.get(each.pseudonym, "")),
        )
    Console().print(table)


def print_checks(checks: Iterable[Check]) -> None:
    """What the doctor found, as a table on stdout."""
    table = Table("check", "", "found", "remedy")
    for check in checks:
        table.add_row(check.name, "ok" if check.ok else "[red]no[/red]", escape(check.found), escape(check.remedy))
    Console().print(table)


def print_enrolled(made: Iterable[tuple[Path, Template]]) -> None:
    """Which file gave which template, and how good it is, as a table on stdout."""
    table = Table("subject", "file", "quality", "")
    for path, template in made:
        advice = "" if template.quality >= _GOOD_QUALITY else "a sharper, larger, more frontal picture would help"
        table.add_row(escape(template.subject_id), escape(path.name), f"{template.quality:.2f}", advice)
    Console().print(table)
