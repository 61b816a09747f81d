"""Train one run, or a chain of generations.

Every field of a recipe is an option. --preset sets those of the paper, or of a desk; --config takes
them from a YAML or JSON file (such as the recipe.json of a finished run); options win. A finished
run is not repeated, and one that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import SUPPRESS
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from softprior.cli import _events, _options
from softprior.cli._console import console
from softprior.cli._folders import results_folder
from softprior.cli._progress import Show, progress, remaining
from softprior.cli._recipes import asked, finished_teacher
from softprior.experiment.single_runs import chain_scores, run_scores
from softprior.report import terminal
from softprior.training import Recipe, Store, fit, images, resolve_all
from softprior.training.allocator import keep_blocks
from softprior.training.job import from_job, to_job
from softprior.training.runtime import described

EXAMPLES = """the four methods on a folder of images (train/CLASS/*.png, or Parquet files):
  softprior fit --dataset photos --model resnet8 --augment flip
  softprior fit --dataset photos --model resnet8 --augment flip \\
      --prior uniform --prior.strength 0.15
  softprior fit --dataset photos --model resnet8 --augment flip \\
      --prior beta --teacher ema
  softprior fit --dataset photos --model resnet8 --augment flip \\
      --prior teacher --generations 2

ten generations, each taught by the one before; then two more:
  softprior fit --dataset photos --model resnet8 --augment flip --generations 10
  softprior fit --dataset photos --model resnet8 --augment flip --generations 12

Beta smoothing by the recipe of the paper's code, on CIFAR-100 from the Hub:
  softprior fit --preset paper-resnet34-beta --dataset cifar100 --seed 3

a teacher that was trained elsewhere:
  softprior fit --dataset photos --model resnet8 --prior teacher \\
      --teacher weights.safetensors --teacher_model resnet34

a prior, a network and data of your own, from mine.py (also package.module:NAME):
  softprior fit --prior mine.py:Halfway --prior.strength 0.3 --model mine.py:network \\
      --dataset mine.py:data
"""

shorthand = _options.shorthand


def arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """How a run is executed, and the options of its recipe."""
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="the run goes to OUT/runs/<digest>/"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="processes that train the one run together"
    )
    parser.add_argument(
        "--cpu", action="store_true", help="stay on the CPU where there is an accelerator"
    )
    parser.add_argument(
        "--keep_blocks",
        type=bool,
        default=True,
        help="false: let the allocator return freed memory to the system at every step",
    )
    parser.add_argument(
        "--checkpoint_minutes",
        type=float | None,
        metavar="X",
        help="write a checkpoint every X minutes, within epochs too",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write events to OUT/tensorboard/<digest>/"
    )
    # One process of several: the recipe as its parent has it.
    parser.add_argument("--job", type=Path | None, help=SUPPRESS)
    _options.arguments(parser, given)


def run(options: Namespace) -> int:
    """Train, then print what became of it."""
    try:
        recipes = asked(options) if options.job is None else [_job(options.job)]
        if isinstance(path := recipes[-1].dataset, str):
            images.check(path)
    except (ValueError, TypeError) as error:
        if options.config:
            raise ValueError(f"with {options.config[-1]}: {error}") from error
        raise
    if options.processes < 1:
        raise ValueError(f"--processes must be at least 1, got {options.processes}")
    if options.checkpoint_minutes is not None and not options.checkpoint_minutes > 0:
        raise ValueError(f"--checkpoint_minutes must be above 0, got {options.checkpoint_minutes}")
    if options.tensorboard:
        _events.check()
    store = Store(results_folder(options.out) / "runs")
    store.sweep()
    if (folder := finished_teacher(options)) is not None:
        store.adopt(folder)
    recipes = _resolved(recipes, store)
    if options.processes > 1 and "RANK" not in os.environ:
        for recipe in reversed(_missing(recipes, store)):
            # The last of a chain has all those before it trained.
            if store.get(recipe) is None and (code := _launch_distributed(recipe, options)):
                return code
    elif missing := _missing(recipes, store):
        _run_with_progress(missing, recipes[-1], store, options)
    if not _is_main():
        return 0
    runs = [found for recipe in recipes if (found := store.get(recipe)) is not None]
    out = console()
    if description := runs[-1].outcome.get("data"):
        out.print(f"data: {description}", soft_wrap=True, highlight=False, markup=False)
    terminal.show([chain_scores(runs) if len(runs) > 1 else run_scores(runs[0])], out)
    for found in runs:
        out.print(f"run: {found.path}", soft_wrap=True, highlight=False, markup=False)
    return 0


def _job(file: Path) -> Recipe:
    return from_job(json.loads(file.read_text("utf-8")))


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
    missing: Sequence[Recipe], last: Recipe, store: Store, options: Namespace
) -> None:
    """Train one after the other, and tell how far it is."""
    kept = options.keep_blocks and keep_blocks()
    if _is_main():
        print(f"softprior: {_execution(last, kept, options.cpu)}", file=sys.stderr)
    with progress(quiet=not _is_main()) as show:
        for at, recipe in enumerate(missing):
            later = sum(r.epochs for r in missing[at + 1 :])
            which = f"generation {recipe.generation + 1} of {last.generation + 1}: "
            _train(recipe, which if last.generation else "", later, store, options, show)


def _train(
    recipe: Recipe, which: str, later: int, store: Store, options: Namespace, show: Show
) -> None:
    """One run; ``later`` epochs are those of the runs after it."""
    minutes = options.checkpoint_minutes
    history = store.partial(recipe) / "history.jsonl"
    events = _events.Events(options.out / "tensorboard" / recipe.digest, history)
    before = len(history.read_text("utf-8").splitlines()) if history.is_file() else 0

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
        if options.tensorboard:
            events.write(row)

    try:
        fit(
            recipe,
            store,
            log,
            on_images=decoded,
            checkpoint_every=None if minutes is None else 60 * minutes,
            cpu=options.cpu,
        )
    finally:
        events.close()


def _execution(recipe: Recipe, kept: bool, cpu: bool) -> str:
    """On what and how, and the options that switch each speed-up off."""
    how = described(recipe, cpu) + ", freed blocks kept" * kept
    off = ["--precision fp32"] * (recipe.precision != "fp32")
    off += ["--channels_last false"] * recipe.channels_last
    off += ["--compile false"] * recipe.compile + ["--keep_blocks false"] * kept
    return f"{how}; to switch off: {' '.join(off)}" if off else how


def _is_main() -> bool:
    """Of several processes one does."""
    return int(os.environ.get("RANK", 0)) == 0


def _launch_distributed(recipe: Recipe, options: Namespace) -> int:
    """Train the recipe with several processes; returns their exit code."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(to_job(recipe)), "utf-8")
        launch = ["torch.distributed.run", "--standalone"]
        launch += [f"--nproc-per-node={options.processes}"]
        words = ["-m", "softprior.cli", "fit", "--job", str(file), "--out", str(options.out)]
        words += ["--cpu"] * options.cpu + ["--tensorboard"] * options.tensorboard
        words += [f"--keep_blocks={str(options.keep_blocks).lower()}"]
        if options.checkpoint_minutes is not None:
            words += [f"--checkpoint_minutes={options.checkpoint_minutes}"]
        threads = {"OMP_NUM_THREADS": "1", **os.environ}
        command = [sys.executable, "-m", *launch, *words]
        return subprocess.run(command, env=threads, stdout=subprocess.DEVNULL).returncode
