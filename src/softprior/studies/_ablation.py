"""What studies of single choices show: variants beside one another, and against a reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias

from torch import Tensor

from softprior import diagnostics, soft_labels
from softprior.batch import Batch
from softprior.studies._drawing import MUTED
from softprior.studies._kit import (
    INTERVALS,
    Column,
    Difference,
    Figure,
    Measured,
    Table,
    colour,
    selected,
)
from softprior.training import Recipe, Run
from softprior.training.store import Selection
from softprior.training.teaching import control_targets

Score: TypeAlias = Literal["accuracy", "nll", "ece", "scaled_nll", "scaled_ece"]

COLUMNS: dict[Score, Column] = {
    "accuracy": Column(name="Accuracy", percent=True, better="high"),
    "nll": Column(name="NLL", digits=4, better="low"),
    "ece": Column(name="ECE", percent=True, better="low"),
    "scaled_nll": Column(name="NLL, scaled", digits=4, better="low"),
    "scaled_ece": Column(name="ECE, scaled", percent=True, better="low"),
}
HOW = (
    "Test set, selected epoch; ECE: 20 equal-width bins; NLL in nats; "
    "scaled: after temperature scaling, fitted on the validation set."
)


class Scores(NamedTuple):
    """A run on the test set, and after temperature scaling on the validation set."""

    accuracy: float
    nll: float
    ece: float
    scaled_nll: float
    scaled_ece: float


Numbers: TypeAlias = Mapping[str, Sequence[Scores]]  # by variant, in the order of the seeds


def measure(run: Run, epoch: Selection | None = None) -> Scores:
    """Scores of an epoch, by default the selected one. ECE: 20 equal-width bins."""
    logits, labels = run.predictions("test", epoch)
    scaled = logits / diagnostics.fit_temperature(*run.predictions("validation", epoch))
    return Scores(
        diagnostics.accuracy(logits, labels),
        diagnostics.nll(logits, labels),
        diagnostics.ece(logits, labels),
        diagnostics.nll(scaled, labels),
        diagnostics.ece(scaled, labels),
    )


def apart(runs: Sequence[Run]) -> tuple[list[Run], dict[Recipe, Run]]:
    """The runs that teach nobody, in the order of their seeds; and the teachers by recipe."""
    asked = {run.recipe.teacher for run in runs}
    teachers = {run.recipe: run for run in runs if run.recipe in asked}
    students = [run for run in runs if run.recipe not in teachers]
    return sorted(students, key=lambda run: run.recipe.seed), teachers


def label_targets(run: Run, teachers: Mapping[Recipe, Run]) -> Tensor:
    """What each training sample's soft label has on its own label (n,), in self-distillation.

    The votes are those of the stored images, without augmentation.
    """
    recipe, prior = run.recipe, run.prior
    assert prior is not None
    assert isinstance(recipe.teacher, Recipe)
    stored = "stored" if recipe.teacher_targets == "live" else recipe.teacher_targets
    logits, labels = teachers[recipe.teacher].predictions("train")
    targets = replace(recipe, prior=prior, teacher_targets=stored)
    shown = control_targets(targets, logits, labels).double()
    counts = prior(Batch(shown, labels, shown))
    target = soft_labels(labels, counts, label_weight=recipe.effective_label_weight or 0.0)
    return target.gather(1, labels.unsqueeze(1)).squeeze(1)


def paired(numbers: Numbers, name: str, reference: str, score: Score) -> Difference:
    """``name`` minus ``reference``, seed by seed."""
    ours, theirs = numbers[name], numbers[reference]
    return Difference.paired([getattr(s, score) for s in ours], [getattr(s, score) for s in theirs])


def levels(
    key: str, title: str, numbers: Numbers, *, first: str = "Method", note: str = ""
) -> Table:
    """The scores of each variant."""
    return Table(
        key=key,
        title=title,
        caption=f"Mean ± standard deviation over seeds. {HOW} {note}".strip(),
        columns=(Column(name=first), *COLUMNS.values()),
        rows=[
            (name, *(Measured.of(values) for values in zip(*scores, strict=True)))
            for name, scores in numbers.items()
        ],
    )


def differences(
    key: str,
    title: str,
    gaps: Mapping[str, Mapping[Score, Difference]],
    *,
    first: str = "Method",
    note: str = "",
) -> Table:
    """Paired differences of each variant, in the scores that the first of them has."""
    scores = list(next(iter(gaps.values())))
    return Table(
        key=key,
        title=title,
        caption="Mean paired difference over seeds (same split, order and initialisation) with "
        f"its 95 % t interval. {HOW} {note} {INTERVALS}".replace("  ", " "),
        columns=(Column(name=first), *(COLUMNS[score] for score in scores)),
        rows=[(name, *(row[score] for score in scores)) for name, row in gaps.items()],
    )


def against(
    numbers: Numbers, names: Sequence[str], reference: str
) -> dict[str, dict[Score, Difference]]:
    """Every score of every name minus the reference's."""
    return {n: {score: paired(numbers, n, reference, score) for score in COLUMNS} for n in names}


