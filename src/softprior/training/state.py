"""What changes while a run trains, in one place: so that it can be saved, and set back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from softprior import devices, gathering
from softprior.criterion import PosteriorLoss
from softprior.teachers import Teacher
from softprior.training import checkpoint, schedule
from softprior.training.images import Dataset, generator
from softprior.training.recipe import Recipe
from softprior.training.run import Run
from softprior.training.runtime import first_says
from softprior.training.teaching import build_teacher, network


@dataclass(frozen=True)
class StepPart:
    """What one process has seen of a part of a batch."""

    logits: Tensor
    labels: Tensor
    index: Tensor
    teacher_logits: Tensor | None


@dataclass
class TrainingState:
    """All that a run needs to go on from where it is; ``epoch`` epochs of it are done."""

    recipe: Recipe
    model: nn.Module
    teacher: Teacher | None
    criterion: PosteriorLoss  # its prior has the temperature that matching has found
    optimizer: torch.optim.Optimizer
    loss: Tensor  # sum over the samples of this epoch; a tensor, for reading it is a sync
    smoothing: Tensor  # the same of how much the targets take from the labels
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_accuracy: float = -1.0

    @classmethod
    def start(
        cls, recipe: Recipe, data: Dataset, teacher_run: Run | None, device: torch.device
    ) -> TrainingState:
        """A fresh one; ``teacher_run`` is the finished run of a recipe that is the teacher."""
        torch.manual_seed(generator("dropout", recipe.seed).initial_seed())
        model = network(recipe, data).to(device)
        prior, teacher = build_teacher(recipe, model, data, teacher_run)
        criterion = PosteriorLoss(
            prior,
            penalty=recipe.penalty,
            label_weight=recipe.label_weight,
            reduction="sum",
            num_samples=len(data.train.labels),
            num_classes=len(data.classes),
            auto_observe=False,
            measure_smoothing=True,
        )
        zero = torch.zeros((), dtype=devices.widest(device), device=device)
        return cls(
            recipe=recipe,
            model=model,
            teacher=teacher.to(device) if teacher else None,
            criterion=criterion.to(device),
            optimizer=schedule.optimizer(recipe, model.parameters()),
            loss=zero,
            smoothing=zero.clone(),
        )

    def observe(self, parts: Sequence[StepPart], epoch: int) -> None:
        """Let teacher and criterion see a step, all of its parts and processes together."""
        logits = torch.cat([part.logits for part in parts])
        labels = torch.cat([part.labels for part in parts])
        index = torch.cat([part.index for part in parts])
        if self.criterion.states:
            asked = [part.teacher_logits for part in parts if part.teacher_logits is not None]
            self.criterion.observe(
                logits / self.recipe.student_temperature,
                labels,
                torch.cat(asked) if asked else None,
                index=index,
                epoch=epoch,
                epochs=self.recipe.epochs,
            )
        if self.teacher:
            whole = (gathering.all_gather(part) for part in (logits, labels, index))
            self.teacher.observe(self.model, *whole)

    def end_epoch(self) -> None:
        """Tell what remembers by epochs that one has ended."""
        self.criterion.end_epoch()
        if self.teacher:
            self.teacher.end_epoch(self.model)

    def close_epoch(self, row: dict[str, float]) -> None:
        """Take an epoch's row into the history; of equally good epochs the later is the best."""
        self.epoch = int(row["epoch"])
        self.loss = torch.zeros_like(self.loss)
        self.smoothing = torch.zeros_like(self.smoothing)
        self.history.append(row)
        if row["validation_accuracy"] >= self.best_accuracy:
            self.best_epoch, self.best_accuracy = self.epoch, row["validation_accuracy"]
            self.best = {key: value.clone() for key, value in self.model.state_dict().items()}

    def begin_step(self, epoch: int, step: int, steps: int) -> None:
        """Set the learning rate, forget the gradient, and make the criterion's draws a function
        of (seed, epoch, step): the same on every rank, and after every resume."""
        progress = (epoch - 1 + (step + 0.5) / steps) / self.recipe.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.rate(self.recipe, progress)
        self.optimizer.zero_grad()
        key = generator("prior", self.recipe.seed, epoch, step).initial_seed()
        self.criterion.generator.manual_seed(key)

    def save(self, folder: Path, digest: str, step: int, is_main: bool) -> None:
        """Write a checkpoint from which the run goes on to the same bits; one process does."""
        if not is_main:
            return
        tensors = {
            "model": self.model.state_dict(),
            "teacher": self.teacher.state_dict() if self.teacher else {},
            "criterion": self.criterion.state_dict(),
            "optimizer": checkpoint.optimizer_tensors(self.optimizer),
            "best": self.best,
            "rest": {
                "loss": self.loss,
                "smoothing": self.smoothing,
                "generator": torch.get_rng_state(),
            },
        }
        names = ("epoch", "seconds", "history", "best_epoch", "best_accuracy")
        state = {name: getattr(self, name) for name in names}
        try:
            checkpoint.save(folder, digest, tensors, state, step)
        except OSError as error:
            warnings.warn(
                f"{folder}: no checkpoint is written: {error.strerror}; training goes on, and "
                "tries again",
                stacklevel=2,
            )

    def resume(self, folder: Path, digest: str) -> int:
        """Set everything back to the newest checkpoint, if any; returns the step to go on at."""
        found = first_says(lambda: checkpoint.load(folder, digest))
        if found is None:
            return 0
        tensors, state, step = found
        try:
            self._set_back(tensors, state)
        except (RuntimeError, KeyError, ValueError) as error:
            raise checkpoint.RefusedError(
                f"the checkpoint in {folder} was written by other code than this: delete the "
                "folder to start again"
            ) from error
        return step

    def _set_back(self, tensors: dict[str, Any], state: dict[str, Any]) -> None:
        self.model.load_state_dict(tensors["model"])
        if self.teacher and "teacher" in tensors:
            self.teacher.load_state_dict(tensors["teacher"])
        self.criterion.load_state_dict(tensors.get("criterion", {}))
        checkpoint.load_optimizer(self.optimizer, tensors.get("optimizer", {}))
        self.best = {k: v.to(self.loss.device) for k, v in tensors.get("best", {}).items()}
        self.loss = tensors["rest"]["loss"].to(self.loss)
        self.smoothing = tensors["rest"]["smoothing"].to(self.smoothing)
        torch.set_rng_state(tensors["rest"]["generator"])
        for name, value in state.items():
            setattr(self, name, value)
