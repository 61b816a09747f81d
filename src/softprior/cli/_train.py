"""Train what is missing, with one process or several, and show the scores."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from softprior.cli import _events
from softprior.cli._console import console, show_line
from softprior.cli._execution import Execution
from softprior.cli._folders import results_folder
from softprior.cli._progress import Show, progress, remaining
from softprior.cli._recipes import asked, finished_teacher
from softprior.cli._streams import say
from softprior.cli._target import target
from softprior.engines import ProcessesError, Together
from softprior.experiment.single_runs import chain_scores, run_scores
from softprior.report import terminal
from softprior.training import Recipe, Store, fit, images, presets, resolve_all
from softprior.training.allocator import keep_blocks
from softprior.training.resolve import check_networks
from softprior.training.runtime import described


def train(options: Namespace) -> int:
    """Train what the options ask for, then print what became of it."""
    try:
        recipes = asked(options)
        if isinstance(path := recipes[-1].dataset, str):
            images.check(path)
    except (ValueError, TypeError) as error:
        if options.config:
            raise ValueError(f"with {options.config[-1]}: {error}") from error
        raise
    how = Execution.of(options)
    if how.tensorboard:
        _events.check()
    store = Store(results_folder(how.out) / "runs")
    store.sweep()
    if (folder := finished_teacher(options)) is not None:
        store.adopt(folder)
    recipes = _resolved(recipes, store)
    # Of several processes that somebody else has started, each asks for the same: fit knows then.
    missing = recipes if "RANK" in os.environ else _missing(recipes, store)
    if len(missing) > 1:
        check_networks(missing)  # not after the first of them has been trained
    try:
        if missing:
            preset = None if options.preset is None else presets.get(options.preset)
            if preset and (line := preset.unnamed(recipes[-1])) and _is_main():
                say(line)
            _run_with_progress(missing, recipes[-1], store, how)
    except ProcessesError as error:
        say(error)
        return 1
    if not _is_main():
        return 0
    runs = [found for recipe in recipes if (found := store.get(recipe)) is not None]
    out = console()
    if description := runs[-1].outcome.get("data"):
        show_line(out, f"data: {description}")
    terminal.show([chain_scores(runs) if len(runs) > 1 else run_scores(runs[0])], out)
    for found in runs:
        show_line(out, f"run: {found.path}")
    return 0


def _resolved(recipes: Sequence[Recipe], store: Store) -> list[Recipe]:
    """The recipes with their data's fingerprint; a large data set is looked at with a bar."""
    with progress(quiet=not _is_main()) as show:

        def looked_at(done: int, total: int) -> None:
            show("looking at the data: image", done, total, "")

        return resolve_all(recipes, store.root, looked_at)


def _missing(recipes: Sequence[Recipe], store: Store) -> list[Recipe]:
    """What has to be trained, teachers first: no further back than to a finished one."""
    wanted: dict[str, Recipe] = {}
    for recipe in recipes:
        line: list[Recipe] = []
        at: object = recipe
        while isinstance(at, Recipe) and at.digest not in wanted and store.get(at) is None:
            line.append(at)
            at = at.teacher
        wanted.update((r.digest, r) for r in reversed(line))
    return list(wanted.values())


def _run_with_progress(
    missing: Sequence[Recipe], last: Recipe, store: Store, how: Execution
) -> None:
    """Train one after the other, and show how far it is."""
    with _trainer(last, store, how) as train, progress(quiet=not _is_main()) as show:
        for at, recipe in enumerate(missing):
            later = sum(r.epochs for r in missing[at + 1 :])
            which = f"generation {recipe.generation + 1} of {last.generation + 1}: "
            _train(train, recipe, which if last.generation else "", later, store, how, show)


@contextmanager
def _trainer(last: Recipe, store: Store, how: Execution) -> Iterator[Callable[..., object]]:
    """What trains a recipe, with the arguments of ``fit``: this process, or several."""

    def on_start(executed: str, kept: bool) -> None:
        if _is_main():
            say(_execution(last, executed, kept))
            say(target(last))

    if how.processes == 1 or "RANK" in os.environ:
        kept = how.keep_blocks and keep_blocks()
        on_start(described(last, how.cpu), kept)
        yield fit
    else:
        with Together(how.processes, keep_blocks=how.keep_blocks, on_start=on_start) as processes:
            yield processes.fit


def _train(
    train: Callable[..., object],
    recipe: Recipe,
    which: str,
    later: int,
    store: Store,
    how: Execution,
    show: Show,
) -> None:
    """One run; ``later`` epochs are those of the runs after it."""
    minutes = how.checkpoint_minutes
    history = store.partial(recipe) / "history.jsonl"
    events = _events.Events(how.out / "tensorboard" / recipe.digest, history)
    before = history.read_bytes().count(b"\n") if history.is_file() else 0

    def decoded(done: int, total: int) -> None:
        if done < total:
            show(f"{which}images", done, total, "")
        else:
            show(f"{which}epoch", before, recipe.epochs, "")

    def log(row: dict[str, float]) -> None:
        done = int(row["epoch"])
        left = row["seconds"] / done * (recipe.epochs - done + later)
        line = f"{row['images_per_second']:,.0f} images/s, {remaining(left)}, "
        line += f"loss {row['loss']:.3f}, validation {row['validation_accuracy']:.1%}"
        show(f"{which}epoch", done, recipe.epochs, line)
        if how.tensorboard:
            events.write(row)

    try:
        train(
            recipe,
            store,
            log,
            on_images=decoded,
            checkpoint_every=None if minutes is None else 60 * minutes,
            cpu=how.cpu,
        )
    finally:
        events.close()


def _execution(recipe: Recipe, executed: str, kept: bool) -> str:
    """On what and how, and the options that switch each speed-up off."""
    executed += ", freed blocks kept" * kept
    off = ["--precision fp32"] * (recipe.precision != "fp32")
    off += ["--channels_last false"] * recipe.channels_last
    off += ["--compile false"] * recipe.compile + ["--keep_blocks false"] * kept
    return f"{executed}; to switch off: {' '.join(off)}" if off else executed


def _is_main() -> bool:
    """Of several processes that somebody else has started, one speaks."""
    return int(os.environ.get("RANK", 0)) == 0
