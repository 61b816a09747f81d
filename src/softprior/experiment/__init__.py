"""Run a study: train what is missing, show what there is, write the report."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from softprior import studies
from softprior.engines import Failure, LocalEngine
from softprior.experiment.sections import rebuild, section
from softprior.studies import Scale, Study
from softprior.training import Recipe, Store, images


def run_study(
    study: Study | str | Any,
    out: str | Path = "results",
    *,
    scale: Literal["smoke", "desk", "paper"] = "desk",
    seeds: int | None = None,
    dataset: str | None = None,
    model: str | None = None,
    workers: int | None = None,
    on_event: Callable[[Recipe, str], None] = lambda recipe, event: None,
) -> Path:
    """Train the runs of a study that are missing, and write its report.

    Args:
        study: a name (``softprior list``), or a module or an object of your own with
            ``recipes(scale)`` and ``show(runs)``.
        out: folder for the results: ``runs/``, ``results.json`` and ``report.html``.
        scale: "smoke" (seconds), "desk" (a laptop), "paper" (the paper's recipe).
        seeds: how many, instead of the study's own number.
        dataset: a name or a path; by default the study's own choice.
        model: a network by name; by default the study's own choice.
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
    asked = with_fingerprint(
        Scale(
            name=scale,
            seeds=seeds or studies.usual_seeds(found)[scale],
            dataset=None if dataset == "digits" else dataset,
            model=model,
        )
    )
    failures = LocalEngine(workers).run(found.recipes(asked), store, on_event)
    if failures:
        raise RuntimeError(_message(failures))
    return rebuild(Path(out), section(name, found, asked, store))


def with_fingerprint(scale: Scale, progress: Callable[[int, int], None] | None = None) -> Scale:
    """The scale, and what is in its data set; what is left out of it is told once."""
    if scale.dataset is None:
        return scale
    images.check(scale.dataset)
    fingerprint = images.fingerprint(scale.dataset, progress=progress)
    if notes := images.notes(scale.dataset):  # its runs are many, and each would say so
        warnings.warn(f"{scale.dataset}: {'; '.join(notes)}", stacklevel=2)
    return replace(scale, fingerprint=fingerprint)


def name_of(study: Any) -> str:
    """What a study of one's own is called: the file of a module, the name of a class."""
    if inspect.ismodule(study):
        return Path(study.__file__ or study.__name__).stem
    return str(getattr(study, "__name__", type(study).__name__))


def _message(failures: list[Failure]) -> str:
    lines = [f"{failure.recipe.digest}: {failure.message}" for failure in failures]
    return f"{len(failures)} runs failed: {'; '.join(lines[:3])}"
