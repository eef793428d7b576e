"""Curves as pictures a person reads."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.metrics.curves import ErrorCurve

_LEAST_RATE = 1e-4


def draw_roc(curves: Mapping[str, ErrorCurve], path: Path) -> None:
    """True against false acceptance, the latter on a logarithmic axis, as a PNG."""
    figure, axes = _figure("false acceptance rate", "true acceptance rate")
    for name, curve in curves.items():
        axes.plot(np.maximum(curve.false_acceptance, _LEAST_RATE), 1 - curve.false_rejection, label=name)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.01)
    _save(figure, axes, path)


def draw_det(curves: Mapping[str, ErrorCurve], path: Path) -> None:
    """False rejection against false acceptance, both logarithmic, as a PNG."""
    figure, axes = _figure("false acceptance rate", "false rejection rate")
    for name, curve in curves.items():
        x, y = (np.maximum(rate, _LEAST_RATE) for rate in (curve.false_acceptance, curve.false_rejection))
        axes.plot(x, y, label=f"{name} (EER {curve.equal_error_rate:.3f})")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _save(figure, axes, path)


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _save(figure: Figure, axes: Axes, path: Path) -> None:
    axes.legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the library's version, so that the same curve is the same file.
    figure.savefig(path, metadata={"Software": None})
