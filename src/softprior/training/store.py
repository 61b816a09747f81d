"""Finished runs on disk: a folder named by the recipe's digest is a run that finished.

A run is written to a hidden folder of its own, flushed, and renamed at the end: whatever dies
on the way leaves nothing that looks finished. Predictions are stored, not numbers: a
diagnostic written tomorrow runs on every run of today. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from softprior import records
from softprior.priors import Prior
from softprior.training.files import flush, write
from softprior.training.recipe import FORMAT, OldFormatError, Recipe
from softprior.training.resolve import resolve

Selection = Literal["last", "best"]
Part = Literal["train", "validation", "test", "official"]


@dataclass(frozen=True)
class Run:
    """A finished run: its recipe and what lies in its folder."""

    recipe: Recipe
    path: Path

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """One row per epoch: loss, learning rate, validation accuracy and NLL, seconds."""
        lines = (self.path / "history.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """What was decided on the way: best_epoch, the prior (its temperature found), seconds."""
        outcome: dict[str, Any] = json.loads((self.path / "outcome.json").read_text("utf-8"))
        return outcome

    @cached_property
    def prior(self) -> Prior | None:
        """The prior that it trained with: the recipe's, with the temperature that was found."""
        prior = self.recipe.prior
        if prior is None or not records.imported(prior):
            return prior
        return replace(prior, **self.outcome["prior"])

    def predictions(self, part: Part, epoch: Selection | None = None) -> tuple[Tensor, Tensor]:
        """Logits (n, K) and labels (n,) on a part of the data, without augmentation.

        Of the last epoch, or the best by validation accuracy; by default what the recipe selects.
        The test part of a subset ends with what the subset leaves out of its classes: "official"
        is what comes before that. Of the epoch that the recipe does not select only this is
        stored.
        """
        tensors = self._tensors("predictions.safetensors")
        name = "test" if part == "official" else part
        logits = tensors[f"{name}_logits_{epoch or self.recipe.select}"]
        if part == "official":
            logits = logits[: min(len(tensors[f"test_logits_{of}"]) for of in ("best", "last"))]
        return logits, tensors[f"{name}_labels"][: len(logits)]

    def true_labels(self) -> Tensor:
        """Labels (n,) of the training set before label noise; as given where there was none."""
        tensors = self._tensors("predictions.safetensors")
        return tensors.get("train_clean", tensors["train_labels"])

    def weights(self, epoch: Selection | None = None) -> dict[str, Tensor]:
        """The network's state_dict after an epoch, chosen as for the predictions."""
        last = (epoch or self.recipe.select) == "last"
        name = "weights.safetensors" if last else "best.safetensors"
        return self._tensors(name)

    def _tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return safetensors.torch.load_file(self.path / name)
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(
                f"{self.path / name} cannot be read ({error}); delete the folder {self.path} to "
                "have the run made again"
            ) from error


