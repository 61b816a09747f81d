"""The recipes in examples/ are recipes, and name files that exist."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from softprior.cli import main
from softprior.training import Recipe, Store

RECIPES = sorted((Path(__file__).parents[1] / "examples" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_how_it_is_run(file: Path) -> None:
    text = file.read_text("utf-8")
    assert f"--config examples/recipes/{file.name}" in text
    assert Recipe.from_dict(yaml.safe_load(text)).model == yaml.safe_load(text)["model"]


@pytest.mark.parametrize("first", ["config", "options"])
def test_options_beside_a_recipe_win(first: str, tmp_path: Path) -> None:
    config = ["--config", str(next(path for path in RECIPES if path.stem == "beta"))]
    options = ["--model", "mlp", "--augment", "none", "--epochs", "2", "--precision", "fp32"]
    options += ["--prior.a", "5"]
    words = [*config, *options] if first == "config" else [*options, *config]
    assert main(["fit", *words, "--out", str(tmp_path)]) == 0
    prior = {"name": "beta", "a": 5.0}
    recipe = Recipe.from_dict(
        {"epochs": 2, "batch_size": 128, "prior": prior, "teacher": {"name": "ema"}}
    )
    assert Store(tmp_path / "runs").get(recipe) is not None


@pytest.mark.slow
def test_a_row_of_the_main_table_by_hand(tmp_path: Path) -> None:
    """With NumPy and SciPy alone: the same to 1e-12 (in points, to 1e-10)."""
    assert main(["study", "smoothing", "--scale", "smoke", "--out", str(tmp_path)]) == 0
    script = Path(__file__).parents[1] / "examples" / "row_by_hand.py"
    command = [sys.executable, str(script), str(tmp_path / "runs")]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [float(number) for number in re.findall(r"[-+][\d.e-]+", printed)]
    tables = json.loads((tmp_path / "results.json").read_text())["studies"]["smoothing"]["tables"]
    (table,) = (t for t in tables if t["key"] == "differences_smoothed")
    (row,) = (r for r in table["rows"] if r[0] == "self-distillation")
    wanted = [100 * row[1][name] for name in ("mean", "low", "high")]
    assert found == pytest.approx(wanted, rel=1e-12, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("segmentation", r"disc: (9\d|100)\.\d% of the pixels"),
        ("token_classification", r"right: (9\d|100)\.\d% of the tokens"),
        ("long_tail", r"class_weight=weight\) .* rare classes [78]\d\.\d%"),
        ("accumulation", r"plain torch: .* 14 tokens(.|\n)*accelerate: the same"),
    ],
)
def test_the_loss_elsewhere(name: str, wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).parents[1] / "examples" / f"{name}.py"
    runpy.run_path(str(script), run_name="__main__")
    assert re.search(wanted, capsys.readouterr().out)
