"""Sections from runs: what a study, or single runs, have to show."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from softprior import diagnostics, seeds, studies
from softprior.diagnostics.temperature import FEWEST_ERRORS, doubt_of
from softprior.evidence.tables import Cell, Column, Table
from softprior.matching import teacher_smoothing
from softprior.report.diagnosis import scaled
from softprior.report.files import write_report
from softprior.report.results import Section, slug
from softprior.studies import Scale, Study, method
from softprior.studies._shared.recipes import DISTILLATION
from softprior.studies._shared.scores import selected
from softprior.training import Recipe, Run, Store, files
from softprior.training.locks import exclusive
from softprior.training.run import open_run


class NoSeedError(ValueError):
    """A study of which no seed has all its runs."""


def rebuild(folder: Path, *new: Section, formats: Collection[str] = ()) -> Path:
    """Write the report of ``folder`` with ``new`` in it, and return its page."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".report.lock"):  # two studies that end at once are both in it
        return write_report(folder, gather(folder, *new), formats=formats)


def gather(folder: Path, *new: Section) -> list[Section]:
    """The folder's sections: ``new``, and every study that its results.json remembers.

    Studies of somebody's own are not imported on that file's word: they are left out, with a
    warning, unless they are among the new ones.
    """
    store = Store(folder / "runs")
    sections, done = [*new], {_about_what(section.asked) for section in new}
    for name, scale in _remembered(folder / "results.json"):
        if _about_what({"study": name, **vars(scale)}) in done:
            continue
        study = studies.found().get(name)
        if study is None:
            warnings.warn(f"left out: study {name} is not softprior's; run it again", stacklevel=2)
            continue
        try:
            sections.append(section(name, study, scale, store))
        except NoSeedError as error:
            if not new:
                raise
            warnings.warn(f"left out: {error}", stacklevel=2)
    if not sections:
        sections = [_single_runs(folder, store)]
    return sorted(_with_distinct_names(sections), key=lambda s: s.name)


def _about_what(asked: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which study on which data and network: a section takes the place of an earlier one alike."""
    data = asked.get("fingerprint") or asked.get("dataset")
    return asked.get("study"), data, asked.get("model")


def _with_distinct_names(sections: Sequence[Section]) -> list[Section]:
    """Two data sets of one name get their fingerprints into the name."""
    names = [section.name for section in sections]
    return [
        replace(s, name=f"{s.name}-{str(s.asked.get('fingerprint'))[:6]}")
        if names.count(s.name) > 1
        else s
        for s in sections
    ]


def key(name: str, scale: Scale) -> str:
    """What a study's section is called: the study, and what it is on where it was asked for."""
    return "-".join(map(slug, [name, *_on(scale)]))


def _on(scale: Scale) -> list[str]:
    """The data set and the network, where they are not the study's own choice."""
    data = [] if scale.dataset is None else [Path(scale.dataset).name or scale.dataset]
    return data if scale.model is None else [*data, scale.model]


def section(name: str, study: Study, scale: Scale, store: Store) -> Section:
    """A study's section from finished runs; a seed with a missing run is left out whole."""
    wanted = [store.resolved(recipe) for recipe in study.recipes(scale)]
    found = [(recipe, _finished(store, recipe)) for recipe in wanted]
    missing = {recipe.seed for recipe, run in found if run is None}
    runs = [run for recipe, run in found if run is not None and recipe.seed not in missing]
    if not runs and wanted:
        raise NoSeedError(
            f"{store.root} has no complete seed of study {name!r} at scale {scale.name}; run "
            f"softprior study {name} --scale {scale.name}"
        )
    about = studies.about(study)
    usual = studies.usual_seeds(study)[scale.name]
    which = seeds.text(scale.seeds)
    of_seeds = "" if which == str(usual) else f" --seeds {which}"
    facts = _facts(runs)
    if missing:
        facts["Left out"] = f"seeds with a failed run: {', '.join(map(str, sorted(missing)))}"
    facts |= _taken(runs)
    on = "" if scale.dataset is None else f" --dataset {shlex.quote(scale.dataset)}"
    on += "" if scale.model is None else f" --model {shlex.quote(scale.model)}"
    on += "".join(f" --{option} {value}" for option, value in scale.options.items())
    title = about.pop("Title") or name
    return Section(
        name=key(name, scale),
        asked={"study": name, **vars(scale), "seeds": list(scale.seeds)},
        title=": ".join([title, *([", ".join(_on(scale))] if _on(scale) else [])]),
        about=about,
        scale=scale.name,
        seeds=len(scale.seeds) - len(missing),
        command=f"softprior study {name} --scale {scale.name}{of_seeds}{on}",
        items=list(study.show(runs)),
        facts=facts,
    )


def _finished(store: Store, recipe: Recipe) -> Run | None:
    """Its finished run; one that is damaged or cannot be read is left out, with a warning."""
    try:
        return store.open(recipe)
    except (ValueError, OSError) as error:
        warnings.warn(f"left out: {error}", stacklevel=2)
        return None


def _remembered(file: Path) -> list[tuple[str, Scale]]:
    """The studies that a results.json names and this version knows, and how large they were."""
    if not file.is_file():
        return []
    try:
        listed: dict[str, Any] = files.read_json(file)["studies"]
        asked = [dict(entry["asked"]) for entry in listed.values() if entry["asked"]]
        return [(str(values.pop("study")), _scale(values)) for values in asked]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not a results.json that softprior wrote ({type(error).__name__}: {error}); "
            "move it away and repeat the study: finished runs are reused"
        ) from error


