"""params.yaml, typed: one block per stage. The sole reader of that file."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.contracts.card import Task, WindowSpec
from services.contracts.errors import BadUsage

Share = Annotated[float, Field(gt=0, lt=1)]
Chance = Annotated[float, Field(ge=0, le=1)]


class Params(BaseModel):
    """A block of params.yaml: frozen, and a key nobody declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PrepareParams(Params):
    """How clips become windows, and which people validate."""

    window: WindowSpec
    minimum_iou: Share = Field(description="A detected box is a rendered person's at or above this.")
    boundary_seconds: float = Field(ge=0, description="Windows centred this near a change of action stay unnamed.")
    validation_share: Share = Field(description="Of the training subjects, at least one.")
    training_clips: int | None = Field(None, ge=2, description="The first so many of them; None takes all.")
    seed: int


class NetworkParams(Params):
    """The size of the CNN-LSTM."""

    channels: tuple[int, ...] = Field(min_length=2, description="Of each stage; every stage halves the side.")
    lstm_units: int = Field(gt=0, description="In each direction.")
    dropout: float = Field(ge=0, lt=1)


class AugmentationParams(Params):
    """Strength of each change a training window may meet; 0 switches it off."""

    flip_probability: Chance
    shift: Chance = Field(description="Largest move, as a share of the side.")
    zoom: float = Field(ge=0, lt=1, description="Largest change of scale: 0.1 is 0.9 to 1.1.")
    light: float = Field(ge=0, lt=1, description="Largest gain and offset of brightness, as a share.")
    colour: float = Field(ge=0, lt=1, description="Largest gain of each channel alone, as a share.")
    recolour_probability: Chance = Field(description="Of mixing, swapping or inverting colours: clothes of any kind.")
    blur_probability: Chance
    noise: float = Field(ge=0, description="Largest standard deviation, in grey levels of 255.")
    erase_probability: Chance


class FitParams(Params):
    """How any network is trained; see training.fit."""

    seed: int
    threads: int = Field(gt=0)
    device: str = Field("cpu", description="As torch names it; cuda under torchrun is the process's own.")
    precision: Literal["float32", "bfloat16"] = Field(
        description="Of the forward pass. Without avx512_bf16 or amx, bfloat16 is several times slower."
    )
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0, description="Rows a step, over all processes.")
    accumulation: int = Field(1, gt=0, description="Parts a process cuts its share of a batch into, to save memory.")
    learning_rate: float = Field(gt=0)
    warmup_epochs: float = Field(ge=0)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    average_decay: float = Field(0.0, ge=0, lt=1, description="Of the weights' moving average; 0 keeps none.")
    patience: int = Field(gt=0, description="Epochs without a better validation loss before stopping.")


class TrainActionParams(FitParams):
    """One training run on windows."""

    label_smoothing: float = Field(ge=0, lt=1)
    network: NetworkParams
    augmentation: AugmentationParams


class ResidualParams(Params):
    """A 3D residual network; see training.networks.video."""

    changes: bool = Field(description="Read how pictures change rather than the pictures.")
    dropout: float = Field(ge=0, lt=1)


class RecurrentParams(Params):
    """A frame CNN and an LSTM or GRU over it; see training.networks.video."""

    channels: tuple[int, ...] = Field(min_length=2, description="Of each stage; every stage halves the side.")
    units: int = Field(gt=0, description="In each direction.")
    bidirectional: bool
    reading: Literal["attention", "last"] = Field(description="How states of all times become one.")
    dropout: float = Field(ge=0, lt=1)


