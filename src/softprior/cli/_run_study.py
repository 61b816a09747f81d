"""Run a study from the command line: what is missing, with progress; then its report."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from rich.console import Console

from softprior import studies
from softprior.cli._console import console
from softprior.cli._folders import results_folder
from softprior.cli._progress import progress, remaining
from softprior.engines import Failure, LocalEngine, estimated_seconds, with_teachers
from softprior.experiment import with_fingerprint
from softprior.experiment.sections import NoSeedError, rebuild, section
from softprior.report import terminal
from softprior.studies import Scale, Study, usual_seeds
from softprior.training import Recipe, Store, images, models, resolve_all
from softprior.training.runtime import fastest_precision


def run_study(options: Namespace) -> int:
    """Run what is missing, then show all of it."""
    asked = _asked(options)
    engine = LocalEngine(options.workers)
    store = Store(results_folder(options.out) / "runs")
    recipes = [r for study, scale in asked.values() for r in study.recipes(scale)]
    failures = _run_with_progress(resolve_all(recipes, store.root), store, engine)
    messages = console(stderr=True)
    for failure in failures:
        _plain(messages, f"failed: {failure.recipe.digest}: {failure.message}")
    made = []
    for name, (study, scale) in asked.items():
        try:
            made.append(section(name, study, scale, store))
        except NoSeedError as error:
            _plain(messages, f"softprior: {error}")
    if not made:
        return 1
    page = rebuild(options.out, *made)
    terminal.show(made, console())
    _plain(console(), f"report: {page}")
    return 1 if failures else 0


def _asked(options: Namespace) -> dict[str, tuple[Study, Scale]]:
    """The studies by name, each with its scale."""
    if options.seeds is not None and options.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {options.seeds}")
    wanted = (
        studies.found() if options.name == "all" else {options.name: studies.find(options.name)}
    )
    if options.dataset is not None:
        images.check(options.dataset)
    if options.model is not None:
        models.check(options.model)
    precision = options.precision
    if precision == "auto":
        precision = fastest_precision(options.model or "resnet8-wide")
    with progress() as show:
        scale = with_fingerprint(
            Scale(
                name=options.scale,
                seeds=options.seeds or 1,
                dataset=None if options.dataset == "digits" else options.dataset,
                model=options.model,
                precision=precision,
            ),
            lambda done, total: show("looking at the data: image", done, total, ""),
        )
    return {
        name: (study, replace(scale, seeds=options.seeds or usual_seeds(study)[options.scale]))
        for name, study in wanted.items()
    }


def _plain(to: Console, line: str) -> None:
    to.print(line, soft_wrap=True, highlight=False, markup=False)


def _run_with_progress(
    recipes: Sequence[Recipe], store: Store, engine: LocalEngine
) -> list[Failure]:
    """Run, and show the epochs of everything that is missing."""
    everything = with_teachers(recipes)
    missing = [r for r in everything if store.get(r) is None]
    if not missing:
        return []
    done, epochs = len(everything) - len(missing), 0
    total = sum(r.epochs for r in missing)
    workers = min(engine.workers, len(missing))
    seconds = estimated_seconds(missing, store, workers)
    about = (
        "; the time left is shown after the first epoch"
        if seconds is None
        else f", about {timedelta(seconds=round(seconds))} by earlier runs"
    )
    runs = f"{len(missing)} run{'s' if len(missing) > 1 else ''} to train ({total} epochs)"
    beside = f"{workers} at a time, one thread each" if workers > 1 else "one at a time"
    _plain(console(stderr=True), f"{runs}, {beside}{about}")
    began = time.monotonic()
    with progress() as show:

        def on_event(recipe: Recipe, event: str) -> None:
            nonlocal done, epochs
            if event == "epoch":
                epochs += 1
            else:
                done += 1
            per = (time.monotonic() - began) / max(epochs, 1)
            left = remaining(per * (total - epochs))
            show(f"run {done} of {len(everything)}: epoch", epochs, total, left)

        return engine.run(recipes, store, on_event)
