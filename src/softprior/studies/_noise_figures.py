"""The figures of the study of label noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from softprior.studies._drawing import INK, MUTED
from softprior.studies._kit import Difference, Figure, colour
from softprior.studies._noise import labels_of
from softprior.studies._statistics import Interval, t_interval
from softprior.training import Run

_BINS = 20
_STYLES = ("-", "--", ":")  # of the methods that share a colour

Accuracy = Mapping[str, Mapping[float, Mapping[str, Sequence[float]]]]  # kind, share, method


def accuracy_curves(accuracy: Accuracy, reference: str) -> Figure:
    """Above: accuracy by share of noise, a panel for each kind. Below: the gain over CE."""
    methods = next(iter(next(iter(accuracy.values())).values()))
    names, n = list(methods), len(next(iter(methods.values())))
    levels: dict[str, dict[str, dict[float, Interval]]] = {}
    gains: dict[str, dict[str, dict[float, Interval]]] = {}
    for kind, shares in accuracy.items():
        levels[kind] = {m: {s: t_interval(of[m]) for s, of in shares.items()} for m in names}
        gains[kind] = {
            m: {s: _interval(Difference.paired(of[m], of[reference])) for s, of in shares.items()}
            for m in names
            if m != reference
        }

    def draw(axes: Sequence[Any]) -> None:
        panels = [(kind, curves) for found in (levels, gains) for kind, curves in found.items()]
        for at, (ax, (kind, curves)) in enumerate(zip(axes, panels, strict=True)):
            first = at % len(accuracy) == 0
            above = at < len(accuracy)
            _curves(ax, curves, names)
            ax.set_title(f"{kind.capitalize()} noise" if above else f"Gain, {kind} noise")
            ax.set_xlabel("Wrong labels, %")
            if first:
                ax.set_ylabel("Test accuracy, %" if above else f"Points over {reference}")
            if not above:
                ax.axhline(0, color=MUTED, linewidth=0.9, zorder=0.9)
        handles, labels = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(handles, labels, loc="outside lower center", ncols=3)

    return Figure(
        key="accuracy",
        title="Test accuracy by the share of wrong labels",
        caption="Best epoch by validation accuracy, on labels as noisy as those of training. "
        f"Points: mean over n = {n} seeds; bars: 95 % t intervals, below of the paired difference. "
        "The points of one share stand side by side.",
        alt="Four panels. Above, the test accuracy of each method against the share of wrong "
        f"labels, for symmetric and for pair noise. Below, each method's gain over {reference}.",
        draw=draw,
        data={
            what: {k: {m: _data(c) for m, c in of.items()} for k, of in found.items()}
            for what, found in (("accuracy", levels), ("gain", gains))
        },
        panels=2 * len(accuracy),
        size=(6.9, 6.0),  # two panels in a row
    )


def confidences(setting: str, groups: Mapping[str, Sequence[Run]]) -> Figure:
    """Histograms of the probability of the label as given: right ones and wrong ones apart."""
    shares: dict[str, tuple[list[float], list[float]]] = {}
    for name, runs in groups.items():
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for run in runs:
            logits, given, true = labels_of(run)
            p = logits.softmax(1).gather(1, given.unsqueeze(1)).squeeze(1)
            for part, chosen in zip(parts, (given == true, given != true), strict=True):
                part.append(p[chosen])
        right, wrong = (torch.histc(torch.cat(part).double(), _BINS, 0, 1) for part in parts)
        shares[name] = ((right / right.sum()).tolist(), (wrong / wrong.sum()).tolist())

    def draw(axes: Sequence[Any]) -> None:
        edges = [i / _BINS for i in range(_BINS + 1)]
        highest = max(s for parts in shares.values() for part in parts for s in part)
        middles = [(i + 0.5) / _BINS for i in range(_BINS)]
        for ax, (name, (right, wrong)) in zip(axes, shares.items(), strict=True):
            bars = ax.bar(
                middles, [100 * s for s in right], 0.9 / _BINS, color=colour(name), alpha=0.75
            )
            outline = ax.stairs([100 * s for s in wrong], edges, color=INK, linewidth=1.4)
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 105 * highest)
            ax.set_xlabel("Probability of the label")
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("Samples, %")
            else:
                ax.tick_params(labelleft=False)
            ax.set_title(name, fontsize=8.5)
        axes[0].figure.legend(
            [bars, outline],
            ["label is right (filled)", "label is wrong (line)"],
            loc="outside lower center",
            ncols=2,
        )

    return Figure(
        key="confidences",
        title=f"Confidence in the label as given, {setting}",
        caption="Training set, last epoch, all seeds pooled; 20 bins, each of the two histograms "
        "adding up to 100 %. Where the line is at the right, wrong labels were learned.",
        alt="One panel per method with two histograms of the probability given to the training "
        "label: of samples whose label is right, and of those whose label is wrong.",
        draw=draw,
        data={name: {"right": r, "wrong": w} for name, (r, w) in shares.items()},
        panels=len(shares),
        size=(6.9, 4.8),
    )


def _interval(d: Difference) -> Interval:
    return Interval(d.mean, d.low, d.high)


def _data(curve: Mapping[float, Interval]) -> dict[str, list[float]]:
    return {f"{share:g}": list(interval) for share, interval in curve.items()}


def _curves(ax: Any, curves: Mapping[str, Mapping[float, Interval]], names: Sequence[str]) -> None:
    """In percent, with bars; a place and a line style of its own for each name."""
    for name, curve in curves.items():
        at = names.index(name)
        like = [n for n in names[:at] if colour(n) == colour(name)]
        x = [100 * share + 0.7 * (at - (len(names) - 1) / 2) for share in curve]
        y = [100 * i.value for i in curve.values()]
        # No bar where there is no interval: one seed.
        half = [0.0 if i.low != i.low else 50 * (i.high - i.low) for i in curve.values()]
        ax.errorbar(
            x,
            y,
            half,
            color=colour(name),
            linestyle=_STYLES[len(like) % len(_STYLES)],
            marker="o",
            markersize=3,
            elinewidth=1,
            label=name,
        )
    ax.set_xticks([100 * share for share in next(iter(curves.values()))])