class LearnVideoParams(FitParams):
    """How a network learns from strips of labelled clips; see training.lessons.video."""

    window: WindowSpec
    network: ResidualParams | RecurrentParams
    label_smoothing: float = Field(ge=0, lt=1)
    focus: float = Field(ge=0, description="Focal loss's exponent; 0 is cross-entropy.")
    balanced: bool = Field(description="Every action equally often in an epoch.")
    mixing: Literal["none", "mixup", "cutmix"]
    mixing_alpha: float = Field(gt=0, description="Of the Beta distribution that shares are drawn from.")
    slowest: float = Field(gt=0, description="Of the speeds a strip is played at.")
    fastest: float = Field(gt=0)
    clip_value: float | None = Field(description="Largest size of any one gradient; null leaves them.")
    trained_stages: int | None = Field(description="Only the last so many learn at first; null is all.")
    thawed_epoch: int = Field(ge=0, description="From this epoch on all learn.")
    imitation: Chance = Field(description="Share of the loss that asks for a teacher's answer, where there is one.")
    imitation_temperature: float = Field(gt=0)
    augmentation: AugmentationParams


class LearnClipsParams(Params):
    """Recipes of `python -m training.clips pretrain|learn`, by family of networks."""

    residual: LearnVideoParams
    recurrent: LearnVideoParams


class PrepareFaceParams(Params):
    """Which faces are learned from, and how they are cut."""

    chip_px: int = Field(gt=0, description="Side of the chip a network sees.")
    template: tuple[tuple[float, float], ...] = Field(min_length=5, max_length=5, description="As in a card's chip.")
    folders: dict[Literal["train", "validation", "heldout"], str] = Field(
        description="Made by `python -m training.datasets.faces align`; empty: faces are rendered."
    )
    rendered_subjects: dict[Literal["train", "validation", "heldout"], int]
    rendered_pictures: int = Field(gt=0, description="Of each subject.")
    teacher: str | None = Field(description="An installed embedder whose embeddings are learned from.")
    seed: int


class FaceNetworkParams(Params):
    """The parts of a face network; see training.networks.face."""

    depth: Literal[18, 34, 50, 100]
    width: int = Field(gt=0)
    embedding: int = Field(gt=0)
    attention: dict[str, Literal["none", "soft", "spatial", "channel", "both", "hard"]]
    fusion: Literal["none", "add", "concat", "attention", "top_down"]
    eight_bit: bool
    dropout: float = Field(ge=0, lt=1)


class MarginParams(Params):
    """A margin head; see training.objectives.margins. The margin is in radians, or in cosine for cosface."""

    kind: Literal["softmax", "sphereface", "cosface", "arcface", "adaface"]
    weight: float = Field(gt=0)
    scale: float = Field(gt=0)
    margin: float = Field(ge=0, description="For sphereface its whole-numbered factor.")
    subcentres: int = Field(1, gt=0, description="For arcface.")
    sample: float = Field(1.0, gt=0, le=1, description="Share of the classes a step sees.")
    warmup_epochs: float = Field(ge=0, description="While the margin grows from nothing.")


class TripletParams(Params):
    """Triplets mined in every batch; see training.objectives.triplets."""

    mining: Literal["semi_hard", "hard", "all"]
    weight: float = Field(gt=0)
    margin: float = Field(gt=0, description="Of Euclidean distance between unit vectors.")


class ObjectiveParams(Params):
    """A weighted sum; a part that is null or 0 is left out."""

    margin: MarginParams | None
    triplet: TripletParams | None
    distillation: float = Field(ge=0, description="Weight of imitating the teacher's embeddings.")
    relations: float = Field(
        ge=0, description="Weight of imitating the teacher's similarities, in a space of one's own."
    )
    compatible: float = Field(ge=0, description="Weight of being right among the teacher's class centres.")


class FaceAugmentationParams(Params):
    """How often and how strongly each step of training.datasets.face_augmentation changes a face; 0 never does."""

    flip_probability: Chance
    turn_degrees: float = Field(ge=0, le=45)
    zoom: float = Field(ge=0, lt=0.2)
    shift: float = Field(ge=0, lt=0.1, description="Share of the chip's side.")
    light: float = Field(ge=0, lt=1)
    colour: float = Field(ge=0, lt=1)
    grey_probability: Chance
    blur_probability: Chance
    low_resolution_probability: Chance
    noise: float = Field(ge=0, description="Largest standard deviation, in grey levels.")
    jpeg_probability: Chance
    occlusion_probability: Chance
    mask_probability: Chance


