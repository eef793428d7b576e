"""Growth: which threshold holds for as many people as are enrolled now, from a calibration at fewer.

A stranger is named when the nearest of N subjects lies near enough. With subjects alike, P(nearest of N below t) is
P(nearest of M below t) to the power of N/M, so a target FPIR f at N is the share 1 - (1 - f)^(M/N) at M: a point
further out in the distribution that was measured at M. Where it lies beyond what the cohort could show, a generalised
Pareto distribution fitted to the nearest strangers says how the tail goes on.

Source: Grother & Phillips 2004, "Models of large population recognition performance" (binomial model of 1:N);
Pickands 1975 (tails are generalised Pareto); Hosking & Wallis 1987 (its fit by probability-weighted moments).
"""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from services.contracts.card import IdentificationCalibration
from services.contracts.identity import Threshold
from services.contracts.message import Cosine, Message

# Of the strangers, the nearest ones that the tail is fitted to.
_TAIL_SHARE = 0.1
# A share is measured where at least so many strangers, and so many different pairs of people, lie beyond it.
_LEAST_BEYOND = 10
# Cosines end at 1, so the tail is no heavier than exponential (0). Directions in d dimensions come near each other as
# (1 - cosine) to the power (d - 1)/2, a shape of -2/(d - 1): faces vary in more than 14 ways, and a fit to a few
# hundred strangers that says otherwise would set thresholds too low.
_LEAST_SHAPE, _MOST_SHAPE = -0.15, 0.0
_GRID = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001, 0.0005, 0.0003, 0.0002, 0.0001)


class StrangerTail(Message):
    """How near strangers come to the nearest of `subjects` people.

    Attributes:
        space: The embedding space.
        subjects: How many were enrolled when it was measured.
        searches: How many strangers searched.
        shares: Of the strangers, falling.
        similarities: Reached by those shares, growing.
        scale: Of the generalised Pareto distribution that goes on behind the last point.
        shape: Likewise.
    """

    space: str
    subjects: int = Field(ge=1)
    searches: int = Field(ge=1)
    shares: tuple[float, ...] = Field(min_length=1)
    similarities: tuple[Cosine, ...]
    scale: float = Field(gt=0)
    shape: float = Field(ge=_LEAST_SHAPE, le=_MOST_SHAPE)

    @model_validator(mode="after")
    def _ordered(self) -> "StrangerTail":
        falling = sorted(set(self.shares), reverse=True) == list(self.shares)
        if not falling or sorted(self.similarities) != list(self.similarities):
            raise ValueError("shares must fall and similarities grow")
        if len(self.shares) != len(self.similarities) or not 0 < self.shares[-1] <= self.shares[0] < 1:
            raise ValueError(
                f"{len(self.shares)} shares, {len(self.similarities)} similarities: one for each, in 0 to 1"
            )
        return self

    def similarity_at(self, fpir: float, subjects: int) -> float:
        """From which similarity a share `fpir` of strangers is named, when so many are enrolled."""
        share = self._share(fpir, subjects)
        if share >= self.shares[-1]:
            # On this scale an exponential tail is a straight line.
            far = -np.log(np.array(self.shares))
            return float(np.interp(-np.log(share), far, self.similarities))
        return min(self.similarities[-1] + self._beyond(share) - self._beyond(self.shares[-1]), 1.0)

    def was_measured(self, fpir: float, subjects: int) -> bool:
        """Whether the cohort was large enough to show it, so that nothing is extrapolated."""
        return self._share(fpir, subjects) >= self.shares[-1]

    def _share(self, fpir: float, subjects: int) -> float:
        """Of the strangers, at the size measured, who come as near as `fpir` of them do among `subjects`."""
        return float(-np.expm1(np.log1p(-fpir) * self.subjects / subjects))

    def _beyond(self, share: float) -> float:
        """How far behind the tail's beginning that share lies."""
        ratio = share / _TAIL_SHARE
        if abs(self.shape) < 1e-6:
            return float(-self.scale * np.log(ratio))
        return float(self.scale / self.shape * (ratio**-self.shape - 1))


