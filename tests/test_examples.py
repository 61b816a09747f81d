"""The recipes in examples/ are recipes, and name files that exist."""

from __future__ import annotations

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
