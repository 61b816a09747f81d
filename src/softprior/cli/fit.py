"""Train one run.

Every field of a recipe is an option; --config takes them from a YAML or JSON file (such as the
recipe.json of a finished run), and options given beside it win. A finished run is not repeated.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import (  # type: ignore[attr-defined]  # ActionConfigFile: not in __all__
    ActionConfigFile,
    ArgumentParser,
    Namespace,
    get_loader,
)
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from softprior import checks, diagnostics, priors
from softprior.cli._console import console
from softprior.cli._folders import results_folder
from softprior.engines import with_teachers
from softprior.report import Section, terminal
from softprior.studies._kit import Column, Table, method
from softprior.training import Recipe, Run, Store, fit, images
from softprior.training.allocator import keep_blocks


def arguments(parser: ArgumentParser) -> None:
    """One option for each field of a recipe, one for each field of each prior."""
    parser.add_argument(
        "--config", action=_RecipeFile, metavar="FILE", help="YAML or JSON file with these options"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="the run goes to OUT/runs/<digest>/"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that train the one run together"
    )
    parser.add_class_arguments(Recipe, None, skip={"prior", "teacher"})
    parser.add_argument(
        "--teacher",
        type=str | dict | None,
        default=None,
        help="ema, memory, or the folder of a finished run (an earlier generation)",
    )
    known = priors.found()
    parser.add_argument(
        "--prior.name", type=str | None, help=f"{', '.join(known)}; short: --prior NAME"
    )
    for field, owners in _prior_fields().items():
        kind = get_type_hints(known[owners[0]])[field]
        parser.add_argument(
            f"--prior.{field}", type=kind | None, help=f"of prior {', '.join(owners)}"
        )


class _RecipeFile(ActionConfigFile):
    """A file of options, whose shape is looked at before the parser sees it."""

    def __call__(
        self, parser: Any, cfg: Any, values: Any, option_string: str | None = None
    ) -> None:
        self.apply_config(parser, cfg, self.dest, json.dumps(_read_config(values), default=str))
        cfg[self.dest][-1] = values  # the file's name, for messages


def _read_config(file: str) -> dict[str, Any]:
    try:
        values: Any = get_loader("yaml")(Path(file).read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    except Exception as error:  # the loader's own kinds
        raise ValueError(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: wanted options such as 'epochs: 30', got {values!r:.60}")
    prior = values.get("prior")
    if isinstance(prior, str):
        values["prior"] = {"name": prior}
    elif not isinstance(prior, dict | None):
        raise ValueError(
            f"{file}: prior must be a name, or a name and its fields such as "
            f"{{name: beta, a: 3}}, got {prior!r:.60}"
        )
    return values


def shorthand(given: Sequence[str]) -> list[str]:
    """``--prior beta`` is short for ``--prior.name beta``; milestones need no brackets.

    >>> shorthand(["--prior=beta", "--milestones", "0.5,0.75"])
    ['--prior.name=beta', '--milestones=[0.5,0.75]']
    """
    words: list[str] = []
    for word in given:
        if words and words[-1] == "--milestones":
            words.pop()
            word = f"--milestones={word}"
        if re.match("--prior(=|$)", word):
            word = f"--prior.name{word[7:]}"
        if match := re.fullmatch(r"--milestones=([\d.eE,\s+-]+)", word):
            word = f"--milestones=[{match[1]}]"
        words.append(word)
    return words


def run(options: Namespace) -> int:
    """Train, then print what became of it."""
    try:
        recipe = recipe_from(options)
        images.check(recipe.dataset)
    except (ValueError, TypeError) as error:
        if options.config:
            raise ValueError(f"with {options.config[-1]}: {error}") from error
        raise
    if options.processes < 1:
        raise ValueError(f"--processes must be at least 1, got {options.processes}")
    store = Store(results_folder(options.out) / "runs")
    store.sweep()
    found = store.get(recipe)
    if found is None and options.processes > 1 and "RANK" not in os.environ:
        if code := _together(recipe, options.out, options.processes):
            return code
        found = store.get(recipe)
    if found is None:
        found = _watched(recipe, store)
    if int(os.environ.get("RANK", 0)):
        return 0  # of several processes one speaks
    out = console()
    if told := found.outcome.get("data"):
        out.print(f"data: {told}", soft_wrap=True, highlight=False, markup=False)
    terminal.show([_scores(found)], out)
    out.print(f"run: {found.path}", soft_wrap=True, highlight=False, markup=False)
    return 0


def recipe_from(options: Namespace) -> Recipe:
    """The recipe that the options ask for; what is wrong with it is told before any training."""
    values: dict[str, Any] = dict(options.as_dict())
    for name in ("config", "out", "processes"):
        values.pop(name, None)
    prior = {k: v for k, v in (values.get("prior") or {}).items() if v is not None}
    if prior and "name" not in prior:
        raise ValueError(
            f"--prior.{next(iter(prior))} needs to know which prior: add --prior NAME "
            f"({', '.join(priors.found())})"
        )
    if prior.get("name") in ("none", "ce"):
        prior = {}
    values["prior"] = prior or None
    if isinstance(values["teacher"], str) and values["teacher"] not in ("ema", "memory"):
        values["teacher"] = _recipe_in(values["teacher"])
    return Recipe.from_dict(values)


def _recipe_in(name: str) -> dict[str, Any]:
    if name == "frozen":
        raise ValueError(
            "teacher 'frozen' is a finished run: pass its folder, --teacher OUT/runs/<digest>"
        )
    path = Path(name)
    path = path / "recipe.json" if path.is_dir() else path
    if not path.is_file():
        known = checks.unknown("teacher", name, ("ema", "memory"))
        raise ValueError(f"{known}, or the folder of a finished run ({path} does not exist)")
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a recipe in JSON: {error}") from error
    return values


def _prior_fields() -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, member in priors.found().items():
        for field in dataclasses.fields(member):
            fields.setdefault(field.name, []).append(name)
    return fields


def _together(recipe: Recipe, out: Path, processes: int) -> int:
    """Train the recipe with several processes; returns their exit code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.json"
        file.write_text(json.dumps(recipe.to_dict()), "utf-8")
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        words = ["-m", "softprior.cli", "fit", "--config", str(file), "--out", str(out)]
        threads = {"OMP_NUM_THREADS": "1", **os.environ}
        command = [sys.executable, "-m", *launch, *words]
        return subprocess.run(command, env=threads, stdout=subprocess.DEVNULL).returncode


