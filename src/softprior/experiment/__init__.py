"""Run a study: train what is missing, show what there is, write the report."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from softprior import studies
from softprior.engines import Failure, LocalEngine
from softprior.experiment.asked import part_taken, recipes_of, with_data
from softprior.experiment.sections import rebuild, section
from softprior.studies import Scale, Study
from softprior.training import Recipe, Store


def run_study(
    study: Study | str | Any,
    out: str | Path = "results",
    *,
    scale: Literal["smoke", "desk", "paper"] = "desk",
    seeds: int | Sequence[int] | None = None,
    dataset: str | None = None,
    model: str | None = None,
    subset: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    workers: int | None = None,
    on_event: Callable[[Recipe, str], None] = lambda recipe, event: None,
) -> Path:
    """Train the runs of a study that are missing, and write its report.

    Args:
        study: a name (``softprior list``), or a module or an object of your own with
            ``recipes(scale)`` and ``show(runs)``.
        out: folder for the results: ``runs/``, ``results.json`` and ``report.html``.
        scale: "smoke" (seconds), "desk" (a laptop), "paper" (the paper's recipe).
        seeds: how many, or which by number, instead of the study's own.
        dataset: a name or a path; by default the study's own choice.
        model: a network by name; by default the study's own choice.
        subset: such as "classes=5,per_class=50", or "all": instead of the scale's.
        epochs: instead of the scale's.
        batch_size: instead of the scale's.
        learning_rate: instead of the scale's.
        workers: processes; by default one per core.
        on_event: receives each recipe with "epoch", "done" or "failed".

    Returns:
        The path of the page.

    Raises:
        RuntimeError: runs failed; what finished is kept, and reused by the next call.
    """
    found: Any = studies.find(study) if isinstance(study, str) else study
    name = study if isinstance(study, str) else name_of(found)
    store = Store(Path(out) / "runs")
    asked_seeds = seeds or studies.usual_seeds(found)[scale]
    asked = with_data(
        Scale(
            name=scale,
            seeds=range(asked_seeds) if isinstance(asked_seeds, int) else tuple(asked_seeds),
            dataset=None if dataset == "digits" else dataset,
            model=model,
            subset=subset,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
        )
    )
    if (line := part_taken(asked)) is not None:
        warnings.warn(line, stacklevel=2)
    failures = LocalEngine(workers).run(recipes_of(name, found, asked), store, on_event)
    if failures:
        raise RuntimeError(_message(failures))
    return rebuild(Path(out), section(name, found, asked, store))


def name_of(study: Any) -> str:
    """What a study of one's own is called: the file of a module, the name of a class."""
    if inspect.ismodule(study):
        return Path(study.__file__ or study.__name__).stem
    return str(getattr(study, "__name__", type(study).__name__))


def _message(failures: list[Failure]) -> str:
    lines = [f"{failure.recipe.digest}: {failure.message}" for failure in failures]
    return f"{len(failures)} runs failed: {'; '.join(lines[:3])}"
