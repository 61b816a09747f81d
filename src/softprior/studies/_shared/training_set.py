"""Predictions on the training set: whether it was memorised, and how unsure the runs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from softprior import soft_labels
from softprior.batch import Batch
from softprior.evidence.results import Method
from softprior.evidence.tables import Cell, Column, Measured, Table
from softprior.studies._shared.scores import ON_LABEL, TRAINING, TRAINING_ACCURACY, compare
from softprior.training import Recipe, Run
from softprior.training.teaching import control_targets

_MATCHED = Column(name="Temperature")
_REALISED = Column(name="Smoothing", percent=True)
_BEST = Column(name="Best epoch", digits=1)


def training_summary(
    groups: Mapping[Method, Sequence[Run]],
    note: str,
    facts: Mapping[str, Column] | None = None,
) -> Table:
    """The teachers' temperature, what was taken from the labels, and what was memorised."""
    with_teacher = {
        method: [r for r in of if r.recipe.prior is not None and r.recipe.prior.needs_teacher]
        for method, of in groups.items()
    }
    fixed = any(run.recipe.match_smoothing is None for of in with_teacher.values() for run in of)
    temperature = (
        "the teacher's, which is fixed"
        if fixed
        else "the one at which the teacher's probabilities smooth by the same amount"
    )
    scores = {"accuracy": TRAINING_ACCURACY, "on_label": ON_LABEL}
    found = compare(groups, scores, "last")

    def row(method: Method, runs: Sequence[Run]) -> tuple[Cell, ...]:
        priors = [run.prior for run in with_teacher[method]]
        temperatures = [prior.teacher_temperature for prior in priors if prior is not None]
        return (
            *method.cells(facts),
            Measured.of(temperatures) if temperatures else "–",
            "–" if _is_penalty(runs) else Measured.of([realised(run) for run in runs]),
            *(found.measured(method, score) for score in scores),
            Measured.of([float(run.outcome["best_epoch"]) for run in runs]),
        )

    return Table(
        key="training",
        title="On the training set",
        caption=f"{note} Temperature: {temperature}. Smoothing: what the targets of all epochs "
        "took from the labels on average, measured as they were trained on. Training accuracy, and "
        "mean confidence in the label: "
        f"{found.about[:1].lower()}{found.about[1:]} Mean ± standard deviation over seeds.",
        columns=(
            Column(name="Method"),
            *(facts or {}).values(),
            _MATCHED,
            _REALISED,
            *found.columns.values(),
            _BEST,
        ),
        rows=[row(method, runs) for method, runs in groups.items()],
    )


def realised(run: Run) -> float:
    """How much the targets took from the labels, as it was trained: mean over all epochs."""
    return sum(row["smoothing"] for row in run.history) / len(run.history)


def _is_penalty(runs: Sequence[Run]) -> bool:
    """Whether nothing is taken from the labels because there are no targets but the labels."""
    return runs[0].recipe.prior is None and runs[0].recipe.penalty is not None


def fitted(groups: Mapping[Method, Sequence[Run]], *, first: str = "Method") -> Table:
    """Whether the training set was memorised, and how unsure and diverse the runs are on it."""
    scores = {
        n: replace(s, column=replace(s.column, digits=min(s.column.digits, 3)))
        for n, s in TRAINING.items()
    }
    return compare(groups, scores).levels("fitted", "On the training set", first=first)


def label_targets(run: Run, teachers: Mapping[Recipe, Run]) -> Tensor:
    """The entry of each training sample's soft label for its own label, (n,); self-distillation.

    The teacher's probabilities are those of the stored images, without augmentation.
    """
    recipe, prior = run.recipe, run.prior
    assert prior is not None
    assert isinstance(recipe.teacher, Recipe)
    stored = "stored" if recipe.teacher_targets == "live" else recipe.teacher_targets
    logits, labels = teachers[recipe.teacher].predictions("train")
    targets = replace(recipe, prior=prior, teacher_targets=stored)
    teacher_logits = control_targets(targets, logits, labels).double()
    counts = prior(Batch(teacher_logits, labels, teacher_logits))
    target = soft_labels(labels, counts, label_weight=recipe.effective_label_weight or 0.0)
    return target.gather(1, labels.unsqueeze(1)).squeeze(1)
