"""The page of ``softprior diagnose FILE --html``: one model's predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softprior.evidence.figure import Figure
from softprior.evidence.palette import COLOURS
from softprior.evidence.plots import bin_counts, confidence_histogram, reliability_diagram
from softprior.evidence.tables import Cell, Column, Table
from softprior.report.cells import DOUBT, MISSING
from softprior.report.results import Section

# What each number says, to somebody who has not read the paper.
_WORDS = {
    "n": "Number of samples.",
    "classes": "Number of classes.",
    "accuracy": "Share of samples whose most probable class is the label. Higher is better.",
    "nll": "Mean negative log-probability of the label, in nats. Lower is better.",
    "brier": "Mean squared distance between the predicted probabilities and the one-hot label. "
    "Lower is better.",
    "ece": "Expected calibration error, {bins} bins: mean gap between confidence and accuracy. "
    "Lower is better.",
    "ece_bins": "Number of equal-width bins of ece; another number gives another value.",
    "ece_classwise": "ECE of each class's probability, averaged over the classes.",
    "ece_equal_mass": "ECE with bins that hold equally many samples.",
    "rms_calibration_debiased": "Root mean squared gap between confidence and accuracy, corrected "
    "for the noise in small bins.",
    "predictive_uncertainty": "Mean entropy of the predictions, in nats: how unsure the model is.",
    "confidence_diversity": "Differential entropy of the true-class confidence, in nats: how much "
    "that confidence varies from sample to sample. Negative values are normal; −∞ means ties.",
    "confidence_variance": "Variance of the true-class confidence: the same question, cruder.",
    "tied_share": "Share of samples whose true-class confidence another sample has too. Where "
    "it is large, do not trust confidence_diversity.",
    "saturated_share": "Share of samples whose true-class confidence is 1 in single precision.",
    "temperature": "Divide the logits by it to minimise NLL on these samples. Above 1: the model "
    "is overconfident; below 1: underconfident.",
    "nll_scaled": "NLL after dividing the logits by the temperature.",
    "ece_scaled": "ECE after dividing the logits by the temperature.",
}
_COLOUR = COLOURS["label smoothing"]


def diagnosis_section(
    name: str,
    values: Mapping[str, float | int | None],
    reliability: Any,
    confidences: Any,
    *,
    command: str = "",
    facts: Mapping[str, str] | None = None,
    doubt: str = "",
) -> Section:
    """One table of ``values``, a reliability diagram, and a histogram of the confidences.

    ``reliability`` has low, high, count, confidence and accuracy, one entry per bin, as a
    mapping or as attributes; ``confidences`` is each sample's probability of its true class.
    Lists, arrays and tensors all serve. ``doubt`` says why the fitted temperature says little.
    """
    bins = {key: _list(_part(reliability, key)) for key in _BINS}
    return Section(
        name=name,
        title=f"Diagnosis of {name}",
        scale="",
        seeds=0,
        command=command,
        items=[
            _table(values, int(values.get("ece_bins") or len(bins["low"])), doubt),
            _reliability(bins),
            _confidences(_list(confidences)),
        ],
        facts=facts or {},
    )


def scaled(key: str) -> bool:
    """Whether a diagnostic depends on the fitted temperature."""
    return key == "temperature" or key.endswith("_scaled")


_BINS = ("low", "high", "count", "confidence", "accuracy")


def _table(values: Mapping[str, float | int | None], bins: int, doubt: str) -> Table:
    def row(key: str, value: float | int | None) -> tuple[Cell, ...]:
        if value is not None and key in ("n", "classes", "ece_bins"):
            value = int(value)  # counts, even where they came among floats
        name = f"{key} {DOUBT}" if doubt and scaled(key) else key
        return name, MISSING if value is None else value, _WORDS.get(key, "").format(bins=bins)

    return Table(
        key="diagnostics",
        title="Diagnostics",
        caption="Of the given logits and labels, each sample counted once."
        + (f" {DOUBT}: {doubt}, and says little." if doubt else ""),
        columns=(
            Column(name="Diagnostic"),
            Column(name="Value", digits=4),
            Column(name="What it says"),
        ),
        rows=[row(key, value) for key, value in values.items()],
    )


def _reliability(bins: dict[str, list[float]]) -> Figure:
    def draw(axes: Sequence[Any]) -> None:
        reliability_diagram(axes[0], *bins.values(), colour=_COLOUR)
        low, high, count, *_ = bins.values()
        bin_counts(axes[1], low, high, count, colour=_COLOUR)
        axes[1].tick_params(labelleft=True)
        axes[1].set_ylabel("Share, log scale")

    return Figure(
        key="reliability",
        title="Reliability",
        caption="Left: accuracy in each bin of confidence (bar) and mean confidence there (tick); "
        "the line between them is the gap. Below the dashed diagonal the model is overconfident, "
        "above it underconfident. Right: the share of samples in each bin, on a log scale: a bar "
        "that rests on few samples says little.",
        alt=_gaps(bins),
        draw=draw,
        data=dict(bins),
        panels=2,
        size=(6.8, 3.2),
    )


def _gaps(bins: dict[str, list[float]]) -> str:
    """The diagram in words: how many samples are in over- and in underconfident bins."""
    total = max(sum(bins["count"]), 1)
    filled = [b for b in zip(*bins.values(), strict=True) if b[2] > 0]
    over = sum(n for _, _, n, confidence, accuracy in filled if confidence > accuracy) / total
    return (
        f"Reliability diagram of {len(filled)} bins that hold samples. {over:.0%} of the samples "
        f"are in bins whose mean confidence is above the accuracy."
    )


def _confidences(values: list[float]) -> Figure:
    high = sum(v >= 0.95 for v in values) / max(len(values), 1)
    return Figure(
        key="confidences",
        title="True-class confidence",
        caption="The probability given to the true class, sample by sample, in 20 bins; the share "
        "of samples is on a log scale.",
        alt=f"Histogram of the true-class confidence of {len(values)} samples. {high:.0%} of "
        "them are in the last bin, 0.95 and above.",
        draw=lambda axes: confidence_histogram(axes[0], values, colour=_COLOUR),
        data={"mean": sum(values) / len(values) if values else None, "n": len(values)},
        size=(6.8, 2.8),
    )


def _part(reliability: Any, key: str) -> Any:
    return reliability[key] if isinstance(reliability, Mapping) else getattr(reliability, key)


def _list(values: Any) -> list[float]:
    return [float(v) for v in (values.tolist() if hasattr(values, "tolist") else values)]
