"""Right and wrong training labels, and the teachers that saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from softprior import diagnostics
from softprior.evidence import Cell, Column, Comparison, Figure, Measured, Method, Result, Table
from softprior.evidence.palette import INK
from softprior.margin import label_margin
from softprior.studies._shared.scores import EPOCHS, PARTS
from softprior.studies._shared.training_set import realised
from softprior.studies.noise.settings import setting_label
from softprior.training import Run

BINS = 20
COLUMNS = {
    "right": Column(name="Right label", percent=True),
    "wrong": Column(name="Wrong label", percent=True, better="low"),
    "truth": Column(name="True class", percent=True, better="high"),
    "memorised": Column(name="Memorised", percent=True, better="low"),
    "undone": Column(name="Undone", percent=True, better="high"),
    "auroc": Column(name="AUROC", digits=3, better="high"),
}


def labels_of(run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Training logits (n, K) of the last epoch, labels as given (n,), true labels (n,)."""
    logits, given = run.predictions("train", "last")
    return logits, given, run.true_labels()


def by_correctness(groups: Mapping[Method, Sequence[Run]]) -> Comparison:
    """What every run makes of right and of wrong labels; without augmentation."""
    about = f"{PARTS['train'].capitalize()}; {EPOCHS['last']}."
    columns = {name: replace(column, about=about) for name, column in COLUMNS.items()}
    results = {
        m: {run.recipe.seed: Result(of_samples(*labels_of(run))) for run in of}
        for m, of in groups.items()
    }
    return Comparison(results, columns)


def of_samples(logits: Tensor, given: Tensor, true: Tensor) -> dict[str, float]:
    """A number for each of :data:`COLUMNS`, of logits (n, K), labels as given and true (n,).

    Right, wrong: mean probability of the label where it is right, where it is wrong; truth: mean
    probability of the true class there. Memorised: share of the wrong labels that are predicted;
    undone: share of them of which the true class is predicted. AUROC: chance that a sample with a
    right label has the higher confidence in it. Source: ours.
    """
    logits, wrong = logits.double(), given != true
    p, predicted = logits.softmax(1), logits.argmax(1)

    def mean(values: Tensor) -> float:
        return values.double().mean().item()

    def of(labels: Tensor) -> Tensor:
        return p.gather(1, labels.unsqueeze(1)).squeeze(1)

    margin = label_margin(logits, given)
    return {
        "right": mean(of(given)[~wrong]),
        "wrong": mean(of(given)[wrong]),
        "truth": mean(of(true)[wrong]),
        "memorised": mean((predicted == given)[wrong]),
        "undone": mean((predicted == true)[wrong]),
        "auroc": auroc(margin[~wrong], margin[wrong]),
    }


def auroc(high: Tensor, low: Tensor) -> float:
    """Area under the ROC curve of scores (n,) and (m,): P(h > l) + P(h = l) / 2."""
    ordered = low.sort().values
    below, upto = (torch.searchsorted(ordered, high, right=right) for right in (False, True))
    return (below + upto).double().mean().item() / (2 * len(low))


def samples_table(key: str, setting: str, found: Comparison) -> Table:
    """The samples of one setting, by method."""
    return found.levels(
        key,
        f"Right and wrong training labels, {setting}",
        note="Mean probability of the label where it is right, of the label where it is wrong, and "
        "of the true class where the label is wrong. Memorised: share of the wrong labels that are "
        "predicted; undone: share for which the true class is predicted. AUROC: how well the "
        "confidence in the label separates right labels from wrong ones; 0.5 is chance.",
    )


def teachers_table(runs: Mapping[str, Sequence[Run]]) -> Table:
    """The teacher of each setting: how many of the given labels it has taken over."""
    rows: list[tuple[Cell, ...]] = []
    for setting, of in runs.items():
        test = [diagnostics.accuracy(*run.predictions("test")) for run in of]
        train = [diagnostics.accuracy(*run.predictions("train")) for run in of]
        rows.append((setting, Measured.of(test), Measured.of(train)))
    return Table(
        key="teachers",
        title="The teacher",
        caption="Mean ± standard deviation over seeds, selected epoch. Training accuracy on the "
        "labels as given. At any temperature a teacher takes at least about w times its training "
        "error from them.",
        columns=(
            Column(name="Noise"),
            Column(name="Test accuracy", percent=True),
            Column(name="Training accuracy", percent=True),
        ),
        rows=rows,
    )


def smoothing_table(groups: Mapping[Method, Sequence[Run]]) -> Table:
    """What each method really took from the labels as given, in every setting."""
    rows: dict[str, list[Cell]] = {}
    columns: dict[str, Column] = {}
    for method, runs in groups.items():
        setting = setting_label(method["noise"])
        columns[setting] = Column(name=setting, percent=True)
        if method["family"] != "none":
            rows.setdefault(method.label, []).append(Measured.of(list(map(realised, runs))))
    return Table(
        key="smoothing",
        title="What was taken from the labels",
        caption="Mean ± standard deviation over seeds: how much the targets took from the labels "
        "as given, on average over all samples and epochs, measured as they were trained on.",
        columns=(Column(name="Method"), *columns.values()),
        rows=[(label, *cells) for label, cells in rows.items()],
    )


def confidences(setting: str, groups: Mapping[Method, Sequence[Run]]) -> Figure:
    """Histograms of the probability of the label as given: of right ones, and of wrong ones."""
    shares: dict[Method, tuple[list[float], list[float]]] = {}
    for method, runs in groups.items():
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for run in runs:
            logits, given, true = labels_of(run)
            p = logits.softmax(1).gather(1, given.unsqueeze(1)).squeeze(1)
            for part, chosen in zip(parts, (given == true, given != true), strict=True):
                part.append(p[chosen])
        right, wrong = (torch.histc(torch.cat(part).double(), BINS, 0, 1) for part in parts)
        shares[method] = ((right / right.sum()).tolist(), (wrong / wrong.sum()).tolist())

    def draw(axes: Sequence[Any]) -> None:
        edges = [i / BINS for i in range(BINS + 1)]
        highest = max(s for parts in shares.values() for part in parts for s in part)
        middles = [(i + 0.5) / BINS for i in range(BINS)]
        for ax, (method, (right, wrong)) in zip(axes, shares.items(), strict=True):
            bars = ax.bar(
                middles, [100 * s for s in right], 0.9 / BINS, color=method.colour, alpha=0.75
            )
            outline = ax.stairs([100 * s for s in wrong], edges, color=INK, linewidth=1.4)
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 105 * highest)
            ax.set_xlabel("Probability of the label")
            if ax.get_subplotspec().is_first_col():
                ax.set_ylabel("Samples, %")
            else:
                ax.tick_params(labelleft=False)
            ax.set_title(method.label, fontsize=8.5)
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
        "adding up to 100 %. Where the line is high at the right, wrong labels are memorised.",
        alt="One panel per method with two histograms of the probability given to the training "
        "label: of samples whose label is right, and of those whose label is wrong.",
        draw=draw,
        data={m.label: {"right": r, "wrong": w} for m, (r, w) in shares.items()},
        panels=len(shares),
        size=(6.9, 4.8),
    )