def fitted(groups: Mapping[str, Sequence[Run]], *, first: str = "Method") -> Table:
    """Whether the training set was memorised, and how unsure and diverse the runs are on it."""
    epoch = selected(run for runs in groups.values() for run in runs)
    measures = (
        diagnostics.accuracy,
        diagnostics.predictive_uncertainty,
        diagnostics.confidence_diversity,
    )
    return Table(
        key="fitted",
        title="On the training set",
        caption="Mean ± standard deviation over seeds, without augmentation. Selected here and in "
        f"all other tables: {epoch}. "
        "Predictive uncertainty and confidence diversity in nats.",
        columns=(
            Column(name=first),
            Column(name="Training accuracy", percent=True),
            Column(name="Uncertainty", digits=3),
            Column(name="Diversity"),
        ),
        rows=[
            (
                name,
                *(Measured.of([f(*run.predictions("train")) for run in runs]) for f in measures),
            )
            for name, runs in groups.items()
        ],
    )


def forest(
    key: str,
    title: str,
    groups: Mapping[str, Mapping[str, Mapping[Score, Difference]]],
    scores: Sequence[Score],
) -> Figure:
    """Differences with their intervals as points and bars, a panel for each score.

    ``groups`` holds, under a heading for each reference, the variants that are set against it.
    """
    rows: list[tuple[str, Mapping[Score, Difference] | None]] = []
    for heading, gaps in groups.items():
        rows += [(heading, None), *gaps.items()]

    def draw(axes: Sequence[Any]) -> None:
        for at, (ax, score) in enumerate(zip(axes, scores, strict=True)):
            factor = 100 if COLUMNS[score].percent else 1
            ax.axvline(0, color=MUTED, linewidth=0.9)
            for y, (name, gaps) in enumerate(rows):
                if gaps is None:
                    continue
                gap, shade = gaps[score], colour(name)
                if not math.isnan(gap.low):
                    ax.hlines(y, factor * gap.low, factor * gap.high, color=shade, linewidth=2)
                ax.plot([factor * gap.mean], [y], "o", color=shade, markersize=5)
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.set_yticks(range(len(rows)), [name for name, _ in rows])
            ax.grid(visible=True, axis="x")
            ax.grid(visible=False, axis="y")
            if at:
                ax.tick_params(labelleft=False)
            else:
                for tick, (_, gaps) in zip(ax.get_yticklabels(), rows, strict=True):
                    tick.set_fontweight("normal" if gaps else "bold")
            unit = ", points" if factor == 100 else ", nats" if "nll" in score else ""
            ax.set_xlabel(f"Δ {COLUMNS[score].name}{unit}")

    return Figure(
        key=key,
        title=title,
        caption="Point: mean paired difference over seeds to the reference in bold; bar: its 95 % "
        "t interval (none for one seed), not corrected for the number of comparisons.",
        alt="For each variant a point and a bar, left or right of a line at zero: its difference "
        f"to the reference in {' and in '.join(COLUMNS[s].name for s in scores)}.",
        draw=draw,
        data={
            f"{name} | {heading}": {score: gaps[score] for score in scores}
            for heading, variants in groups.items()
            for name, gaps in variants.items()
        },
        panels=len(scores),
        size=(7.8, 0.6 + 0.27 * len(rows)),
    )
