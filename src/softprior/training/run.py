"""A finished run: what lies in its folder, which is checked before anything in it is believed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from softprior import records
from softprior.priors import Prior
from softprior.training import files, integrity
from softprior.training.recipe import NewFormatError, OldFormatError, Recipe

Selection = Literal["last", "best"]
Part = Literal["train", "validation", "test", "official"]
TENSORS = ("weights", "best", "predictions")
FILES = (
    *("recipe.json", "history.jsonl", "outcome.json", "provenance.json"),
    *(f"{name}.safetensors" for name in TENSORS),
)


class DamagedError(ValueError):
    """A run whose files are not those that were written."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"run {path} is damaged: {why}")
        self.why = why


@dataclass(frozen=True)
class Run:
    """A finished run: its recipe and what lies in its folder."""

    recipe: Recipe
    path: Path

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """One row per epoch: loss, learning rate, validation accuracy and NLL, seconds, and the
        smoothing: how much the targets that were trained on took from the labels on average."""
        return files.read_json_lines(self._checked("history.jsonl"))

    @cached_property
    def outcome(self) -> dict[str, Any]:
        """What was decided on the way: best_epoch, the prior (its temperature found), seconds."""
        outcome: dict[str, Any] = files.read_json(self._checked("outcome.json"))
        return outcome

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Where and with what it was trained; ``digest`` is what its recipe was called then."""
        provenance: dict[str, Any] = files.read_json(self._checked("provenance.json"))
        return provenance

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
        name = "test" if part == "official" else part
        asked = [f"{name}_logits_{epoch or self.recipe.select}", f"{name}_labels"]
        every = [f"test_logits_{of}" for of in ("best", "last")] if part == "official" else []
        found = self._tensors("predictions.safetensors", *{*asked, *every})
        logits, labels = (found[key] for key in asked)
        rows = min([len(logits), *(len(found[key]) for key in every)])
        return logits[:rows], labels[:rows]

    def true_labels(self) -> Tensor:
        """Labels (n,) of the training set before label noise; as given where there was none."""
        tensors = self._tensors("predictions.safetensors", "train_labels")
        return tensors.get("train_clean", tensors["train_labels"])

    def weights(self, epoch: Selection | None = None) -> dict[str, Tensor]:
        """The network's state_dict after an epoch, chosen as for the predictions."""
        last = (epoch or self.recipe.select) == "last"
        name = "weights.safetensors" if last else "best.safetensors"
        return self._tensors(name)

    def _tensors(self, name: str, *wanted: str) -> dict[str, Tensor]:
        file = self._checked(name)
        try:
            tensors = safetensors.torch.load_file(file)
        except safetensors.SafetensorError as error:
            raise ValueError(f"{file} is no file of tensors: {error}") from error
        if missing := [key for key in wanted if key not in tensors]:
            raise ValueError(f"{file} has no {missing[0]!r}: it is not of a run of softprior's")
        return tensors

    def _checked(self, name: str) -> Path:
        """The path of a file, none of whose run has changed since it was written."""
        if why := damage(self.path):
            raise ValueError(
                f"{self.path / name} cannot be read ({why}); delete the folder {self.path} to "
                "have the run made again"
            )
        return self.path / name


def open_run(path: Path) -> Run:
    """The finished run in a folder, whatever the folder is called.

    Nothing is imported on its word: what is somebody's own in it is a plain record.

    Raises:
        DamagedError: its files are not those that were written.
        OldFormatError: an earlier version made it.
        ValueError: it is no run that this version can read.
        OSError: it cannot be read.
    """
    why = damage(path)
    if why and not _is_another_version(path):
        raise DamagedError(path, why)
    try:
        run = Run(Recipe.from_dict(files.read_json(path / "recipe.json")), path)
        then, now = run.provenance["digest"], run.recipe.digest
        float(run.outcome["seconds"])
    except OldFormatError as error:
        raise OldFormatError(f"run {path} was made by an earlier version: {error}") from error
    except NewFormatError as error:
        raise NewFormatError(f"run {path} was made by a newer version: {error}") from error
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is not a run that this version can read: {error}") from error
    if now != then:  # a component or network had another version then
        raise OldFormatError(
            f"run {path} was made by an earlier version: its recipe was called {then:.16} then, "
            f"and is {now} now"
        )
    return run


def damage(path: Path, *, every_byte: bool = False) -> str:
    """What is wrong with the files of a finished run; empty where nothing is.

    They are not read again where they were whole and have not changed since, unless
    ``every_byte``.

    Raises:
        OSError: it is there and cannot be read.
    """
    return integrity.damage_since(path, FILES, every_byte=every_byte)


def _is_another_version(path: Path) -> bool:
    """Whether a run of which other files are wanted has a recipe of another format, as written."""
    try:
        recipe = path / "recipe.json"
        if integrity.is_as_listed(recipe) or not os.path.lexists(path / integrity.LIST):
            Recipe.from_dict(files.read_json(recipe))
    except (OldFormatError, NewFormatError):
        return True
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    return False
