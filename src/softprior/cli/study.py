"""Run a study and write its report.

Runs that are finished are reused, so a study that was stopped goes on where it was. The result
is a table here, results.json, and one self-contained report.html in OUT.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from softprior import checks, studies
from softprior.cli._console import console
from softprior.cli._folders import results_folder
from softprior.cli.report import rebuild, section
from softprior.engines import Failure, LocalEngine, with_teachers
from softprior.report import terminal
from softprior.studies._kit import Scale
from softprior.training import Recipe, Store


def arguments(parser: ArgumentParser) -> None:
    """Which study, how large, where to."""
    parser.add_argument("name", type=str, help=f"one of: {', '.join(studies.found())}")
    parser.add_argument(
        "--scale",
        type=Literal["smoke", "desk", "paper"],
        default="desk",
        help="smoke: seconds; desk: a laptop; paper: as long as the paper trains",
    )
    parser.add_argument("--seeds", type=int | None, help="number of seeds instead of the scale's")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the results")
    parser.add_argument("--workers", type=int | None, help="processes; default: one per core")


def run(options: Namespace) -> int:
    """Run what is missing, then show all of it."""
    known = studies.found()
    if options.name not in known:
        raise ValueError(checks.unknown("study", options.name, known))
    if options.seeds is not None and options.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {options.seeds}")
    study = known[options.name]
    scale = Scale(name=options.scale, seeds=options.seeds or study.SEEDS[options.scale])
    recipes = list(study.recipes(scale))
    engine = LocalEngine(options.workers)
    store = Store(results_folder(options.out) / "runs")
    failures = _watched(recipes, store, engine)
    told = console(stderr=True)
    for failure in failures:
        told.print(
            f"failed: {failure.recipe.digest}: {failure.message}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    if failures and {r.seed for r in recipes if store.get(r) is None} == {r.seed for r in recipes}:
        print("softprior: no seed is complete, so there is nothing to report", file=sys.stderr)
        return 1
    made = section(options.name, scale, store)
    page = rebuild(options.out, made)
    terminal.show([made], console())
    console().print(f"report: {page}", soft_wrap=True, highlight=False, markup=False)
    return 1 if failures else 0


def _watched(recipes: Sequence[Recipe], store: Store, engine: LocalEngine) -> list[Failure]:
    """Run with one bar over the epochs of everything that is missing."""
    everything = with_teachers(recipes)
    missing = [r for r in everything if store.get(r) is None]
    if not missing:
        return []
    done = len(everything) - len(missing)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
    ) as progress:
        said = "run {} of {}"
        task = progress.add_task(
            said.format(done, len(everything)), total=sum(r.epochs for r in missing)
        )

        def hear(recipe: Recipe, event: str) -> None:
            nonlocal done
            if event == "epoch":
                progress.advance(task)
            else:
                done += 1
                progress.update(task, description=said.format(done, len(everything)))

        return engine.run(recipes, store, hear)
