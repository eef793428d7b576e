"""Metrics: what one service does, for Prometheus."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from services.contracts.action import ActionResponse
from services.contracts.card import ModelCard
from services.contracts.identity import IdentityResponse
from services.contracts.message import Message
from services.contracts.tracks import TracksResponse
from services.observation.drift import Drift

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_REQUEST_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_STAGE_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_SHARES = tuple(step / 20 for step in range(1, 20))
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class ServiceMetrics:
    """Counts for one service. Numbers only: labels are names of services, models, stages, actions and decisions.

    Args:
        service: Its name, a label on every figure.
        registry: Where the figures are collected.
    """

    def __init__(self, service: str, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram

        self._service = service
        self._drifts: dict[str, Drift] = {}

        def make(kind: Any, name: str, meaning: str, *labels: str, **more: Any) -> Any:
            return kind(f"whodid_{name}", meaning, ("service", *labels), registry=registry, **more)

        self._requests = make(Counter, "requests", "Requests answered.", "status")
        self._refused = make(Counter, "requests_refused", "Requests refused because the queue was full.")
        self._seconds = make(
            Histogram, "request_seconds", "From arrival to answer, waiting included.", buckets=_REQUEST_SECONDS
        )
        self._running = make(Gauge, "requests_running", "Requests being worked on.")
        self._waiting = make(Gauge, "requests_waiting", "Requests waiting for a worker.")
        self._stage = make(
            Histogram,
            "stage_seconds",
            "One stage of one clip, or one batch of a network.",
            "stage",
            buckets=_STAGE_SECONDS,
        )
        self._batch = make(Histogram, "batch_size", "Items a network was given at once.", "network", buckets=_BATCHES)
        self._tracks = make(Counter, "tracks", "People followed.")
        self._faces = make(Counter, "faces", "Face crops kept or compared.")
        self._decisions = make(Counter, "identities", "Tracks by decision.", "decision")
        self._similarity = make(Histogram, "similarity", "Similarity to the nearest subject.", buckets=_SHARES)
        self._probability = make(Histogram, "action_probability", "Of a segment.", "action", buckets=_SHARES)
        self._drift = make(
            Gauge, "drift", "Population stability index of recent answers against the card's reference.", "quantity"
        )
        self._model = make(Gauge, "model_info", "Which weights serve.", "name", "version", "sha256")
        self._loads = make(Counter, "loads", "Attempts to load a version.", "outcome")

    def serve(self, cards: Sequence[ModelCard], *, loaded: bool) -> None:
        """Note an attempt to load; when it worked, these are the versions that answer from now on."""
        self._loads.labels(self._service, "loaded" if loaded else "refused").inc()
        if not loaded:
            return
        self._model.clear()
        self._drifts = {}
        for card in cards:
            self._model.labels(self._service, card.name, card.version, card.weights.sha256).set(1)
            if card.reference is not None:
                self._drifts[card.reference.quantity] = Drift(card.reference)

    def queue(self, *, running: int, waiting: int) -> None:
        """How many requests are inside."""
        self._running.labels(self._service).set(running)
        self._waiting.labels(self._service).set(waiting)

    def refuse(self) -> None:
        """A request was turned away, the queue being full."""
        self._refused.labels(self._service).inc()

    def finish(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(self._service, str(status)).inc()
        self._seconds.labels(self._service).observe(seconds)

    def time_stages(self, seconds: Mapping[str, float]) -> None:
        """Wall seconds by stage."""
        for stage, spent in seconds.items():
            self._stage.labels(self._service, stage).observe(spent)

    def run_batch(self, network: str, items: int, seconds: float) -> None:
        """A network was given a batch."""
        self._batch.labels(self._service, network).observe(items)
        self._stage.labels(self._service, network).observe(seconds)

    def gave(self, answer: Message) -> None:
        """Count what an answer says."""
        match answer:
            case TracksResponse():
                self._tracks.labels(self._service).inc(len(answer.tracks))
                self._faces.labels(self._service).inc(sum(track.faces for track in answer.tracks))
            case IdentityResponse():
                for decided in answer.identities:
                    self._faces.labels(self._service).inc(decided.faces_used)
                    self._decisions.labels(self._service, decided.identity.decision).inc()
                    if decided.identity.similarity is not None:
                        self._similarity.labels(self._service).observe(decided.identity.similarity)
                        self._add_to_drift("similarity", decided.identity.similarity)
            case ActionResponse():
                for segment in answer.segments:
                    self._probability.labels(self._service, segment.action.name).observe(segment.action.probability)
                    self._add_to_drift("probability", segment.action.probability)

    def _add_to_drift(self, quantity: str, value: float) -> None:
        if quantity in self._drifts and (index := self._drifts[quantity].add(value)) is not None:
            self._drift.labels(self._service, quantity).set(index)
