"""The figures of the main table: a panel for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.studies._drawing import confidence_histogram, reliability_diagram
from softprior.studies._kit import Figure, colour, selected
from softprior.training import Run

_BINS = 20
_WIDTH = 5.4  # inches: three panels in a row


def reliability_figure(groups: Mapping[str, Sequence[Run]]) -> Figure:
    """Accuracy by confidence."""
    tables = {n: diagnostics.reliability(*_pooled(runs), bins=_BINS) for n, runs in groups.items()}

    def draw(axes: Sequence[object]) -> None:
        for ax, (name, table) in zip(axes, tables.items(), strict=True):
            values = (column.tolist() for column in table)
            reliability_diagram(ax, *values, colour=colour(name), label=name)

    return Figure(
        key="reliability",
        title="Reliability on the test set",
        caption=f"Bars: accuracy in each of {_BINS} equal-width bins of confidence; ticks: mean "
        f"confidence there; {_pool(groups)}. Above the diagonal a model is underconfident.",
        alt="One reliability diagram per method: accuracy against confidence, with the diagonal.",
        draw=draw,
        data={
            name: {key: _finite(values) for key, values in table._asdict().items()}
            for name, table in tables.items()
        },
        panels=len(tables),
        size=(_WIDTH, 2.3 * _rows(groups)),
    )


def confidences_figure(groups: Mapping[str, Sequence[Run]]) -> Figure:
    """Histograms of the true-class confidence."""
    confidences = {name: _true_class(*_pooled(runs)) for name, runs in groups.items()}

    def draw(axes: Sequence[object]) -> None:
        for ax, (name, values) in zip(axes, confidences.items(), strict=True):
            confidence_histogram(ax, values.tolist(), colour=colour(name), label=name, bins=_BINS)

    return Figure(
        key="confidences",
        title="Distribution of the true-class confidence",
        caption=f"Probability given to the true class on the test set, {_pool(groups)}; {_BINS} "
        "bins, log scale.",
        alt="One histogram per method of the probability that it gives to the true class.",
        draw=draw,
        data={n: torch.histc(v, _BINS, 0, 1).int().tolist() for n, v in confidences.items()},
        panels=len(confidences),
        size=(_WIDTH, 2.0 * _rows(groups)),
    )


def _true_class(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)


def _pooled(runs: Sequence[Run]) -> tuple[Tensor, Tensor]:
    """Test logits and labels of all seeds in one."""
    logits, labels = zip(*(run.predictions("test") for run in runs), strict=True)
    return torch.cat(logits), torch.cat(labels)


def _pool(groups: Mapping[str, Sequence[Run]]) -> str:
    """Which runs are pooled, for a caption."""
    runs = next(iter(groups.values()))
    seeds = f"all {len(runs)} seeds pooled" if len(runs) > 1 else "one seed"
    return f"{seeds}, {selected(runs)}"


def _rows(groups: Mapping[str, Sequence[Run]]) -> int:
    return -(-len(groups) // 3)


def _finite(values: Tensor) -> list[float | None]:
    return [v if v == v else None for v in values.tolist()]
