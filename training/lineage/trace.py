"""Trace: what an event or a model rests on; and what a data version or a subject touched."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from functools import cached_property, partial
from itertools import islice

from services.archive.query import EventQuery, Sighting
from services.archive.store import AnalysisRecord, Archive
from services.contracts.clip import ModelRef
from services.contracts.errors import BadInput, MissingModel, WhodidError
from services.contracts.events import Provenance
from services.contracts.identity import GalleryRef
from services.ledger import BrokenLedger, Entry
from services.models.catalogue import Pretrained, read_pretrained
from services.models.store import ModelStore, StoredModel
from services.settings import Settings
from training.lineage import proofs
from training.lineage.checkout import Checkout, find_checkout
from training.lineage.node import BrokenLink, Node
from training.promotion.deployments import Change, PromotionLog

# More events than a person reads; the count is that of all.
_LISTED_EVENTS = 100


class Tracer:
    """Looks things up on this machine, offline.

    Args:
        settings: Where archive, models, gallery and promotion log are.
        checkout: Where commits and data versions are; found when None.
    """

    def __init__(self, settings: Settings, checkout: Checkout | None = None) -> None:
        self._settings = settings
        self._checkout = checkout or find_checkout()
        self._archive = Archive(settings.archive)
        self._store = ModelStore(settings.models)

    def trace(self, reference: str) -> Node:
        """The lineage of an event, a model, a data version or a subject, whichever answers to the name.

        Raises:
            BadInput: Nothing does.
        """
        for look_up in (self._data_version, self._model, self._event, self._subject):
            node = look_up(reference)
            if node is not None:
                return node
        raise BadInput(
            f"{reference!r} is no event, model, data version or subject known here: see `whodid events --json`, "
            "`whodid live`, data.dvc"
        )

    def trace_event(self, sighting: Sighting) -> Node:
        """An event and everything it rests on."""
        event, provenance = sighting.event, sighting.event.provenance
        records = self._archive.find_analyses(analysis_id=sighting.analysis_id)
        identity = event.identity
        facts = {
            "who": identity.subject_id or identity.decision,
            "did": event.action.name,
            "probability": f"{event.action.probability:.3f}",
            "similarity": "none" if identity.similarity is None else f"{identity.similarity:.4f}",
            "threshold": "none" if identity.threshold is None else f"{identity.threshold:.4f}",
            "from_seconds": f"{event.start_seconds:g}",
            "to_seconds": f"{event.end_seconds:g}",
            "track": event.track_id,
        }
        if sighting.clip.started_at is not None:
            at = sighting.clip.started_at + timedelta(seconds=event.start_seconds)
            facts["at"] = at.isoformat(timespec="milliseconds")
        parts = [
            Node("clip", event.clip_id, {"uri": sighting.clip.uri}, prove=partial(proofs.prove_clip, sighting.clip)),
            self._evidence(provenance, records),
            proofs.describe_graph(provenance.graph_sha256, self._settings.graph, self._checkout),
            *(self._used_model(model) for model in spoke(provenance)),
        ]
        if provenance.gallery is not None:
            parts.append(self._gallery(provenance.gallery))
        return Node("event", event.event_id, facts, tuple(parts), partial(proofs.prove_event, event))

    def trace_model(self, model: StoredModel) -> Node:
        """A model version: card, signatures, run, commit, data, and who put it in service."""
        card = model.card
        parts = [
            Node(
                "card",
                f"{card.name}@{card.version}",
                {name: f"{value:g}" for name, value in card.metrics.items()},
                prove=partial(proofs.prove_card, model, self._settings, self._checkout),
            ),
            *self._promotions(card.weights.sha256),
            self._origin(model),
        ]
        facts = {
            "task": card.task,
            "sha256": card.weights.sha256,
            "licence": card.licence,
            "size_bytes": str(card.weights.size_bytes),
            "description": card.description,
        }
        return Node("model", f"{card.name}@{card.version}", facts, tuple(parts), partial(proofs.prove_weights, model))

    def trace_data(self, md5: str) -> Node:
        """A data version, and forwards: the models that learned from it and the events they spoke in."""
        node = self._data(md5)
        models = [model for model in self._store.installed() if model.card.lineage.data_md5 == md5]
        known = {model.card.weights.sha256 for model in models}
        touched = [
            Node(
                "model",
                f"{model.card.name}@{model.card.version}",
                {"sha256": model.card.weights.sha256, "task": model.card.task},
                (self._events_by(model.card.weights.sha256),),
                partial(proofs.prove_weights, model),
            )
            for model in models
        ]
        for _, change in self._changes:
            deployment = change.deployment
            if deployment.data_md5 == md5 and deployment.sha256 not in known:
                known.add(deployment.sha256)
                facts = {"sha256": deployment.sha256, "task": deployment.task, "note": "promoted, not installed here"}
                name = f"{deployment.name}@{deployment.card_version}"
                touched.append(Node("model", name, facts, (self._events_by(deployment.sha256),)))
        return Node(node.kind, node.name, node.facts, tuple(touched), node.prove)

    def trace_subject(self, subject_id: str) -> Node | None:
        """A subject forwards: data versions and their models and events, and events that name the subject."""
        parts = []
        if self._checkout is not None:
            for md5 in self._checkout.data_versions():
                try:
                    files = self._checkout.find_subjects(md5).get(subject_id)
                except BrokenLink:
                    continue  # a version whose files are not here says nothing
                if files:
                    node = self.trace_data(md5)
                    facts = {**node.facts, "files_with_subject": ", ".join(files)}
                    parts.append(Node(node.kind, node.name, facts, node.parts, node.prove))
        named = list(self._archive.find_events(EventQuery(subject_id=subject_id)))
        if named:
            parts.append(_list_events(f"that name {subject_id}", named))
        return Node("subject", subject_id, {}, tuple(parts)) if parts else None

    def _data_version(self, reference: str) -> Node | None:
        md5 = reference if reference.endswith(".dir") else f"{reference}.dir"
        if len(md5) != 36 or set(md5[:32]) - set("0123456789abcdef"):
            return None
        return self.trace_data(md5)

    def _model(self, reference: str) -> Node | None:
        try:
            return self.trace_model(self._store.find(reference))
        except MissingModel:
            return None

    def _event(self, reference: str) -> Node | None:
        if len(reference) < 6 or set(reference) - set("0123456789abcdef"):
            return None
        return self.trace_event(self._archive.find_event(reference))

    def _subject(self, reference: str) -> Node | None:
        return self.trace_subject(reference)

    def _evidence(self, provenance: Provenance, records: Sequence[AnalysisRecord]) -> Node:
        uris = [reference.uri for record in records for reference in record.evidence]
        sha256 = provenance.evidence_sha256
        return Node("evidence", sha256, {"uri": ", ".join(uris)}, prove=partial(proofs.prove_evidence, uris, sha256))

    def _used_model(self, reference: ModelRef) -> Node:
        try:
            return self.trace_model(self._store.find(reference.sha256))
        except WhodidError as fault:
            name = f"{reference.name}@{reference.version}"
            return Node("model", name, {"sha256": reference.sha256}, prove=partial(proofs.fail, name, str(fault)))

    def _origin(self, model: StoredModel) -> Node:
        lineage = model.card.lineage
        if lineage.run_id is None:
            release = self._releases.get(model.card.weights.sha256)
            facts = {"source": lineage.source}
            if release is not None:
                facts |= {"file": release.distribution.file, "sha256": release.distribution.sha256}
            return Node("release", lineage.source.split(",")[0], facts)
        commit = lineage.git_commit or "unknown"
        facts = proofs.describe_run(model, self._settings, self._checkout)
        described = self._checkout.describe_commit(commit) if self._checkout else {}
        parts = [
            Node(
                "commit",
                commit,
                described,
                prove=partial(proofs.prove_commit, commit, lineage.data_md5, self._checkout),
            )
        ]
        if lineage.data_md5:
            parts.append(self._data(lineage.data_md5))
        return Node("run", lineage.run_id, facts, tuple(parts))

    def _data(self, md5: str) -> Node:
        facts: dict[str, str] = {}
        try:
            if self._checkout is not None:
                subjects = self._checkout.find_subjects(md5)
                facts = {
                    "files": str(len(self._checkout.list_data(md5))),
                    "people": str(len(subjects)),
                    "subjects": ", ".join(subjects),
                }
        except BrokenLink as fault:
            facts = {"note": str(fault)}
        return Node("data", md5, facts, prove=partial(proofs.prove_data, md5, self._checkout))

    def _promotions(self, sha256: str) -> list[Node]:
        return [
            Node(
                "promotion",
                f"line {entry.sequence}",
                {
                    "kind": change.kind,
                    "stage": change.deployment.stage,
                    "at": entry.at.isoformat(timespec="seconds"),
                    "who": change.who,
                    "why": change.why,
                    **({"override": change.override} if change.override else {}),
                },
            )
            for entry, change in self._changes
            if change.deployment.sha256 == sha256
        ] + [Node("promotion log", str(self._settings.promotions), {}, prove=partial(proofs.prove_log, self._settings))]

    def _gallery(self, reference: GalleryRef) -> Node:
        return Node("gallery", reference.sha256, {**proofs.compare_gallery(reference, self._settings)})

    def _events_by(self, sha256: str) -> Node:
        found: list[Sighting] = []
        for record in self._archive.find_analyses():
            if sha256 in {model.sha256 for model in spoke(record.provenance)}:
                query = EventQuery(clip_id=record.clip.clip_id)
                found += [each for each in self._archive.find_events(query) if each.analysis_id == record.analysis_id]
        return _list_events("it spoke in", found)

    @cached_property
    def _changes(self) -> list[tuple[Entry, Change]]:
        try:
            return PromotionLog(self._settings).changes()
        except (BrokenLedger, MissingModel):
            return []  # the log's own node says so

    @cached_property
    def _releases(self) -> dict[str, Pretrained]:
        return {each.card.weights.sha256: each for each in read_pretrained()}


def spoke(provenance: Provenance) -> tuple[ModelRef, ...]:
    """Every model version that had a say."""
    return (*provenance.tracks, *(provenance.identity or ()), *(provenance.action or ()))


def _list_events(name: str, sightings: Iterable[Sighting]) -> Node:
    found = list(sightings)
    listed = tuple(
        Node("event", each.event.event_id, {"did": each.event.action.name, "clip": each.event.clip_id})
        for each in islice(found, _LISTED_EVENTS)
    )
    facts = {"count": str(len(found)), "clips": str(len({each.event.clip_id for each in found}))}
    return Node("events", name, facts, listed)
