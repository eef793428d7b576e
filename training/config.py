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


class EvaluateParams(Params):
    """The protocol on held-out people, and the grid the segment thresholds are chosen from."""

    seed: int
    bootstrap_draws: int = Field(gt=0)
    temporal_iou: Share
    enter_probabilities: tuple[Share, ...] = Field(min_length=1)
    leave_probabilities: tuple[Share, ...] = Field(min_length=1)
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
    """The whole of params.yaml; a field per stage."""

    prepare: PrepareParams
    train_action: TrainActionParams
    evaluate: EvaluateParams
    export: ExportParams
    register_: RegisterParams = Field(alias="register")
    promote: PromoteParams


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