def _watched(recipe: Recipe, store: Store) -> Run:
    """Train with a progress bar over the epochs of the run and of the teachers it still needs."""
    keep_blocks()
    missing = [r for r in with_teachers([recipe]) if store.get(r) is None]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        disable="RANK" in os.environ and os.environ["RANK"] != "0",
    ) as progress:
        task = progress.add_task("epochs", total=sum(r.epochs for r in missing))

        def tick(row: dict[str, float]) -> None:
            said = f"loss {row['loss']:.3f}, validation {row['validation_accuracy']:.1%}"
            progress.update(task, advance=1, description=said)

        return fit(recipe, store, tick)


def _scores(run: Run) -> Section:
    """Every diagnostic on the test set, best and last epoch."""
    best, last = (diagnostics.diagnose(*run.predictions("test", e)) for e in ("best", "last"))
    table = Table(
        key="scores",
        title="Test set",
        caption=f"Best epoch by validation accuracy: {run.outcome['best_epoch']} of "
        f"{run.recipe.epochs}. Fractions; entropies in nats; the temperature is fitted on the "
        "test set itself here.",
        columns=(
            Column(name="Diagnostic"),
            Column(name="Best epoch", digits=4),
            Column(name="Last epoch", digits=4),
        ),
        rows=[(name, best[name], last[name]) for name in best],
    )
    return Section(
        name=run.recipe.digest,
        title=f"{run.recipe.dataset}, {run.recipe.model}, {method(run.recipe)}",
        scale="",
        seeds=0,
        command="",
        items=[table],
    )
