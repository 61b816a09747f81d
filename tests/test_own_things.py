"""Everything that can be brought from outside the package, as the examples bring it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from softprior import own
from softprior.cli import main
from softprior.training import OwnData, Store

EXAMPLES = Path(__file__).parents[1] / "examples"
STUDY, PARTS = EXAMPLES / "own_study.py", EXAMPLES / "own_parts.py"


def run(words: list[str], folder: Path) -> str:
    """A command of a newcomer's, in a folder of his own."""
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_the_study_is_short() -> None:
    assert len(STUDY.read_text("utf-8").splitlines()) < 80


@pytest.mark.slow
def test_a_prior_a_network_and_arrays_in_a_study_of_ones_own(tmp_path: Path) -> None:
    """As a script; then from the command line, which finds all runs of the script again."""
    said = run([str(STUDY)], tmp_path)
    assert "report: results/report.html" in said
    page = (tmp_path / "results" / "report.html").read_text("utf-8")
    assert "The bold prior is the most accurate." in page
    names = {path.name for path in (tmp_path / "results" / "runs").glob("[0-9a-f]*")}
    assert len(names) == 15
    said = run(["-m", "softprior.cli", "study", str(STUDY)], tmp_path)
    assert "to train" not in said
    assert {path.name for path in (tmp_path / "results" / "runs").glob("[0-9a-f]*")} == names
    methods = {str(r.recipe.prior) for r in Store(tmp_path / "results" / "runs").runs()}
    assert len(methods) == 3
    # What is somebody's own is not imported on a stored file's word.
    said = run(["-m", "softprior.cli", "report", "results"], tmp_path)
    assert "left out: study" in said


def test_a_prior_a_network_and_arrays_in_one_command(tmp_path: Path) -> None:
    words = ["--prior", f"{STUDY}:BoldPrior", "--model", f"{STUDY}:network"]
    words += ["--dataset", f"{STUDY}:data", "--epochs", "2"]
    assert main(["fit", *words, "--out", str(tmp_path)]) == 0
    (recipe,) = (json.loads(p.read_text()) for p in tmp_path.glob("runs/[0-9a-f]*/recipe.json"))
    assert recipe["prior"]["name"] == "own_study:BoldPrior"
    assert recipe["model"]["name"] == "own_study:network"


@pytest.mark.parametrize(
    "words",
    [
        ["--penalty", f"{PARTS}:LogitPenalty", "--penalty.weight", "0.02"],
        ["--prior", "teacher", "--teacher", f"{PARTS}:ClassMean", "--teacher.momentum", "0.5"],
        ["--dataset", f"{PARTS}:tensors"],
        ["--dataset", f"{PARTS}:torch_dataset"],
        pytest.param(
            ["--dataset", f"{PARTS}:hugging_face"],
            marks=pytest.mark.skipif(
                importlib.util.find_spec("datasets") is None, reason="wants datasets"
            ),
        ),
    ],
    ids=lambda words: words[-1].rpartition(":")[2],
)
def test_parts_of_ones_own(words: list[str], tmp_path: Path) -> None:
    assert main(["fit", *words, "--epochs", "2", "--out", str(tmp_path)]) == 0
    assert len(list(Store(tmp_path / "runs").runs())) == 1
    listed = PARTS.read_text("utf-8").replace("examples/own_parts.py", str(PARTS))
    assert f"softprior fit {' '.join(words[:2])}" in listed


def test_three_ways_to_the_same_data(tmp_path: Path) -> None:
    """Tensors and a torch Dataset of them are one data set, by what is in it."""
    parts = own.load_module(str(PARTS))
    images, labels = parts.tensors()
    whole = OwnData.of((images, labels))
    assert whole == OwnData.of(parts.Digits(slice(None)))
    assert whole == OwnData.of((images.numpy(), labels.numpy()))
    assert whole != OwnData.of(parts.torch_dataset())
    assert os.listdir(whole.write(tmp_path)) == ["train.parquet"]
