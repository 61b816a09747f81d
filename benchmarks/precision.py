"""Does bf16 autocast cost accuracy or calibration, and what does it save?

    python benchmarks/precision.py --dataset path/to/tiny-imagenet --seeds 5
    python benchmarks/precision.py --model convnet --seeds 10

Each seed is trained in float32 and in bf16, alike in all else, in single-thread processes side
by side, with the recipe of the studies at desk scale. Printed: the paired differences bf16 - fp32
with their 95 % t intervals, and the time that the runs took.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from statistics import fmean
from typing import Literal

from softprior.engines import LocalEngine
from softprior.evidence import Difference
from softprior.studies import Scale
from softprior.studies._shared import recipes
from softprior.studies._shared.scores import TEST, TRAINING_ACCURACY, result
from softprior.training import Recipe, Run, Store

SCORES = {**TEST, "training_accuracy": TRAINING_ACCURACY}


def measure(run: Run) -> dict[str, float]:
    scores = result(run, SCORES).scores
    columns = {name: score.column for name, score in SCORES.items()}
    return {columns[name].axis: columns[name].factor * value for name, value in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", help="path or name of a data set; default: digits")
    parser.add_argument("--model", help="a network by name; default: the studies'")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--subset", help="less of it than the studies take")
    parser.add_argument("--out", help="folder that keeps the runs; by default they go")
    given = parser.parse_args()

    def base(precision: Literal["fp32", "bf16"], seed: int) -> Recipe:
        scale = Scale(name="desk", seeds=range(1), dataset=given.dataset, model=given.model)
        recipe = recipes.base(scale, seed)
        return replace(recipe, precision=precision, subset=given.subset or recipe.subset)

    pairs = [(base("fp32", seed), base("bf16", seed)) for seed in range(given.seeds)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(given.out or folder)
        failures = LocalEngine().run([recipe for pair in pairs for recipe in pair], store)
        assert not failures, failures
        runs = [[store.get(recipe) for recipe in pair] for pair in pairs]
        plain, half = ([measure(run) for run in of if run] for of in zip(*runs, strict=True))
        seconds = [
            fmean(run.outcome["seconds"] for run in of if run) for of in zip(*runs, strict=True)
        ]
    recipe = pairs[0][0]
    data = recipe.subset or recipe.dataset
    print(f"{data}, {recipe.model}, {recipe.epochs} epochs, {given.seeds} seeds")
    for name in plain[0]:
        gap = Difference.paired([row[name] for row in half], [row[name] for row in plain])
        print(
            f"{name}: fp32 {fmean(row[name] for row in plain):.4g}, "
            f"bf16 - fp32 {gap.mean:+.3g} [{gap.low:+.3g}, {gap.high:+.3g}]"
        )
    print(f"seconds a run: fp32 {seconds[0]:.0f}, bf16 {seconds[1]:.0f}")


if __name__ == "__main__":
    main()