class AdversarialParams(Params):
    """Training on perturbed faces; see training.objectives.adversarial."""

    epsilon: float = Field(gt=0, description="In grey levels.")
    steps: int = Field(gt=0)


class TrainFaceParams(FitParams):
    """One training run on faces."""

    sampling: Literal["uniform", "balanced", "subjects"] = Field(
        description="subjects: every batch holds pictures_each pictures of each of its subjects, as triplets need."
    )
    pictures_each: int = Field(gt=0)
    least_spread: float = Field(gt=0, lt=1, description="Below it the run has collapsed and is stopped.")
    network: FaceNetworkParams
    objective: ObjectiveParams
    augmentation: FaceAugmentationParams
    adversarial: AdversarialParams | None


class EvaluateFaceParams(Params):
    """The protocol on held-out subjects."""

    seed: int
    bootstrap_draws: int = Field(gt=0)
    gallery_size: int = Field(gt=0)
    fpir: Share
    galleries: int = Field(gt=0)


class ExportFaceParams(Params):
    """What the exported embedder is called and how far engines and precisions may differ."""

    name: str
    precision: Literal["fp32", "fp16", "int8"]
    parity_limit: float = Field(
        gt=0, description="Largest difference of any number of an embedding, fp32, between engines."
    )


class EvaluateParams(Params):
    """The protocol on held-out people, and the grid the segment thresholds are chosen from."""

    seed: int
    bootstrap_draws: int = Field(gt=0)
    temporal_iou: Share
    switch_costs: tuple[float, ...] = Field(min_length=1)
    minimum_probabilities: tuple[Share, ...] = Field(min_length=1)
    minimum_seconds: tuple[float, ...] = Field(min_length=1)


class ExportParams(Params):
    """What the exported model is called and how far engines may differ."""

    name: str
    parity_limit: float = Field(gt=0, description="Largest difference of any logit between engines.")


class RegisterParams(Params):
    """Where the model version goes."""

    alias: str


class StageParams(Params):
    """Where a promotion to one stage leads, and what that place allows."""

    overlays: tuple[str, ...] = Field(description="Folders whose models.yaml gets the pin.")
    publish: str | None = Field(description="Models are copied here, by digest; None pins the registry's own uri.")
    licences: tuple[str, ...] = Field(min_length=1, description="SPDX identifiers this deployment may use.")
    clean_commit: bool = Field(description="Whether the run's commit must be known and without local changes.")


class PromoteParams(Params):
    """The gates of a promotion, and its stages by name."""

    to: str = Field(description="The stage that `dvc repro infra/dvc.yaml` promotes to.")
    seed: int
    bootstrap_draws: int = Field(gt=0)
    heldout: str = Field(description="Scenes that champion and candidate are compared on.")
    minimum_gain: float
    tolerance: float = Field(ge=0)
    subgroup_tolerance: float = Field(ge=0)
    subgroup_minimum: int = Field(gt=0)
    latency_ms: dict[Task, float]
    size_mb: dict[Task, float]
    stages: dict[str, StageParams]


class Config(Params):
    """The whole of params.yaml; a field per stage, and one for what is not a stage."""

    prepare: PrepareParams
    train_action: TrainActionParams
    evaluate: EvaluateParams
    export: ExportParams
    prepare_face: PrepareFaceParams
    train_face: TrainFaceParams
    evaluate_face: EvaluateFaceParams
    export_face: ExportFaceParams
    register_: RegisterParams = Field(alias="register")
    promote: PromoteParams
    learn_clips: LearnClipsParams


def read_config(path: Path = Path("params.yaml")) -> Config:
    """Read and check every stage's parameters.

    Raises:
        BadUsage: The file is absent or not YAML, or a key is unknown, missing or out of range.
    """
    try:
        return Config.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise BadUsage(f"cannot read {path}: {error.strerror}; run from the root of the checkout") from error
    except yaml.YAMLError as error:
        raise BadUsage(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadUsage(f"{path}: {faults}") from error
