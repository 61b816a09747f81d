"""What became of a run, and of a chain of generations, in tables."""

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
    """Every diagnostic on the test set, best and last epoch."""
    best, last = (diagnostics.diagnose(*run.predictions("test", e)) for e in ("best", "last"))
    doubts = {"best epoch": doubt_of(best), "last epoch": doubt_of(last)}
    doubt = "; ".join(f"{which}: {text}" for which, text in doubts.items() if text)
    mark = f" {DOUBT}" if doubt else ""
    table = Table(
        key="scores",
        title="Test set",
        caption=f"Best epoch by validation accuracy: {run.outcome['best_epoch']} of "
        f"{run.recipe.epochs}. Fractions; entropies in nats; the temperature is fitted on the "
        "test set itself here." + (f" {DOUBT}: {doubt}, and says little." if doubt else ""),
        columns=(
            Column(name="Diagnostic"),
            Column(name="Best epoch", digits=4),
            Column(name="Last epoch", digits=4),
        ),
        rows=[(f"{n}{mark}" if scaled(n) else n, best[n], last[n]) for n in best],
    )
    return _section(run, method(run.recipe).label, table)


def chain_scores(runs: Sequence[Run]) -> Section:
    """A row for each generation, and beside it the ensemble of all generations up to it."""
    table = Table(
        key="generations",
        title="Each generation",
        caption=f"Of {selected(runs)}. Accuracy, NLL and ECE (20 bins) on the test set; predictive "
        "uncertainty and confidence diversity, in nats, on the training set. An ensemble is the "
        "mean of the probabilities of all generations up to this one.",
        columns=(
            Column(name="Generation"),
            *_columns(),
            Column(name="Uncertainty", digits=4),
            Column(name="Diversity"),
            *_columns("Ensemble "),
        ),
        rows=[
            (
                str(k),
                *_test(*run.predictions("test")),
                diagnostics.predictive_uncertainty(*run.predictions("train")),
                diagnostics.confidence_diversity(*run.predictions("train")),
                *_test(*ensemble(runs[:k], "test")),
            )
            for k, run in enumerate(runs, 1)
        ],
    )
    return _section(runs[-1], f"{len(runs)} generations", table)


def _columns(whose: str = "") -> tuple[Column, ...]:
    return (
        Column(name=f"{whose}accuracy".capitalize(), percent=True, better="high"),
        Column(name=f"{whose}NLL", digits=4, better="low"),
        Column(name=f"{whose}ECE", percent=True, better="low"),
    )


def _test(logits: Tensor, labels: Tensor) -> tuple[float, float, float]:
    return (
        diagnostics.accuracy(logits, labels),
        diagnostics.nll(logits, labels),
        diagnostics.ece(logits, labels),
    )


def _section(run: Run, what: str, table: Table) -> Section:
    return Section(
        name=run.recipe.digest,
        title=f"{run.recipe.dataset}, {run.recipe.model}, {what}",
        scale="",
        seeds=0,
        command="",
        items=[table],
    )
