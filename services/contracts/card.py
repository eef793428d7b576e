"""ModelCard: a network's weights and everything needed to use them rightly, in one record.

Preprocessing lives here and nowhere else, so what a network was trained on is what it is served.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from services.contracts.message import Message, Seconds, Sha256, Unit

Task = Literal["person_detection", "face_detection", "face_embedding", "action", "behaviour", "interaction"]
# Each needs windows, classes and a calibration. `action` says what one person does; `behaviour` what it adds up to,
# and is served beside it; `interaction` names what happens in a whole clip and is measured, not served.
SERVED_TASKS: tuple[Task, ...] = ("action", "behaviour")
RECOGNITION_TASKS: tuple[Task, ...] = (*SERVED_TASKS, "interaction")


class Weights(Message):
    """The one file an engine opens."""

    file: str = Field(pattern=r"^[A-Za-z0-9._-]+$", description="Name beside the card, never a path.")
    sha256: Sha256
    size_bytes: int = Field(gt=0)
    format: Literal["onnx", "tensorflow"]


class FaceChipSpec(Message):
    """How a face is cut for an embedder: a similarity warp of five landmarks onto `template`."""

    size_px: int = Field(gt=0, description="Side of the square chip.")
    template: tuple[tuple[float, float], ...] = Field(
        min_length=5,
        max_length=5,
        description="Eyes (left in the image first), nose, mouth corners; xy as a share of the side.",
    )
    channels: Literal["RGB", "BGR"]
    mean: tuple[float, float, float] = Field(description="Subtracted per channel from 0-255 values.")
    scale: float = Field(gt=0, description="Multiplied after the mean is subtracted.")


View = Literal["person", "surroundings", "scene"]


class WindowSpec(Message):
    """The one sampling rule: `frames` pictures of what is viewed, `rate_hz` apart, a window every stride."""

    frames: int = Field(gt=1)
    rate_hz: float = Field(gt=0)
    stride_seconds: float = Field(gt=0)
    size_px: int = Field(gt=0, description="Side of the square body crop, letterboxed.")
    motion: bool = Field(description="Whether the network also reads the track's box motion.")
    view: View = Field(
        "person",
        description=(
            "person: the track's body strip, which follows it. surroundings: a still square of two body lengths "
            "around each track. scene: the whole picture, letterboxed. The last two need the clip itself."
        ),
    )

    @property
    def duration_seconds(self) -> Seconds:
        """From the first picture of a window to the end of the last one's share of time."""
        return self.frames / self.rate_hz


class EmbeddingSpec(Message):
    """What an embedder's numbers mean. Similarities hold inside one `space` only."""

    space: str = Field(min_length=1)
    dimension: int = Field(gt=0)


class IdentificationCalibration(Message):
    """Where a similarity becomes a match, measured at a stated false-positive identification rate.

    Source: ISO/IEC 19795-1 (open-set identification, FPIR and FNIR).
    """

    space: str
    threshold: float = Field(ge=-1, le=1)
    ambiguity_margin: float = Field(ge=0, description="Closer to the runner-up than this: abstain.")
    fpir: float = Field(gt=0, lt=1, description="Strangers named, as a share, at this threshold.")
    fnir: float = Field(ge=0, le=1, description="Enrolled people missed, as a share, at this threshold.")
    gallery_size: int = Field(gt=0)
    protocol: str
    data: str = Field(description="Which people it was measured on, with the data's licence.")


class ActionCalibration(Message):
    """Turns an action network's logits into probabilities that mean something, and then segments."""

    temperature: float = Field(gt=0, description="Logits are divided by it (Guo et al. 2017, temperature scaling).")
    switch_cost: float = Field(
        1.0,
        gt=0,
        description="Log probability times seconds that a change of action must gain; see services.action.segments.",
    )
    minimum_probability: Unit = Field(description="Segments with a smaller mean probability are dropped.")
    minimum_seconds: float = Field(ge=0, description="Shorter segments are dropped.")
    unnamed: tuple[str, ...] = Field((), description="Classes that make no segment: nothing of what is looked for.")
    abstain_below: Unit = Field(0.0, description="For whole clips: less sure than this, the answer is 'not sure'.")
    thresholds: tuple[Unit, ...] = Field(
        (),
        description=(
            "Where classes do not exclude each other: from which probability on each is said. Logits then are of one "
            "class each (sigmoid). Such a network is measured where it is made, and not served."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _read_hysteresis(cls, card: Any) -> Any:
        """Cards used to say when a segment opens and when it closes; a rollback still has to read them."""
        if isinstance(card, dict) and {"enter_probability", "leave_probability"} <= card.keys():
            kept = {name: value for name, value in card.items() if name != "leave_probability"}
            return {"minimum_probability": kept.pop("enter_probability"), **kept}
        return card


class Reference(Message):
    """How a model's answers were spread on the data it was measured on; live ones are compared with it."""

    quantity: Literal["similarity", "probability"]
    edges: tuple[float, ...] = Field(min_length=1, description="Between bins, growing; the outer bins are open.")
    shares: tuple[Unit, ...] = Field(description="Of the answers, by bin; they sum to 1.")

    @model_validator(mode="after")
    def _one_share_a_bin(self) -> "Reference":
        if len(self.shares) != len(self.edges) + 1 or list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"{len(self.edges)} growing edges make {len(self.edges) + 1} bins, not {len(self.shares)}")
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares sum to {sum(self.shares)}, not 1")
        return self


class Lineage(Message):
    """Where the weights came from: enough to find, or to make again, the exact bytes."""

    source: str = Field(description="A PyPI release and file, or the training command.")
    git_commit: str | None = None
    data_md5: str | None = Field(None, description="The `md5` of data/ in data.dvc.")
    run_id: str | None = Field(None, description="MLflow run.")


class ModelCard(Message):
    """One model version: weights by digest, preprocessing, classes, thresholds, lineage, licence."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
    task: Task
    description: str
    weights: Weights
    licence: str = Field(description="SPDX identifier.")
    lineage: Lineage
    minimum_confidence: float | None = Field(None, ge=0, le=1, description="Detectors: below it, no detection.")
    chip: FaceChipSpec | None = None
    embedding: EmbeddingSpec | None = None
    identification: IdentificationCalibration | None = None
    window: WindowSpec | None = None
    classes: tuple[str, ...] = ()
    action: ActionCalibration | None = None
    reference: Reference | None = None
    metrics: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _parts_fit_the_task(self) -> "ModelCard":
        needed: dict[str, tuple[str, ...]] = {
            "person_detection": ("minimum_confidence",),
            "face_detection": ("minimum_confidence",),
            "face_embedding": ("chip", "embedding"),
            **dict.fromkeys(RECOGNITION_TASKS, ("window", "classes", "action")),
        }
        missing = [part for part in needed[self.task] if not getattr(self, part) and getattr(self, part) != 0]
        if missing:
            raise ValueError(f"a {self.task} card needs {', '.join(missing)}")
        if self.action and len(self.action.thresholds) not in {0, len(self.classes)}:
            raise ValueError(f"{len(self.action.thresholds)} thresholds for {len(self.classes)} classes")
        return self
