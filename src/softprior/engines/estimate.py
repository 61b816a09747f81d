"""How long runs will take, estimated before they start from those that are finished."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from softprior.teachers import TeacherSpec
from softprior.training import Recipe, Run, Store


def estimated_seconds(missing: Sequence[Recipe], store: Store, workers: int) -> float | None:
    """Wall time of the missing runs on so many workers; None where nothing like them is finished.

        (Σ epochs · seconds per epoch of a finished run alike) / workers

    Alike is the same data, network and precision; of several, those with a network for a teacher
    are kept apart from those without. It was so fast on whatever machine the store is from.
    """
    pace: dict[tuple[Any, ...], list[float]] = {}
    for run in _recent(store.runs()):
        for key in _alike(run.recipe):
            pace.setdefault(key, []).append(run.outcome["seconds"] / run.recipe.epochs)
    total = 0.0
    for recipe in missing:
        known = next((pace[key] for key in _alike(recipe) if key in pace), None)
        if known is None:
            return None
        total += recipe.epochs * median(known)
    return total / min(workers, max(len(missing), 1))


def _alike(r: Recipe) -> list[tuple[Any, ...]]:
    """What decides a run's pace, the nearest first."""
    whole = (r.data, r.subset, r.resolution, r.view_size, str(r.model), r.precision)
    if isinstance(r.teacher, TeacherSpec):
        two_networks = r.teacher.has_network
    else:
        two_networks = r.teacher is not None and r.teacher_targets == "live"
    return [(*whole, two_networks), whole]


def _recent(runs: Iterable[Run]) -> list[Run]:
    """At most two hundred: reading thousands would take longer than it tells."""
    return [run for run, _ in zip(runs, range(200), strict=False)]
