"""Report sections of runs that belong to no study: one run, or a chain of generations."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from softprior import diagnostics
from softprior.diagnostics.temperature import doubt_of
from softprior.evidence.tables import Column, Table
from softprior.report import Section
from softprior.report.cells import DOUBT
from softprior.report.diagnosis import scaled
from softprior.studies import method
from softprior.studies._shared.scores import selected
from softprior.training import Run, ensemble


def run_scores(run: Run) -> Section:
    """A table of every diagnostic on the test set, of the run's best and of its last epoch."""
    best = diagnostics.diagnose(*run.predictions("test", "best"))
    last = diagnostics.diagnose(*run.predictions("test", "last"))
    doubts = {"best epoch": doubt_of(best), "last epoch": doubt_of(last)}
    doubt = "; ".join(f"{which}: {text}" for which, text in doubts.items() if text)
    mark = f" {DOUBT}" if doubt else ""
    table = Table(
        key="scores",
        title="Test set",
        caption=f"Best epoch by validation accuracy: {run.outcome['best_epoch']} of "
        f"{run.recipe.epochs}. Accuracies and errors are fractions, entropies are in nats. The "
        "temperature is fitted on the test set itself."
        + (f" {DOUBT}: {doubt}, and says little." if doubt else ""),
        columns=(
            Column(name="Diagnostic"),
            Column(name="Best epoch", digits=4),
            Column(name="Last epoch", digits=4),
        ),
        rows=[(f"{n}{mark}" if scaled(n) else n, best[n], last[n]) for n in best],
    )
    return _section(run, method(run.recipe).label, table)


def chain_scores(runs: Sequence[Run]) -> Section:
    """A table with a row for each generation: its scores, and the ensemble's up to it."""
    table = Table(
        key="generations",
        title="Each generation",
        caption=f"Of {selected(runs)}. Accuracy, NLL and ECE (20 bins) on the test set; predictive "
        "uncertainty and confidence diversity, in nats, on the training set. The ensemble predicts "
        "the mean of the probabilities of all generations up to this one.",
        columns=(
            Column(name="Generation"),
            *_score_columns(),
            Column(name="Uncertainty", digits=4),
            Column(name="Diversity"),
            *_score_columns("Ensemble "),
        ),
        rows=[
            (
                str(k),
                *_test_scores(*run.predictions("test")),
                diagnostics.predictive_uncertainty(*run.predictions("train")),
                diagnostics.confidence_diversity(*run.predictions("train")),
                *_test_scores(*ensemble(runs[:k], "test")),
            )
            for k, run in enumerate(runs, 1)
        ],
    )
    return _section(runs[-1], f"{len(runs)} generations", table)


def _score_columns(prefix: str = "") -> tuple[Column, ...]:
    return (
        Column(name=f"{prefix}accuracy".capitalize(), percent=True, better="high"),
        Column(name=f"{prefix}NLL", digits=4, better="low"),
        Column(name=f"{prefix}ECE", percent=True, better="low"),
    )


def _test_scores(logits: Tensor, labels: Tensor) -> tuple[float, float, float]:
    return (
        diagnostics.accuracy(logits, labels),
        diagnostics.nll(logits, labels),
        diagnostics.ece(logits, labels),
    )


def _section(run: Run, name: str, table: Table) -> Section:
    """The table as a section; scale, seeds and command are empty, as only studies have them."""
    return Section(
        name=run.recipe.digest,
        title=f"{run.recipe.dataset}, {run.recipe.model}, {name}",
        scale="",
        seeds=0,
        command="",
        items=[table],
    )
