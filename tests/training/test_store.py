"""The store: a run is there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from softprior.training import Recipe, Run, Store, fit, integrity, models
from softprior.training.recipe import OldFormatError
from softprior.training.run import open_run

RECIPE = Recipe(epochs=1)
TENSORS = {
    "weights": {"w": torch.ones(2, 2)},
    "best": {"w": torch.ones(2, 2)},
    "predictions": {"test_logits_best": torch.eye(2), "test_labels": torch.arange(2)},
}


def put(store: Store, **changes: Any) -> Run:
    parts: dict[str, Any] = {
        "tensors": TENSORS,
        "history": [{"epoch": 1.0}],
        "outcome": {"best_epoch": 1, "seconds": 1.0},
        "provenance": {"versions": {}},
    }
    return store.put(RECIPE, **{**parts, **changes})


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get(RECIPE) is None
    put(store)
    run = store.get(RECIPE)
    assert run is not None
    assert run.path.name == RECIPE.digest
    assert torch.equal(run.predictions("test")[0], torch.eye(2))
    assert run.history == [{"epoch": 1.0}]
    assert open_run(run.path).recipe == RECIPE
    assert [r.recipe for r in store.runs()] == [RECIPE]


def test_the_first_to_finish_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, outcome={"best_epoch": 1, "seconds": 1.0})
    put(store, outcome={"best_epoch": 2, "seconds": 1.0})
    run = store.get(RECIPE)
    assert run is not None
    assert run.outcome["best_epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [RECIPE.digest]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        put(Store(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights", "best", "predictions"])
@pytest.mark.parametrize("how", ["truncated", "missing", "foreign", "empty"])
def test_a_damaged_run_is_made_again(name: str, how: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = put(store)
    file = run.path / f"{name}.safetensors"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-7])
    elif how == "missing":
        file.unlink()
    elif how == "empty":
        file.write_bytes(b"")
    else:
        file.write_bytes(b"\x80\x04\x95 a pickle from a stranger")
    with pytest.warns(UserWarning, match="is damaged and will be made again"):
        assert store.get(RECIPE) is None
    with pytest.warns(UserWarning, match="is damaged and left out"):
        assert list(store.runs()) == []
    put(store)
    assert store.get(RECIPE) is not None
    assert len(list(store.runs())) == 1  # the damaged one was set aside
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["recipe", "outcome", "provenance"])
@pytest.mark.parametrize("content", ["{}", "{", None])
def test_a_run_with_a_damaged_record_is_made_again(
    name: str, content: str | None, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    file = put(store).path / f"{name}.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.warns(UserWarning, match="is damaged and will be made again"):
        assert store.get(RECIPE) is None


def test_weights_that_are_damaged_later_are_named(tmp_path: Path) -> None:
    run = put(Store(tmp_path))
    (run.path / "predictions.safetensors").write_bytes(b"gone")
    with pytest.raises(ValueError, match=r"predictions.safetensors cannot be read .* delete"):
        run.predictions("test")


def test_a_foreign_recipe_is_refused_with_its_path(tmp_path: Path) -> None:
    run = put(Store(tmp_path))
    recipe = {**RECIPE.to_dict(), "epohs": 3}
    rewrite(run.path, "recipe.json", json.dumps(recipe))
    with pytest.raises(ValueError, match=r"is not a run that this version can read: .*'epohs'"):
        open_run(run.path)
    rewrite(run.path, "recipe.json", '{"epochs": ')
    with pytest.raises(ValueError, match="is not a run that this version can read"):
        open_run(run.path)


def rewrite(folder: Path, name: str, text: str) -> None:
    """Another content of a file, and a list of SHA-256 sums that knows of it."""
    (folder / integrity.LIST).unlink()
    (folder / name).write_text(text)
    integrity.seal(folder)


def old_run(store: Store, name: str = "0123456789abcdef") -> Path:
    """A finished run as the version before this format has stored it."""
    path = put(store).path.rename(store.root / name)
    (path / integrity.LIST).unlink()
    values = {k: v for k, v in RECIPE.to_dict().items() if k not in ("format", "fingerprint")}
    del values["penalty"], values["teacher_targets"]
    values |= {"label_weight": 1.0, "confidence_penalty": 0.0, "votes": "live"}
    values |= {"ema_decay": 0.999, "ema_start": "copy", "ema_mode": "eval"}
    (path / "recipe.json").write_text(json.dumps(values))
    outcome = {"best_epoch": 1, "temperature": None, "teacher": None, "seconds": 1.0}
    (path / "outcome.json").write_text(json.dumps(outcome))
    return path


def test_runs_of_the_format_before_are_named_once_and_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old = [old_run(store, f"{digit * 16}") for digit in "05"]
    content = {file: file.read_bytes() for path in old for file in path.iterdir()}
    with pytest.warns(UserWarning, match=r"holds 2 runs of an earlier version") as caught:
        assert list(store.runs()) == []
    assert len(caught) == 1
    assert store.get(RECIPE) is None
    with pytest.raises(OldFormatError, match="was made by an earlier version"):
        open_run(old[0])
    rows: list[dict[str, float]] = []
    run = fit(RECIPE, store, rows.append)
    assert len(rows) == 1  # trained anew
    assert run.path not in old
    with pytest.warns(UserWarning, match=r"holds 2 runs of an earlier version"):
        assert [run.recipe for run in store.runs()] == [RECIPE]
    assert content == {file: file.read_bytes() for path in old for file in path.iterdir()}


def test_a_run_of_another_version_of_a_component_is_not_this_one_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    put(store)
    assert len(list(store.runs())) == 1
    monkeypatch.setattr(models.mlp, "VERSION", 2, raising=False)
    again = Recipe(epochs=1)
    assert store.get(again) is None
    with pytest.warns(UserWarning, match=r"holds 1 run of an earlier version"):
        assert list(store.runs()) == []
