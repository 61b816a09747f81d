"""Reliability diagrams and histograms of the confidence, a panel for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.evidence.figure import Figure
from softprior.evidence.plots import confidence_histogram, reliability_diagram
from softprior.evidence.results import Method

BINS = 20
_ROW = 3  # panels beside one another

Predictions: TypeAlias = Mapping[Method, Sequence[tuple[Tensor, Tensor]]]  # of each seed


def reliability_figure(stages: Mapping[str, Predictions], about: str) -> Figure:
    """Accuracy by confidence; a row of methods for each stage where there are several.

    ``stages`` are such as "before scaling" and "after scaling", or one without a name.
    """
    tables = {
        (stage, method): diagnostics.reliability(*_pooled(of), bins=BINS)
        for stage, predictions in stages.items()
        for method, of in predictions.items()
    }
    first, last = next(iter(stages)), list(stages)[-1]
    methods = len(next(iter(stages.values())))

    def draw(axes: Sequence[Any]) -> None:
        for ax, ((stage, method), table) in zip(axes, tables.items(), strict=True):
            label = method.label if stage == first else ""
            values = (column.tolist() for column in table)
            reliability_diagram(ax, *values, colour=method.colour, label=label)
            ax.title.set_fontsize(8.5)
            if stage != last:
                ax.set_xlabel("")
            if stage and ax.get_ylabel():
                ax.set_ylabel(f"Accuracy, {stage}")

    rows = len(stages) if len(stages) > 1 else -(-methods // _ROW)
    return Figure(
        key="reliability",
        title="Reliability on the test set",
        caption=f"Bars: accuracy in each of {BINS} equal-width bins of confidence; ticks: mean "
        f"confidence in that bin. {about} All seeds pooled. Above the diagonal a model is "
        "underconfident.",
        alt="One reliability diagram per method: accuracy against confidence, with the diagonal"
        + (f"; {len(stages)} rows, {' and '.join(stages)}." if len(stages) > 1 else "."),
        draw=draw,
        data={
            f"{stage}, {method.label}" if stage else method.label: {
                key: _finite(values) for key, values in table._asdict().items()
            }
            for (stage, method), table in tables.items()
        },
        panels=len(tables),
        size=(1.8 * methods, 4.4) if len(stages) > 1 else (5.4, 2.3 * rows),
    )


def confidences_figure(predictions: Predictions, about: str) -> Figure:
    """Histograms of the true-class confidence."""
    confidences = {method: _true_class(*_pooled(of)) for method, of in predictions.items()}

    def draw(axes: Sequence[Any]) -> None:
        for ax, (method, values) in zip(axes, confidences.items(), strict=True):
            options = {"colour": method.colour, "label": method.label}
            confidence_histogram(ax, values.tolist(), bins=BINS, **options)

    return Figure(
        key="confidences",
        title="Distribution of the true-class confidence",
        caption=f"Probability given to the true class. {about} All seeds pooled; {BINS} bins, log "
        "scale.",
        alt="One histogram per method of the probability that it gives to the true class.",
        draw=draw,
        data={m.label: torch.histc(v, BINS, 0, 1).int().tolist() for m, v in confidences.items()},
        panels=len(confidences),
        size=(5.4, 2.0 * -(-len(confidences) // _ROW)),
    )


def _true_class(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)


def _pooled(of: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Logits and labels of all seeds in one."""
    logits, labels = zip(*of, strict=True)
    return torch.cat(logits), torch.cat(labels)


def _finite(values: Tensor) -> list[float | None]:
    return [v if v == v else None for v in values.tolist()]
