"""Write the report of each folder again, from the runs that are in it.

A folder of studies gets its studies; a folder with single runs, a table of them.

Beside report.html and results.json, --formats writes results.md with figures/ (PNG, SVG, PDF),
tables.tex and numbers.csv. --markdown writes the Markdown into a document's place, and --update
writes a table again where a document has it marked:

  <!-- softprior: smoothing/levels_best -->
  <!-- end -->
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from softprior import checks, diagnostics, studies
from softprior.cli._console import console
from softprior.report import FORMATS, Section, refresh, terminal, write_markdown, write_report
from softprior.report.results import check_target, replace_text, slug
from softprior.studies._kit import Cell, Column, Scale, Table, method, selected
from softprior.training import Recipe, Run, Store
from softprior.training.provenance import provenance
from softprior.training.store import open_run


def arguments(parser: ArgumentParser) -> None:
    """The folders, and what to write."""
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="results folders")
    parser.add_argument(
        "--formats",
        type=str | None,
        metavar="NAMES",
        help="write these too: markdown, latex, csv, with commas between; a file of them that "
        "is in the folder is always written again",
    )
    parser.add_argument(
        "--markdown",
        type=Path | None,
        metavar="FILE",
        help="write the Markdown to FILE, its figures into figures/ beside it",
    )
    parser.add_argument(
        "--update", type=Path | None, metavar="FILE", help="write the tables marked in FILE again"
    )


def run(options: Namespace) -> int:
    """Rebuild each folder's page, show its tables, and write them where they are wanted."""
    formats = [] if options.formats is None else options.formats.split(",")
    for name in formats:
        checks.choice("format", name, FORMATS)
    for folder in options.folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder of results")
    for option in ("markdown", "update"):
        if options[option] is not None:
            if len(options.folders) > 1:
                raise ValueError(f"--{option} wants one folder, got {len(options.folders)}")
            check_target(options[option])
    for folder in options.folders:
        sections = gather(folder)
        if (file := options["update"]) is not None:  # options.update is a method
            updated = refresh(file.read_text("utf-8"), sections, str(file))
        terminal.show(sections, console())
        _told("report", write_report(folder, sections, formats=formats))
        if options.markdown is not None:
            words = ("softprior", "report", folder, "--markdown", options.markdown)
            write_markdown(options.markdown, sections, shlex.join(map(str, words)))
            _told("markdown", options.markdown)
        if file is not None:
            replace_text(file, updated)
            _told("updated", file)
    return 0


class NoSeedError(ValueError):
    """A study of which no seed has all its runs."""


def rebuild(folder: Path, *new: Section, formats: Collection[str] = ()) -> Path:
    """Write the report of ``folder`` with ``new`` in it, and return its page."""
    return write_report(folder, gather(folder, *new), formats=formats)


def gather(folder: Path, *new: Section) -> list[Section]:
    """The folder's sections: ``new``, and every study that its results.json remembers."""
    store = Store(folder / "runs")
    sections, done = [*new], {section.name for section in new}
    for name, scale in _remembered(folder / "results.json"):
        if key(name, scale) in done:
            continue
        try:
            sections.append(section(name, scale, store))
        except NoSeedError as error:
            if not new:
                raise
            console(stderr=True).print(f"left out: {error}", soft_wrap=True, highlight=False)
    if not sections:
        sections = [_single_runs(folder, store)]
    return sorted(sections, key=lambda s: s.name)


def _told(what: str, path: Path) -> None:
    console().print(f"{what}: {path}", soft_wrap=True, highlight=False, markup=False)


def key(name: str, scale: Scale) -> str:
    """What a study's section is called: the study, and what it is on where it was asked for."""
    return "-".join([name, *map(slug, _on(scale))])


def _on(scale: Scale) -> list[str]:
    """The data set and the network, where they are not the study's own choice."""
    data = [] if scale.dataset is None else [Path(scale.dataset).name or scale.dataset]
    return data if scale.model is None else [*data, scale.model]


def section(name: str, scale: Scale, store: Store) -> Section:
    """A study's section from finished runs; a seed with a missing run is left out whole."""
    study = studies.found()[name]
    wanted = list(study.recipes(scale))
    found = [(recipe, store.get(recipe)) for recipe in wanted]
    missing = {recipe.seed for recipe, run in found if run is None}
    runs = [run for recipe, run in found if run is not None and recipe.seed not in missing]
    if not runs and wanted:
        raise NoSeedError(
            f"{store.root} has no complete seed of study {name!r} at scale {scale.name}; run "
            f"softprior study {name} --scale {scale.name}"
        )
    about = studies.about(study)
    seeds = "" if scale.seeds == study.SEEDS[scale.name] else f" --seeds {scale.seeds}"
    facts = _facts(runs)
    if missing:
        facts["Left out"] = f"seeds with a failed run: {', '.join(map(str, sorted(missing)))}"
    on = "" if scale.dataset is None else f" --dataset {shlex.quote(scale.dataset)}"
    on += "" if scale.model is None else f" --model {shlex.quote(scale.model)}"
    title = about.pop("Title")
    return Section(
        name=key(name, scale),
        asked={"study": name, **vars(scale)},
        title=": ".join([title, *([", ".join(_on(scale))] if _on(scale) else [])]),
        about=about,
        scale=scale.name,
        seeds=scale.seeds - len(missing),
        command=f"softprior study {name} --scale {scale.name}{seeds}{on}",
        items=list(study.show(runs)),
        facts=facts,
    )


def _remembered(file: Path) -> list[tuple[str, Scale]]:
    """The studies that a results.json names and this version knows, and how large they were."""
    if not file.is_file():
        return []
    try:
        listed: dict[str, Any] = json.loads(file.read_text("utf-8"))["studies"]
        asked = [dict(entry["asked"]) for entry in listed.values() if entry["asked"]]
        pairs = [(str(values.pop("study")), Scale(**values)) for values in asked]
        return [pair for pair in pairs if pair[0] in studies.found()]
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
        "Selected epoch": selected(runs),
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
