"""Run studies and write their report.

Finished runs are reused, so a study that was stopped continues where it stopped. The result is
printed here, and written to OUT: results.json, and report.html, one file that needs no other.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from softprior import discovery
from softprior.cli import _kinds
from softprior.cli._parser import Parser

EXAMPLES = """a question of the paper, on embedded data and on images:
  softprior study smoothing
  softprior study smoothing calibration --dataset photos --scale desk

a study of your own: a file with recipes(scale) and show(runs):
  softprior study mine.py --seeds 3
"""


def options(words: Sequence[str]) -> Namespace:
    """Which studies, on what, how large, where to."""
    parser = Parser("study", __doc__ or "", EXAMPLES)
    known = ", ".join(discovery.names("softprior.studies"))
    parser.positional(
        "names",
        _kinds.NAME,
        f"one of: {known}; or several of them; or all; or your own: file.py, package.module, "
        "module:NAME",
        metavar="NAME",
        many=True,
    )
    parser.option(
        "dataset",
        _kinds.either([_kinds.NAME, _kinds.NULL]),
        "path or name of a data set; default: scikit-learn's digits, embedded",
    )
    parser.option(
        "model",
        _kinds.of(str | None),
        "a network by name (softprior list) instead of the scale's",
    )
    parser.option(
        "scale",
        _kinds.one_of("smoke", "desk", "paper"),
        "smoke: seconds; desk: a laptop; paper: as long as the paper trains",
        default="desk",
    )
    parser.option(
        "seeds",
        _kinds.either([_kinds.SEEDS, _kinds.NULL]),
        "how many, or which (100-114), instead of the scale's",
    )
    parser.option(
        "subset",
        _kinds.of(str | None),
        "part of the data instead of the scale's: classes=5,per_class=50, or all",
    )
    parser.option("epochs", _kinds.of(int | None), "instead of the scale's")
    parser.option("batch_size", _kinds.of(int | None), "instead of the scale's")
    parser.option("learning_rate", _kinds.of(float | None), "instead of the scale's")
    parser.option(
        "precision",
        _kinds.one_of("auto", "fp32", "bf16"),
        "of networks on --dataset; auto: fp32 at paper scale, else bf16 where the hardware "
        "supports it natively",
        default="auto",
    )
    parser.option("out", _kinds.PATH, "folder for the results", default=Path("results"))
    parser.option("workers", _kinds.of(int | None), "processes; default: one per core")
    return parser.complete(words)


def run(options: Namespace) -> int:
    """Run what is missing, then show all of it."""
    from softprior.cli._run_study import run_study

    return run_study(options)