def measure_tail(
    stranger_best_S: NDArray[np.float64], *, space: str, subjects: int, people: int
) -> StrangerTail | None:
    """The distribution of strangers' similarities to the nearest of `subjects` people.

    Args:
        stranger_best_S: One for each search by a stranger, of all random galleries together.
        space: The embedding space.
        subjects: How many were enrolled in each gallery.
        people: From how many they were all drawn: galleries drawn again show the same pairs of them again.

    Returns:
        None where there are too few to say anything about a tail.
    """
    ranked = np.sort(stranger_best_S)
    pairs = people * (people - 1) / 2
    least = _LEAST_BEYOND * max(1 / len(ranked), subjects / pairs if pairs else np.inf)
    if least > _TAIL_SHARE:
        return None
    shares = [share for share in _GRID if share >= least]
    similarities = [float(np.clip(np.quantile(ranked, 1 - share), -1, 1)) for share in shares]
    scale, shape = _fit_pareto(ranked[ranked > np.quantile(ranked, 1 - _TAIL_SHARE)], similarities[_GRID.index(0.1)])
    return StrangerTail(
        space=space,
        subjects=subjects,
        searches=len(ranked),
        shares=tuple(shares),
        similarities=tuple(round(value, 5) for value in similarities),
        scale=scale,
        shape=shape,
    )


def follow_growth(
    calibration: IdentificationCalibration, tail: StrangerTail | None, subjects: int
) -> tuple[IdentificationCalibration, Threshold]:
    """The calibration for as many people as are enrolled, and what its threshold rests on.

    It never falls below the one calibrated: with fewer people the error is smaller than asked for, and answers stay.

    Args:
        calibration: As it was measured.
        tail: Of the same calibration, where it has one.
        subjects: Enrolled now.
    """
    similarity, basis = calibration.threshold, _basis(calibration, tail, subjects)
    if tail is not None and basis in ("computed", "extrapolated"):
        grown = tail.similarity_at(calibration.fpir, subjects)
        farther = grown - tail.similarity_at(calibration.fpir, calibration.gallery_size)
        similarity = round(min(similarity + max(farther, 0.0), 1.0), 4)
    said = Threshold(
        similarity=similarity,
        fpir=calibration.fpir,
        subjects=subjects,
        calibrated_subjects=calibration.gallery_size,
        basis=basis,
    )
    return calibration.model_copy(update={"threshold": similarity}), said


def stricter_than(calibration: IdentificationCalibration, tail: StrangerTail, *, subjects: int, times: float) -> float:
    """The similarity at which a stranger is taken for one of `subjects` people `times` less often than may be named."""
    fpir, size = calibration.fpir / times, max(subjects, calibration.gallery_size)
    farther = tail.similarity_at(fpir, size) - tail.similarity_at(calibration.fpir, calibration.gallery_size)
    return round(min(calibration.threshold + max(farther, 0.0), 1.0), 4)


def find_shipped_tail(calibration: IdentificationCalibration) -> StrangerTail | None:
    """The tail measured together with a shipped card's calibration.

    It lies beside the card and not in it: cards are signed and pinned as they were shipped.
    """
    for threshold, tail in _shipped():
        if (tail.space, threshold) == (calibration.space, calibration.threshold):
            return tail
    return None


@cache
def _shipped() -> tuple[tuple[float, StrangerTail], ...]:
    written = tomllib.loads(files(__package__).joinpath("tails.toml").read_text("utf-8"))
    return tuple((each.pop("threshold"), StrangerTail.model_validate(each)) for each in written["tail"])


def _basis(
    calibration: IdentificationCalibration, tail: StrangerTail | None, subjects: int
) -> Literal["calibrated", "computed", "extrapolated", "outgrown"]:
    if subjects <= calibration.gallery_size:
        return "calibrated"
    if tail is None:
        return "outgrown"
    return "computed" if tail.was_measured(calibration.fpir, subjects) else "extrapolated"


def _fit_pareto(beyond: NDArray[np.float64], start: float) -> tuple[float, float]:
    """Scale and shape of the excesses over `start`, by probability-weighted moments."""
    excess = np.sort(beyond - start)
    count = len(excess)
    first = float(excess.mean())
    second = float((excess * (1 - (np.arange(1, count + 1) - 0.35) / count)).mean())
    shape = float(np.clip(2 - first / (first - 2 * second), _LEAST_SHAPE, _MOST_SHAPE))
    # With the shape held, the scale that keeps the mean excess: the tail is neither shortened nor stretched by it.
    return round(max(first * (1 - shape), 1e-6), 6), round(shape, 4)