class Store:
    """A folder of runs.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Store(folder).get(Recipe()) is None
    True
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def get(self, recipe: Recipe) -> Run | None:
        """The finished run of this recipe; None if missing or damaged (with a warning)."""
        recipe = self.resolved(recipe)
        path = self.root / recipe.digest
        if not path.is_dir():
            return None
        if why := damage(path):
            warnings.warn(f"run {path} is damaged and will be made again: {why}", stacklevel=2)
            return None
        return Run(recipe, path)

    def runs(self) -> Iterator[Run]:
        """Every finished run of this version's format, in the order of their digests.

        Damaged runs are left out with a warning each; those of an earlier version with one for all.
        """
        old = 0
        for path in sorted(self.root.glob("[0-9a-f]*")):
            if not path.is_dir() or path.suffix:
                continue
            if why := damage(path):
                warnings.warn(f"run {path} is damaged and left out: {why}", stacklevel=2)
                continue
            try:
                run = open_run(path)
            except OldFormatError:
                old += 1
                continue
            if run.recipe.digest != path.name:  # a component or network had another version then
                old += 1
                continue
            yield run
        if old:
            warnings.warn(
                f"{self.root} holds {old} run{'s' * (old > 1)} of an earlier version than this "
                f"(format {FORMAT}): left alone, and trained anew where asked for",
                stacklevel=2,
            )

    def resolved(self, recipe: Recipe) -> Recipe:
        """The recipe with its data's fingerprint; the data is looked at only where it lacks one."""
        at: object = recipe
        while isinstance(at, Recipe):
            if at.data is None:
                return resolve(recipe, self.root)
            at = at.teacher
        return recipe

    def of_other_source(self, recipe: Recipe) -> Run | None:
        """A run that differs from the recipe in the source of what is somebody's own alone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # listing the runs warns of damaged ones
            alike = (run for run in self.runs() if run.recipe.but_for_source(recipe))
            return next(alike, None)

    def put(
        self,
        recipe: Recipe,
        *,
        tensors: Mapping[str, Mapping[str, Tensor]],
        history: list[dict[str, float]],
        outcome: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Run:
        """Write a run so that it is there whole or not at all.

        ``tensors`` maps a file name to the tensors in it. Where another process finished the
        same run first, that one stays.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / recipe.digest
        folder = Path(tempfile.mkdtemp(prefix=f".{recipe.digest}-{os.getpid()}-", dir=self.root))
        try:
            write(folder / "recipe.json", _json(recipe.to_dict()))
            write(folder / "history.jsonl", _lines(history))
            write(folder / "outcome.json", _json(outcome))
            write(folder / "provenance.json", _json(provenance))
            for name, content in tensors.items():
                file = folder / f"{name}.safetensors"
                content = {key: t.detach().cpu().contiguous() for key, t in content.items()}
                safetensors.torch.save_file(content, file)
                flush(file)
            flush(folder)
            folder.chmod(0o755)
            if path.is_dir() and damage(path):
                path.rename(path.with_suffix(f".damaged-{os.getpid()}"))
            try:
                folder.rename(path)
            except OSError:
                if not path.is_dir():
                    raise
            flush(self.root)
            shutil.rmtree(self.partial(recipe), ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return Run(recipe, path)

    def write_history(self, recipe: Recipe, history: list[dict[str, float]]) -> None:
        """Write the history of a run that is not finished, beside its checkpoints."""
        folder = self.partial(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.jsonl").write_text(_lines(history), "utf-8")

    def adopt(self, path: Path) -> Run:
        """A finished run from anywhere, copied into this store if it is not there."""
        if why := damage(path):
            raise ValueError(f"run {path} is damaged: {why}")
        run = open_run(path)
        if (here := self.get(run.recipe)) is not None:
            return here
        self.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adopted-", dir=self.root) as folder:
            copy = Path(shutil.copytree(path, Path(folder) / "run"))
            try:
                copy.rename(self.root / run.recipe.digest)
            except OSError:  # another process was faster
                if self.get(run.recipe) is None:
                    raise
        return Run(run.recipe, self.root / run.recipe.digest)

    def partial(self, recipe: Recipe) -> Path:
        """Where the checkpoints of a run that is not finished lie."""
        recipe = self.resolved(recipe)
        return self.root / f".{recipe.digest}.checkpoints"

    def sweep(self) -> None:
        """Remove what processes that no longer live left half-written."""
        for folder in self.root.glob(".*-*-*"):
            pid = folder.name.split("-")[1]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def open_run(path: Path) -> Run:
    """The finished run in a folder, whatever the folder is called.

    Nothing is imported on its word: what is somebody's own in it is a plain record.
    """
    try:
        return Run(Recipe.from_dict(json.loads((path / "recipe.json").read_text("utf-8"))), path)
    except OldFormatError as error:
        raise OldFormatError(f"run {path} was made by an earlier version: {error}") from error
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a run that this version can read: {error}") from error


def damage(path: Path) -> str:
    """What is wrong with the files of a finished run; empty where nothing is."""
    try:
        records = {"recipe": "dataset", "outcome": "seconds", "provenance": "versions"}
        for name, wanted in records.items():
            if wanted not in json.loads((path / f"{name}.json").read_text("utf-8")):
                return f"{name}.json has no {wanted!r}"
        for name in ("weights", "best", "predictions"):
            file = path / f"{name}.safetensors"
            with file.open("rb") as opened:
                header = json.loads(
                    opened.read(min(int.from_bytes(opened.read(8), "little"), file.stat().st_size))
                )
                entries = [v for k, v in header.items() if k != "__metadata__"]
                ends = opened.tell() + max(entry["data_offsets"][1] for entry in entries)
            if file.stat().st_size != ends:
                return f"{file.name} is {file.stat().st_size} bytes long, and not {ends}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return str(error)
    return "" if (path / "history.jsonl").is_file() else "history.jsonl is missing"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _lines(history: list[dict[str, float]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in history)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
