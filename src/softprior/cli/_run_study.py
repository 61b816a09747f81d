"""Run a study from the command line: what is missing, with progress; then its report."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from softprior import studies
from softprior.cli._console import console, show_line
from softprior.cli._folders import results_folder
from softprior.cli._progress import progress, remaining
from softprior.cli._streams import say
from softprior.engines import Failure, LocalEngine, estimated_seconds, with_teachers
from softprior.experiment.asked import part_taken, recipes_of, with_data
from softprior.experiment.sections import NoSeedError, rebuild, section
from softprior.report import terminal
from softprior.studies import Scale, Study, usual_seeds
from softprior.studies._shared.recipes import OPTIONS, as_in_the_paper, base
from softprior.training import Recipe, Store, images, models, presets, resolve_all
from softprior.training.runtime import fastest_precision


def run_study(options: Namespace) -> int:
    """Run what is missing, then show all of it."""
    asked = _asked(options)
    engine = LocalEngine(options.workers)
    store = Store(results_folder(options.out) / "runs")
    recipes = [
        recipe for name, of in asked.items() for recipe in recipes_of(name, *of)
    ]  # before anything is trained: what cannot be is refused once
    failures = _run_with_progress(resolve_all(recipes, store.root), store, engine)
    messages = console(stderr=True)
    by_message: dict[str, list[str]] = {}
    for failure in failures:
        by_message.setdefault(failure.message, []).append(failure.recipe.digest)
    for message, (first, *others) in by_message.items():
        which = f"{first} and {len(others)} more" if others else first
        show_line(messages, f"failed: {which}: {message}")
    made = []
    for name, (study, scale) in asked.items():
        try:
            made.append(section(name, study, scale, store))
        except NoSeedError as error:
            show_line(messages, f"softprior: {error}")
    if not made:
        return 1
    terminal.show(made, console())  # first: the disk may be full
    page = rebuild(options.out, *made)
    show_line(console(), f"report: {page}")
    return 1 if failures else 0


def _asked(options: Namespace) -> dict[str, tuple[Study, Scale]]:
    """The studies by name, each with its scale."""
    for option in ("epochs", "batch_size"):
        if (value := getattr(options, option)) is not None and value < 1:
            raise ValueError(f"--{option} must be at least 1, got {value}")
    wanted: dict[str, Study] = {}
    for name in options.names:
        wanted |= studies.found() if name == "all" else {name: studies.find(name)}
    if options.subset not in (None, "all"):
        images.parse(options.subset)
    if options.dataset is not None:
        images.check(options.dataset)
    if options.model is not None:
        models.check(options.model)
    precision = options.precision
    if precision == "auto" and options.scale == "paper":
        precision = "fp32"  # as the paper's code
    elif precision == "auto":
        precision = fastest_precision(options.model or "resnet8-wide")
    with progress() as show:
        scale = with_data(
            Scale(
                name=options.scale,
                seeds=options.seeds or (0,),
                dataset=None if options.dataset == "digits" else options.dataset,
                model=options.model,
                precision=precision,
                **{name: getattr(options, name) for name in OPTIONS},
            ),
            lambda done, total: show("looking at the data: image", done, total, ""),
        )
    paper = presets.get("paper-resnet34") if as_in_the_paper(scale) else None
    for line in (part_taken(scale), paper and paper.unnamed(base(scale, 0))):
        if line is not None:
            say(line)
    return {
        name: (
            study,
            replace(scale, seeds=options.seeds or range(usual_seeds(study)[options.scale])),
        )
        for name, study in wanted.items()
    }


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
    show_line(console(stderr=True), f"{runs}, {beside}{about}")
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
