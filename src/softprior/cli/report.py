"""Write the report of each folder again, from the runs that are in it.

A folder of studies gets its studies; a folder with single runs, a table of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from softprior import diagnostics, studies
from softprior.cli._console import console
from softprior.report import Section, terminal, write_report
from softprior.studies._kit import Cell, Column, Scale, Table, method
from softprior.training import Recipe, Run, Store
from softprior.training.provenance import provenance
from softprior.training.store import open_run


def arguments(parser: ArgumentParser) -> None:
    """The folders."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folders")


def run(options: Namespace) -> int:
    """Rebuild each folder's page and show its tables."""
    for folder in options.folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder of results")
    for folder in options.folders:
        page = rebuild(folder)
        console().print(f"report: {page}", soft_wrap=True, highlight=False, markup=False)
    return 0


def rebuild(folder: Path, new: Section | None = None) -> Path:
    """The folder's page: ``new``, and every study that its results.json remembers."""
    store = Store(folder / "runs")
    sections = [] if new is None else [new]
    for name, scale in _remembered(folder / "results.json").items():
        if new is None or name != new.name:
            sections.append(section(name, scale, store))
    if not sections:
        sections = [_single_runs(folder, store)]
    if new is None:
        terminal.show(sections, console())
    return write_report(folder, sorted(sections, key=lambda s: s.name))


def section(name: str, scale: Scale, store: Store) -> Section:
    """A study's section from finished runs; a seed with a missing run is left out whole."""
    study = studies.found()[name]
    wanted = list(study.recipes(scale))
    found = [(recipe, store.get(recipe)) for recipe in wanted]
    missing = {recipe.seed for recipe, run in found if run is None}
    runs = [run for recipe, run in found if run is not None and recipe.seed not in missing]
    if not runs:
        raise ValueError(
            f"{store.root} has no complete seed of study {name!r} at scale {scale.name}; run "
            f"softprior study {name} --scale {scale.name}"
        )
    about = studies.about(study)
    seeds = "" if scale.seeds == study.SEEDS[scale.name] else f" --seeds {scale.seeds}"
    facts = _facts(runs)
    if missing:
        facts["Left out"] = f"seeds with a failed run: {', '.join(map(str, sorted(missing)))}"
    return Section(
        name=name,
        title=about.pop("Title"),
        about=about,
        scale=scale.name,
        seeds=scale.seeds - len(missing),
        command=f"softprior study {name} --scale {scale.name}{seeds}",
        items=list(study.show(runs)),
        facts=facts,
    )


def _remembered(file: Path) -> dict[str, Scale]:
    """The studies that a results.json names and this version knows."""
    if not file.is_file():
        return {}
    try:
        listed: dict[str, Any] = json.loads(file.read_text("utf-8"))["studies"]
        return {
            name: Scale(name=entry["scale"], seeds=int(entry["seeds"]))
            for name, entry in listed.items()
            if name in studies.found()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a results.json that softprior wrote ({type(error).__name__}: {error}); "
            "move it away and repeat the study: finished runs are reused"
        ) from error


def _single_runs(folder: Path, store: Store) -> Section:
    runs = [open_run(folder)] if (folder / "recipe.json").is_file() else list(store.runs())
    if not runs:
        raise FileNotFoundError(f"{folder} holds neither results.json nor finished runs in runs/")
    names = ("accuracy", "nll", "ece", "nll_scaled", "ece_scaled")
    rows: list[list[Cell]] = []
    for one in runs:
        r, values = one.recipe, diagnostics.diagnose(*one.predictions("test"))
        rows.append([r.digest, r.dataset, r.model, method(r), str(r.seed)])
        rows[-1] += [values[name] for name in names]
    heads = ("Run", "Data set", "Network", "Method", "Seed")
    table = Table(
        key="runs",
        title="Test set, best epoch",
        caption="One row per run, as fractions. ECE: 20 equal-width bins. Scaled: by a temperature "
        "fitted on the test set itself.",
        columns=[Column(name=h) for h in heads] + [Column(name=n, digits=4) for n in names],
        rows=rows,
    )
    return Section(
        name="runs",
        title="Single runs",
        about={},
        scale="",
        seeds=len({r.recipe.seed for r in runs}),
        command=f"softprior report {folder}",
        items=[table],
        facts=_facts(runs),
    )


def _facts(runs: Sequence[Run]) -> dict[str, str]:
    """Where and with what the runs were made, and what they cost with their teachers."""
    teachers = {
        path
        for run in runs
        if isinstance(run.recipe.teacher, Recipe)
        and (path := run.path.parent / run.recipe.teacher.digest).is_dir()
    }
    everything = [*runs, *(open_run(p) for p in teachers - {run.path for run in runs})]
    made = [_provenance(run) for run in runs]
    seconds = sum(float(run.outcome["seconds"]) for run in everything)
    return {
        "Processor": _distinct(f"{m['processor']}, {m['cores']} cores" for m in made),
        "Versions": _distinct(
            ", ".join(f"{name} {v}" for name, v in m["versions"].items()) for m in made
        ),
        "Threads": _distinct(f"{m['threads']} per run" for m in made),
        "Finished": _span([m["finished"] for m in made]),
        "Training": f"{len(everything)} runs, {seconds:.0f} s of training in sum",
    }


def _provenance(run: Run) -> dict[str, Any]:
    file = run.path / "provenance.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else provenance()


def _distinct(texts: Any) -> str:
    return " · ".join(dict.fromkeys(texts))


def _span(times: list[str]) -> str:
    first, last = min(times), max(times)
    return first if first == last else f"{first} to {last}"