def _scale(values: dict[str, Any]) -> Scale:
    counts, seeds = values.get("counts"), values["seeds"]
    changed = {"counts": None if counts is None else tuple(map(int, counts))}
    return Scale(**{**values, **changed, "seeds": tuple(map(int, seeds))})


def _single_runs(folder: Path, store: Store) -> Section:
    runs = [open_run(folder)] if (folder / "recipe.json").is_file() else list(store.runs())
    if not runs:
        raise FileNotFoundError(f"{folder} holds neither results.json nor finished runs in runs/")
    names = ("accuracy", "nll", "ece", "nll_scaled", "ece_scaled")
    rows: list[list[Cell]] = []
    doubtful = 0
    for one in runs:
        r, values = one.recipe, diagnostics.diagnose(*one.predictions("test"))
        doubtful += bool(doubt_of(values))
        rows.append([r.digest, str(r.dataset), str(r.model), method(r).label, str(r.seed)])
        rows[-1] += [values[name] for name in names]
    heads = ("Run", "Data set", "Network", "Method", "Seed")
    doubt = (
        f"In {doubtful} of {len(runs)} runs the temperature is at its bound or fitted on fewer "
        f"than {FEWEST_ERRORS} errors, and says little."
    )
    columns = [
        Column(name=n, digits=4, doubt=doubt if doubtful and scaled(n) else "") for n in names
    ]
    table = Table(
        key="runs",
        title=f"Test set, {selected(runs)}",
        caption="One row per run, as fractions. ECE: 20 equal-width bins. Scaled: by a temperature "
        "fitted on the test set itself.",
        columns=[*(Column(name=h) for h in heads), *columns],
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
    everything = {run.path: run for run in runs}
    for run in runs:
        if isinstance(teacher := run.recipe.teacher, Recipe):
            beside = Store(run.path.parent)
            if beside.root / teacher.digest not in everything:
                found = _finished(beside, teacher)
                everything |= {} if found is None else {found.path: found}
    made = [run.provenance for run in runs]
    seconds = sum(float(run.outcome["seconds"]) for run in everything.values())
    return {
        "Processor": _distinct(f"{m['processor']}, {m['cores']} cores" for m in made),
        "Versions": _distinct(
            ", ".join(f"{name} {v}" for name, v in m["versions"].items()) for m in made
        ),
        "Threads": _distinct(f"{m['threads']} per run" for m in made),
        "Selected epoch": selected(runs),
        "Finished": _span([m["finished"] for m in made]),
        "Training": f"{len(everything)} runs, {seconds:.0f} s of training in total",
    }


def _taken(runs: Sequence[Run]) -> dict[str, str]:
    """What self-distillation takes from the label where it is not what was asked for, or where
    its temperature is the official code's and nothing was asked for."""
    unmatched, fixed = [], []
    for run in runs:
        asked, prior = run.recipe.match_smoothing, run.recipe.prior
        if (asked is None and prior != DISTILLATION) or (amount := _smoothing(run)) is None:
            continue
        if asked is None:
            fixed.append(amount)
        elif abs(amount - asked) > 1e-3:
            unmatched.append(
                f"{method(run.recipe).label}, seed {run.recipe.seed}: smooths by {amount:.3g} "
                f"instead of {asked:g}, as its teacher is wrong too often, or too unsure"
            )
    facts = {"Not matched": "; ".join(unmatched)} if unmatched else {}
    if fixed:
        how = "with the official code's weight and temperature"
        facts["Self-distillation"] = f"smooths by {fmean(fixed):.3g} on average, {how}"
    return facts


def _smoothing(run: Run) -> float | None:
    """What a run's teacher takes from the label on average; None where it is not there."""
    prior, path = run.prior, run.path.parent / getattr(run.recipe.teacher, "digest", "")
    if prior is None or not (path / "recipe.json").is_file():
        return None
    logits, labels = open_run(path).predictions("train")
    temperature, weight = prior.teacher_temperature, prior.strength
    return teacher_smoothing(logits, labels, temperature=temperature, weight=weight)


def _distinct(texts: Any) -> str:
    return " · ".join(dict.fromkeys(texts))


def _span(times: list[str]) -> str:
    first, last = min(times), max(times)
    return first if first == last else f"{first} to {last}"
